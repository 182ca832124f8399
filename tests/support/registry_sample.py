"""The sample registry of `examples/`, for tests that change it."""

from pathlib import Path
from typing import Any

from transfer_gate.registry.yamlfile import load

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "registry"


def objects() -> dict[str, Any]:
    """The sample as plain objects, as a case file would hold it; nothing is shared between two calls."""
    named = {
        kind: {path.stem: load(path).value for path in sorted((EXAMPLE / kind).glob("*.yaml"))}
        for kind in ("partners", "notices")
    }
    return named | {"policy": load(EXAMPLE / "policy.yaml").value}
