"""What the compiled package consists of (docs/explanation/compiled.md). `make check-compiled` sees what it decides."""

import ast
import importlib
import tomllib
from pathlib import Path
from typing import Final

import pytest

from transfer_gate.policy.catalogue import FAMILIES, RULES
from transfer_gate.policy.written import as_written, is_compiled

ROOT: Final = Path(__file__).parents[2]
_PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
COMPILED: Final = tuple(_PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["mypyc"]["include"])


def test_every_family_of_rules_is_compiled() -> None:
    families = {f"src/{family.__name__.replace('.', '/')}.py" for family in FAMILIES.values()}
    assert families <= set(COMPILED)


@pytest.mark.parametrize("module", COMPILED)
def test_no_class_is_compiled_whose_options_mypyc_drops(module: str) -> None:
    classes = [
        node
        for node in ast.walk(ast.parse((ROOT / module).read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
    ]
    assert [node.name for node in classes if node.keywords or node.decorator_list] == []


def test_a_rule_as_written_has_the_words_and_the_verdict_of_the_rule() -> None:
    for rule in RULES:
        written = as_written(rule.id)
        assert (written.id, written.title, written.scope) == (rule.id, rule.title, rule.scope)
        assert written.words


@pytest.mark.parametrize("module", COMPILED)
def test_the_package_is_compiled_as_a_whole_or_not_at_all(module: str) -> None:
    name = module.removeprefix("src/").removesuffix(".py").replace("/", ".")
    assert str(importlib.import_module(name).__file__).endswith(".py") is not is_compiled()
