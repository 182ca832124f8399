"""The table of all settings for docs/reference/settings.md: `python -m transfer_gate.settings_table >
docs/reference/settings.md`."""

import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final

from transfer_gate.settings import PREFIX, Settings

_HEAD: Final = f"""\
# Settings

Generated from the code by `python -m transfer_gate.settings_table`; do not edit.

Settings come from the environment, and from a file `.env` in the folder where the command runs; where both have one,
the environment counts. A name that begins with `{PREFIX}` and is not in this table is an error (exit 2), because
a misspelt setting must not silently take its default. Passwords are read from files, never from the environment.

Durations are in seconds. A dash means that there is no default: the setting may be left out.
"""
_KINDS: Final = {"string": "text", "integer": "whole number", "number": "number"}


def lines() -> Iterator[str]:
    """The page, line by line, in Markdown."""
    yield from _HEAD.splitlines()
    yield ""
    yield "| setting | values | default | what it is for |"
    yield "|---|---|---|---|"
    for name, field in Settings.model_json_schema()["properties"].items():
        yield f"| `{PREFIX}{name.upper()}` | {values(field)} | {_default(field)} | {field['description']} |"


def values(field: Mapping[str, Any]) -> str:
    """What a setting may be, in words; `field` is its JSON Schema."""
    # A setting that may be left out is `anyOf` its kind and null.
    (kind,) = (one for one in field.get("anyOf", [field]) if one.get("type") != "null")
    if "enum" in kind:
        return ", ".join(f"`{value}`" for value in kind["enum"])
    if kind.get("format") == "path":
        return "path"
    if "pattern" in kind:
        return f"text, `{kind['pattern']}`"
    if "minimum" in kind:
        bounds = f"{kind['minimum']:,} to {kind['maximum']:,}" if "maximum" in kind else f"{kind['minimum']:,} or more"
        return f"{_KINDS[kind['type']]}, {bounds}".replace(".0", "")
    return _KINDS[kind["type"]]


def _default(field: Mapping[str, Any]) -> str:
    default = field.get("default")
    if default is None:
        return "–"
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`" if default != "" else "empty"


if __name__ == "__main__":
    sys.stdout.write("\n".join(lines()) + "\n")
