"""The reference of the registry says what the code says."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.registry_sample import ROOT
from transfer_gate.model.registry import Notice, Partner, Policy
from transfer_gate.model.reviewed import Reviewed

REFERENCE = ROOT / "docs" / "reference" / "registry.md"


def _fields(schema: dict[str, Any], classes: dict[str, Any], above: str = "") -> Iterator[tuple[str, str, str]]:
    """Path as the reference writes it, `required` or nothing, description."""
    for name, field in schema["properties"].items():
        path = above + name
        yield path, "required" if name in schema.get("required", ()) else "", field["description"]
        kinds = field.get("anyOf", [field])
        for kind in kinds:
            entries = (
                (".", kind.get("$ref")),
                ("[].", kind.get("items", {}).get("$ref")),
                *((".<name>.", value.get("$ref")) for value in kind.get("patternProperties", {}).values()),
            )
            for reached, reference in entries:
                if reference is not None:
                    yield from _fields(classes[reference.removeprefix("#/$defs/")], classes, path + reached)


@pytest.mark.parametrize(
    ("model", "heading"),
    [(Partner, "`partners/<party_id>.yaml`"), (Notice, "`notices/<version>.yaml`"), (Policy, "`policy.yaml`")],
)
def test_every_field_stands_in_the_reference_with_its_own_words(model: type[Reviewed], heading: str) -> None:
    """A field that is added, or whose meaning is put in other words, is so in the docs too; none stands there idle."""
    _, _, section = REFERENCE.read_text(encoding="utf-8").partition(f"## {heading}\n")
    told = []
    for line in section.partition("\n## ")[0].splitlines():
        if line.startswith("| `"):
            path, _, default, what = line.strip("| ").split(" | ")
            told.append((path.strip("`"), default.strip() if default.strip() == "required" else "", what))
    schema = model.model_json_schema()
    assert told == list(_fields(schema, schema.get("$defs", {})))
