"""Where the sample registry lies: inside an installed package, or in the source tree."""

from importlib.resources import as_file, files
from pathlib import Path

from transfer_gate.errors import InvalidInput


def sample_registry() -> Path:
    """The folder of `examples/registry`. Raises InvalidInput when neither place has it."""
    package = files("transfer_gate.local").joinpath("registry")
    with as_file(package) as installed:
        places = (installed, Path(__file__).parents[4] / "examples" / "registry")
    for place in places:
        if (place / "policy.yaml").is_file():
            return place
    raise InvalidInput(
        "the sample registry is not installed", do="install transfer-gate again, or run from its source tree"
    )
