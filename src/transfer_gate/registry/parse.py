"""Plain objects to registry objects, with everything that is wrong with them said in words."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeVar, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from transfer_gate.model import reviewed
from transfer_gate.model.registry import Notice, Partner, Policy, Registry
from transfer_gate.model.reviewed import Reviewed
from transfer_gate.registry.checks import InvalidRegistry, Problem
from transfer_gate.registry.yamlfile import Steps, did_you_mean

R = TypeVar("R", bound=Reviewed)

#: Folder of a kind of object to its class and to the field that names one.
KINDS: Final[dict[str, tuple[type[Partner] | type[Notice], str]]] = {
    "partners": (Partner, "party_id"),
    "notices": (Notice, "version"),
}

_PATTERNS: Final = {
    reviewed.PARTY_ID_PATTERN: "must be 1 to 128 letters, digits, '.', '_' or '-', and start with a letter or a digit",
    reviewed.COUNTRY_PATTERN: "must be an ISO 3166-1 alpha-2 code in capitals, such as FR",
    reviewed.TEXT_PATTERN: "must not be empty, nor start or end with a space, nor hold several lines",
    reviewed.DOMAIN_PATTERN: "must be a domain, such as example.org",
    reviewed.TOPIC_PATTERN: "must be 1 to 149 letters, digits, '.', '_' or '-'",
}
_WORDS: Final = {
    "missing": "is required",
    "bool_type": "must be true or false, without quotes",
    "int_type": "must be a whole number, without quotes",
    "string_type": "must be text; put it in quotes",
    "string_too_short": "must not be empty",
    "tuple_type": "must be a list",
    "mapping_type": "must be a mapping",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
}


def registry_from_objects(objects: Mapping[str, Any]) -> Registry:
    """The registry of `{partners: {id: {...}}, notices: {id: {...}}, policy: {...}}`, as in a case file (section 8).

    Raises InvalidRegistry, an InvalidInput, that names every object and field that is wrong.
    """
    if not isinstance(objects, Mapping):
        raise InvalidRegistry([Problem((), "must be a mapping of partners, notices and policy")])
    known = (*KINDS, "policy")
    problems = [Problem((name,), f"unknown key{did_you_mean(name, known)}") for name in objects if name not in known]
    parsed: dict[str, dict[str, Any]] = {}
    for kind in KINDS:
        parsed[kind] = {}
        given = objects.get(kind)
        if not isinstance(given, Mapping | None):
            problems.append(Problem((kind,), "must be a mapping"))
            continue
        for name, value in (given or {}).items():
            found, wrong = parse_named(kind, str(name), value)
            problems += [problem.under(kind, str(name)) for problem in wrong]
            parsed[kind][str(name)] = found
    policy, wrong = parse_object(Policy, objects.get("policy"))
    problems += [problem.under("policy") for problem in wrong]
    if problems or policy is None:
        raise InvalidRegistry(problems)
    return assemble(parsed["partners"], parsed["notices"], policy)


def assemble(partners: Mapping[str, Partner], notices: Mapping[str, Notice], policy: Policy) -> Registry:
    """A registry of objects that are right, under their revision."""
    return Registry(partners=partners, notices=notices, policy=policy, revision=revision_of(partners, notices, policy))


def parse_named(kind: str, name: str, value: Any) -> tuple[Partner | Notice | None, list[Problem]]:
    """One partner or notice that goes by `name`, or what is wrong with it. Paths start at the object."""
    model_class, field = KINDS[kind]
    found, problems = parse_object(model_class, value)
    inside = value.get(field) if isinstance(value, Mapping) else None
    if isinstance(inside, str) and inside != name and not any(problem.path == (field,) for problem in problems):
        problems.append(Problem((field,), f"is {inside}, but it is filed under {name}; the two must be equal"))
    return (found, []) if found is not None and not problems else (None, problems)


def parse_object(model_class: type[R], value: Any) -> tuple[R | None, list[Problem]]:
    """One object, or what is wrong with it. Paths start at the object."""
    if value is None:
        return None, [Problem((), "nothing in it")]
    try:
        return model_class.model_validate(value), []
    except ValidationError as error:
        return None, list(_problems(error, model_class))


def _problems(error: ValidationError, model_class: type[Reviewed]) -> Iterator[Problem]:
    for detail in error.errors(include_url=False):
        path: Steps = tuple(step for step in detail["loc"] if step != "[key]")
        yield Problem(path, _in_words(detail, path, model_class))


def _in_words(detail: ErrorDetails, path: Steps, model_class: type[Reviewed]) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        return f"unknown key{did_you_mean(str(path[-1]), _keys(_class_at(model_class, path[:-1])))}"
    if kind == "literal_error":
        # The words of the class, not pydantic's sentence about them: they feed the hint too.
        allowed = [word.strip("'") for word in context["expected"].replace(" or ", ", ").split(", ")]
        return f"must be one of {', '.join(allowed)}{did_you_mean(str(detail['input']), allowed)}"
    if kind == "string_pattern_mismatch":
        return _PATTERNS[context["pattern"]]
    if kind in _WORDS:
        return _WORDS[kind]
    message = detail["msg"].removeprefix("Value error, ").removeprefix("Input ").removeprefix("String ")
    return message.replace("should", "must", 1)


def _keys(model_class: type[Reviewed]) -> list[str]:
    return [field.alias or name for name, field in model_class.model_fields.items()]


def _class_at(model_class: type[Reviewed], path: Steps) -> type[Reviewed]:
    """The class of the object at `path`. A field holds at most one class, alone, in a list or in a mapping."""
    for step in path:
        fields = {field.alias or name: field for name, field in model_class.model_fields.items()}
        if step in fields:
            model_class = next(_classes(fields[str(step)].annotation), model_class)
    return model_class


def _classes(annotation: Any) -> Iterator[type[Reviewed]]:
    if isinstance(annotation, type) and issubclass(annotation, Reviewed):
        yield annotation
    for part in get_args(annotation):
        yield from _classes(part)


#: 128 bits: even the author of two different registries can't make them share a revision (2^64 tries).
_HEX_DIGITS: Final = 32


def revision_of(partners: Mapping[str, Partner], notices: Mapping[str, Notice], policy: Policy) -> str:
    """`sha256:` and the first 32 hexadecimal digits of the hash of the objects' canonical JSON.

    It follows the meaning and not the bytes: comments, layout, quotes, the order of keys and files, and the offset in
    which an instant is written change nothing. A field left out equals its default, so a release of the gate that adds
    an optional field keeps every revision. The order of a list counts.
    """
    objects = {
        "partners": {name: _plain(partner) for name, partner in partners.items()},
        "notices": {name: _plain(notice) for name, notice in notices.items()},
        "policy": _plain(policy),
    }
    canonical = json.dumps(objects, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()[:_HEX_DIGITS]}"


def _plain(reviewed: Reviewed) -> dict[str, Any]:
    return reviewed.model_dump(mode="json", by_alias=True, exclude_defaults=True)
