"""The Helm chart is what deploy/helm/chart.py writes from the manifests; its values are what its schema takes."""

import re
from pathlib import Path
from typing import Any, Final

import jsonschema
import pytest
import yaml

from deploy.helm.chart import CHART, files, schema, values

ROOT: Final = Path(__file__).parents[2]


def test_the_committed_chart_is_what_the_code_writes() -> None:
    written = {path.relative_to(CHART): path.read_text(encoding="utf-8") for path in CHART.rglob("*") if path.is_file()}
    assert written == files(), "write it anew: python -m deploy.helm.chart"


def test_the_default_values_fit_the_schema() -> None:
    jsonschema.Draft7Validator.check_schema(schema())
    jsonschema.validate(yaml.safe_load(files()[Path("values.yaml")]), schema())


@pytest.mark.parametrize(
    "wrong",
    [
        {"worker": {"replica": 3}},
        {"worker": {"replicas": 0}},
        {"settings": {"TRANSFER_GATE_NONSENSE": "1"}},
        {"nonsense": True},
    ],
    ids=str,
)
def test_a_value_that_does_not_exist_or_fit_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, schema())


def test_every_value_that_a_template_reads_has_a_default() -> None:
    read = {name for text in files().values() for name in re.findall(r"\.Values\.([A-Za-z.]+)", text)}
    assert read
    for name in read:
        found: Any = values()
        for step in name.split("."):
            assert step in found, name
            found = found[step]
