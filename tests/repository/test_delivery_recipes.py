"""The recipes of examples/delivery hold what their page says of them, also those that no test runs."""

import re
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree as ET

import pytest
import yaml

from tests.repository.test_links import ROOT
from tests.support.delivery import EXAMPLES, pinned

PAGE: Final = ROOT / "docs" / "how-to" / "deliver-without-kafka.md"
RECIPES: Final = sorted(file for file in EXAMPLES.rglob("*") if file.is_file())
WORKERS: Final = [file for file in RECIPES if file.name in ("worker.properties", "application.properties")]
REDPANDA: Final = [file for file in RECIPES if file.parent.name == "redpanda-connect"]


def variables(text: str) -> set[str]:
    return set(re.findall(r"DELIVERY_[A-Z_]*[A-Z]", text))


def test_every_variable_of_a_recipe_is_explained() -> None:
    used = {name for file in RECIPES for name in variables(file.read_text(encoding="utf-8"))}
    table = PAGE.read_text(encoding="utf-8").split("## Set it up")[1].split("###")[0]
    assert used | {"DELIVERY_ROUTES"} == variables(table)


@pytest.mark.parametrize("file", [*WORKERS, *REDPANDA], ids=lambda file: file.name)
def test_every_recipe_reads_committed_records_alone(file: Path) -> None:
    setting = r"^\s*(camel\.component\.kafka\.|consumer\.|transaction_)isolation[.\-_]level( = |=|: )read_committed$"
    assert re.search(setting, file.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("file", REDPANDA, ids=lambda file: file.name)
def test_redpanda_connect_reports_after_it_has_delivered(file: Path) -> None:
    recipe: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    broker = recipe["output"]["broker"]
    assert broker["pattern"] == "fan_out_sequential"
    assert broker["outputs"][1]["redpanda"]["topic"] == "${DELIVERY_REPORTS}"
    assert set(broker["outputs"][1]) == {"redpanda", "processors"}


def test_the_jars_of_the_pom_are_those_that_the_tests_run() -> None:
    pom = ET.parse(EXAMPLES / "camel" / "pom.xml").getroot()  # noqa: S314 - of this repository
    xml = "{http://maven.apache.org/POM/4.0.0}"
    version = pom.findtext(f"{xml}properties/{xml}camel.version") or ""
    named = {
        tuple((one.findtext(f"{xml}{part}") or "").replace("${camel.version}", version) for part in parts)
        for parts in [("groupId", "artifactId", "version")]
        for one in pom.iter(f"{xml}dependency")
    }
    assert len(named) == 6
    assert named <= {(jar.group, jar.artifact, jar.version) for jar in pinned("camel")}
