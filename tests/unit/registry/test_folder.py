"""The registry folder: read whole or not at all, everything wrong said at once, under a revision of its meaning."""

import copy
import datetime as dt
import errno
import hashlib
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.registry_sample import EXAMPLE, objects
from transfer_gate.errors import InvalidInput
from transfer_gate.model.registry import Notice, Partner, Policy, Registry
from transfer_gate.model.reviewed import Reviewed
from transfer_gate.registry import InvalidRegistry, Problem, inspect, load_registry, registry_from_objects, revision_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the sample registry that a test may damage."""
    return shutil.copytree(EXAMPLE, tmp_path / "registry")


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


def problems(changed: Mapping[str, Any]) -> list[str]:
    with pytest.raises(InvalidRegistry) as caught:
        registry_from_objects(changed)
    return [str(problem) for problem in caught.value.problems]


def test_the_sample_has_no_error_and_no_warning() -> None:
    """What people copy must be right, and beyond doubt."""
    inspection = inspect(EXAMPLE)
    assert (inspection.errors, inspection.warnings) == ((), ())


def test_the_sample_holds_what_the_demo_needs() -> None:
    """Three active partners, the newest notice that names them all, an older one that names two."""
    registry = load_registry(EXAMPLE)
    active = {"acme-assurances", "helios-habitat", "lumen-telecom"}
    assert all(registry.partners[party].status == "active" for party in active)
    newest, older = registry.notices["n-2026-09"].partner_list, registry.notices["n-2024-03"].partner_list
    assert newest is not None
    assert older is not None
    assert set(newest.party_ids) == active
    assert set(older.party_ids) == active - {"helios-habitat"}


def test_a_folder_and_the_same_objects_are_one_registry() -> None:
    """A case file that holds the objects of a folder decides as the folder does, under the same revision."""
    assert registry_from_objects(objects()) == load_registry(EXAMPLE)


def test_every_error_of_the_folder_is_told_at_once(folder: Path) -> None:
    """One run names file, line and field of everything that has to be mended."""
    edit(folder / "partners/acme-assurances.yaml", "no_onward: true", "no_onward: yes")
    edit(folder / "partners/acme-assurances.yaml", "country: FR", "country: fr")
    edit(folder / "partners/lumen-telecom.yaml", "suppression:", "supression:")
    edit(folder / "notices/n-2024-03.yaml", "2024-03-01T00:00:00+01:00", "2024-03-01T00:00:00")
    edit(folder / "policy.yaml", "clock_skew_seconds: 300", "clock_skew_seconds: 300\nclock_skew_seconds: 30")
    with pytest.raises(InvalidInput) as caught:
        load_registry(folder)
    told = [line.strip().removeprefix(f"{folder}/") for line in caught.value.message.splitlines()[1:]]
    assert told == [
        "notices/n-2024-03.yaml:3: published_from: must be a date and time with an offset, "
        "such as 2026-09-01T00:00:00+02:00 (RFC 3339)",
        "partners/acme-assurances.yaml:8: country: must be an ISO 3166-1 alpha-2 code in capitals, such as FR",
        "partners/acme-assurances.yaml:21: contract.no_onward: must be true or false, without quotes",
        "partners/lumen-telecom.yaml:13: supression: unknown key; did you mean suppression?",
        "policy.yaml:40: clock_skew_seconds: stands twice; it stood first in line 39",
    ]


def test_the_name_of_a_file_is_the_id_inside(folder: Path) -> None:
    """A file that was copied and not edited would otherwise replace a partner in silence."""
    shutil.copy(folder / "partners/acme-assurances.yaml", folder / "partners/acme.yaml")
    (error,) = inspect(folder).errors
    assert (error.line, error.field) == (3, "party_id")
    assert error.what == "is acme-assurances, but it is filed under acme; the two must be equal"


@pytest.mark.parametrize(
    ("made", "named", "said"),
    [
        ("partners/zephyr.yml", "partners/zephyr.yml", "ends in .yaml"),
        ("partner/zephyr.yaml", "partner", "did you mean partners?"),
        ("policies.yaml", "policies.yaml", "is not read here"),
        ("partners/zephyr.yaml", "partners/zephyr.yaml", "nothing in it"),
        ("partners/old/zephyr.yaml", "partners/old", "no folder of a registry"),
    ],
)
def test_a_file_that_nobody_would_read_is_an_error(folder: Path, made: str, named: str, said: str) -> None:
    """A partner or a safeguard in the wrong place must not pass for an absent one."""
    (folder / made).parent.mkdir(exist_ok=True)
    (folder / made).touch()
    (error,) = inspect(folder).errors
    assert error.file == str(folder / named)
    assert said in error.what


def test_other_files_and_hidden_ones_are_left_alone(folder: Path) -> None:
    """A README, an editor's swap file or a .git beside the objects is nobody's business."""
    (folder / "README.md").write_text("ours", encoding="utf-8")
    (folder / ".git").mkdir()
    (folder / "partners/.acme.yaml").write_text("{", encoding="utf-8")
    assert inspect(folder).errors == ()


def test_a_folder_without_policy_is_an_error(folder: Path) -> None:
    """There is no default jurisdiction."""
    (folder / "policy.yaml").unlink()
    (error,) = inspect(folder).errors
    assert error.what.startswith("is missing")


def test_partners_must_be_a_folder(folder: Path) -> None:
    """A file in the place of the folder is told, and does not mean that there are no partners."""
    shutil.rmtree(folder / "partners")
    (folder / "partners").touch()
    assert [error.what for error in inspect(folder).errors] == ["must be a folder"]


def test_no_such_folder_is_an_error_of_the_user(tmp_path: Path) -> None:
    """The message says which setting names the folder."""
    with pytest.raises(InvalidInput, match="TRANSFER_GATE_REGISTRY"):
        inspect(tmp_path / "nope")


def test_a_folder_that_can_not_be_read_is_an_error_of_the_user(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the folder, and nothing of the registry is used."""

    def denied(path: Path) -> Iterator[Path]:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", denied)
    with pytest.raises(InvalidInput, match=f"{folder}: Permission denied"):
        load_registry(folder)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (
            ("partners", "acme-assurances", "status"),
            "activ",
            "must be one of active, rehearsal, paused, suspended; did you mean active?",
        ),
        (("partners", "acme-assurances", "status"), None, "must be one of active, rehearsal, paused, suspended"),
        (("partners", "acme-assurances", "registration_no"), 900000001, "must be text; put it in quotes"),
        (("partners", "acme-assurances", "legal_name"), "", "must not be empty"),
        (("partners", "acme-assurances", "legal_name"), "Acme ", "nor start or end with a space"),
        (("partners", "acme-assurances", "fields"), "city", "must be a list"),
        (("partners", "acme-assurances", "fields"), None, "must be a list"),
        (("partners", "acme-assurances", "contract"), ["K-1"], "must be a mapping"),
        (("partners", "acme-assurances", "contract", "valid_to"), "2030-01-01", "with an offset"),
        (("partners", "acme-assurances", "contract", "valid_to"), "soon", "must be a date and time"),
        (("partners", "acme-assurances", "contract", "valid_to"), 1893456000, "must be a date and time"),
        (("partners", "acme-assurances", "contract", "valid_to"), "2030-02-30T00:00:00Z", "no such date or time"),
        (("partners", "acme-assurances", "contract", "valid_to"), "0001-01-01T00:00:00+02:00", "no such date or time"),
        (("partners", "acme-assurances", "suppression", "sla_hours"), -1, "greater than or equal to 0"),
        (("partners", "acme-assurances", "suppression", "sla_hours"), "24", "must be a whole number, without quotes"),
        (("partners", "acme-assurances", "suppression", "sla_hours"), True, "must be a whole number, without quotes"),
        (("partners", "acme-assurances", "topic"), "a b", "must be 1 to 149 letters"),
        (("notices", "n-2026-09", "version"), 2026.09, "must be text; put it in quotes"),
        (("notices", "n-2026-09", "controls", 0, "channels", 0), "mail", "must be one of email, sms"),
        (("notices", "n-2026-09", "controls", 0, "precheked"), False, "unknown key; did you mean prechecked?"),
        (("notices", "n-2026-09", "r223_mentions", "identity"), "yes", "must be true or false, without quotes"),
        (("notices", "n-2026-09", "r223_mentions", "identity"), 1, "must be true or false, without quotes"),
        (("policy", "attributes", "city"), None, "must be a mapping"),
        (("policy", "attributes", "city"), {"special": "health"}, "unknown key"),
        (("policy", "adequate_countries", 0), False, "must be text; put it in quotes"),
        (("policy", "free_mail_domains", 0), "gmail,com", "must be a domain, such as"),
        (("policy", "clock_skew_seconds"), 86401, "less than or equal to 86400"),
    ],
)
def test_a_wrong_value_is_told_in_words(path: tuple[str | int, ...], value: object, said: str) -> None:
    """Nothing is coerced, and the message says what to write instead."""
    changed = objects()
    place: Any = changed
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    (problem,) = problems(changed)
    where = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).lstrip(".")
    unknown = f"{where}.special" if isinstance(value, dict) else where
    assert problem.startswith(f"{unknown}: ")
    assert said in problem


@pytest.mark.parametrize(
    "path",
    [
        ("partners", "acme-assurances", "party_id"),
        ("partners", "acme-assurances", "legal_name"),
        ("partners", "acme-assurances", "status"),
        ("notices", "n-2026-09", "version"),
        ("policy", "jurisdiction"),
    ],
)
def test_what_must_be_there(path: tuple[str, ...]) -> None:
    """Without these an object can't even be named or placed."""
    changed = objects()
    place = changed
    for step in path[:-1]:
        place = place[step]
    del place[path[-1]]
    assert problems(changed) == [f"{'.'.join(path)}: is required"]


def test_everything_else_may_be_absent() -> None:
    """An absent field is not an error of the registry: the rules that need it fail."""
    registry = registry_from_objects(
        {
            "partners": {"acme": {"party_id": "acme", "legal_name": "Acme", "status": "active"}},
            "notices": {"n-1": {"version": "n-1"}},
            "policy": {"jurisdiction": "FR"},
        }
    )
    assert registry.partners["acme"].contract is None
    assert registry.policy.list_changes == "strict"


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def object_of(model: type[Reviewed]) -> st.SearchStrategy[dict[str, Any]]:
    """Each field with anything in it, or absent: most of these are wrong in several places."""
    fields = {field.alias or name: ANYTHING for name, field in model.model_fields.items()}
    return st.fixed_dictionaries({}, optional=fields | {"other": ANYTHING})


@given(
    ANYTHING
    | st.fixed_dictionaries(
        {},
        optional={
            "partners": ANYTHING | st.dictionaries(st.text(max_size=4), object_of(Partner), max_size=2),
            "notices": ANYTHING | st.dictionaries(st.text(max_size=4), object_of(Notice), max_size=2),
            "policy": ANYTHING | object_of(Policy),
        },
    )
)
def test_whatever_is_in_a_file_the_answer_is_a_registry_or_what_is_wrong(value: Any) -> None:
    """Nothing that JSON or YAML can hold ends in another exception, and each problem says something."""
    found: tuple[Problem, ...] | None = None
    try:
        registry_from_objects(value)
    except InvalidRegistry as error:
        found = error.problems
    assert found is None or (found and all(problem.what for problem in found))


def test_objects_of_another_shape_are_told() -> None:
    """A case file can hold anything in the place of a registry."""
    assert problems({"partner": {}, "partners": [], "policy": None}) == [
        "partner: unknown key; did you mean partners?",
        "partners: must be a mapping",
        "policy: nothing in it",
    ]


def test_times_are_instants_in_utc() -> None:
    """Whatever the offset in the file, bounds compare as instants."""
    registry = load_registry(EXAMPLE)
    start = registry.notices["n-2026-09"].published_from
    assert start == dt.datetime(2026, 8, 31, 22, tzinfo=dt.UTC)
    assert start.tzinfo is dt.UTC


def _all_classes(model: type[Reviewed]) -> set[type[Reviewed]]:
    found = {model}
    for field in model.model_fields.values():
        parts = [field.annotation]
        while parts:
            part = parts.pop()
            if isinstance(part, type) and issubclass(part, Reviewed):
                found |= _all_classes(part)
            parts += get_args(part)
    return found


def test_a_registry_can_not_be_changed() -> None:
    """What is stamped with a revision stays what was reviewed: no field, mapping or list of it can be changed."""
    assert all(model.model_config.get("frozen") for model in _all_classes(Registry))
    registry = load_registry(EXAMPLE)
    mappings: tuple[Any, ...] = (
        registry.partners,
        registry.notices,
        registry.policy.attributes,
        registry.policy.related_offers,
        Policy(jurisdiction="FR").attributes,
    )
    for mapping in mappings:
        with pytest.raises(TypeError):
            mapping["x"] = None
    assert isinstance(registry.partners["acme-assurances"].fields, tuple)


def test_a_registry_does_not_follow_the_objects_that_it_was_made_of() -> None:
    """Changing the parsed YAML afterwards changes nothing."""
    plain = objects()
    registry = registry_from_objects(plain)
    plain["policy"]["attributes"]["city"] = {"special_category": "health"}
    plain["policy"]["related_offers"]["insurance"].append("x")
    assert registry == load_registry(EXAMPLE)


def test_a_registry_is_a_key() -> None:
    """What is compiled from a registry can be cached under it."""
    assert {load_registry(EXAMPLE): 1}[load_registry(EXAMPLE)] == 1


def test_the_revision_follows_the_meaning(folder: Path) -> None:
    """Comments, layout, quotes, key order, null and default values, and the offset of a time leave it as it is."""
    before = load_registry(EXAMPLE).revision
    lumen = folder / "partners/lumen-telecom.yaml"
    lines = [line for line in lumen.read_text(encoding="utf-8").splitlines() if not line.startswith("country")]
    lumen.write_text("\n".join(["# moved", 'country: "FR"', *lines, "topic: null", ""]), encoding="utf-8")
    edit(
        folder / "notices/n-2026-09.yaml",
        "published_from: 2026-09-01T00:00:00+02:00",
        "published_from: 2026-08-31T22:00:00Z",
    )
    edit(folder / "policy.yaml", "clock_skew_seconds: 300", "")
    assert load_registry(folder).revision == before


def _mutations(value: Any) -> list[Any]:
    """Every plain object that differs from `value` in one place, by one thing removed or replaced."""
    if isinstance(value, dict):
        return [
            *({key: part for key, part in value.items() if key != gone} for gone in value),
            *(value | {key: other} for key, part in value.items() for other in _mutations(part)),
        ]
    if isinstance(value, list):
        return [
            *(value[:index] + value[index + 1 :] for index in range(len(value))),
            *([*value[:index], new, *value[index + 1 :]] for index, old in enumerate(value) for new in _mutations(old)),
        ]
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1]
    return [value.replace("20", "19", 1) if value[:2] == "20" else value + "x", "GB"]


def test_every_single_change_of_meaning_has_another_revision() -> None:
    """Each valid registry that differs from the sample in one field has a revision of its own, or equals it."""
    plain, base = objects(), load_registry(EXAMPLE)
    seen: dict[str, Registry] = {base.revision: base}
    for changed in _mutations(plain):
        try:
            registry = registry_from_objects(copy.deepcopy(changed))
        except InvalidRegistry:
            continue
        assert seen.setdefault(registry.revision, registry) == registry
    assert len(seen) > 200


def test_the_revision_of_this_content_never_changes() -> None:
    """Decisions of years ago name their registry: no release of the gate may give the same files another revision."""
    acme = Partner.model_validate(
        {
            "party_id": "acme",
            "legal_name": "Acmé SA",
            "status": "active",
            "listed": [{"from": "2020-01-01T00:00:00+01:00"}],
            "contract": {"no_onward": True},
        }
    )
    policy = Policy.model_validate({"jurisdiction": "FR", "attributes": {"city": {}}})
    canonical = (
        '{"notices":{"n-1":{"version":"n-1"}},"partners":{"acme":{"contract":{"no_onward":true},"legal_name":"Acmé SA",'
        '"listed":[{"from":"2019-12-31T23:00:00Z"}],"party_id":"acme","status":"active"}},'
        '"policy":{"attributes":{"city":{}},"jurisdiction":"FR"}}'
    )
    revision = revision_of({"acme": acme}, {"n-1": Notice(version="n-1")}, policy)
    assert revision == "sha256:" + hashlib.sha256(canonical.encode()).hexdigest()[:32]
