"""What is wrong or doubtful in a registry, and where."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from transfer_gate.errors import InvalidInput
from transfer_gate.registry.yamlfile import Steps, dotted

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong at `path`: the steps from the top of the objects, such as `("partners", "acme", "status")`."""

    path: Steps
    what: str

    def under(self, *steps: str | int) -> "Problem":
        """The same problem, seen from further up."""
        return Problem((*steps, *self.path), self.what)

    def __str__(self) -> str:
        return f"{dotted(self.path)}: {self.what}" if self.path else self.what


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """A problem with its place in a file; `line` counts from 1, `field` is empty when the whole file is meant."""

    file: str
    line: int
    field: str
    what: str
    severity: Severity = "error"

    def __str__(self) -> str:
        return (
            f"{self.file}:{self.line}: {self.field}: {self.what}"
            if self.field
            else f"{self.file}:{self.line}: {self.what}"
        )


class InvalidRegistry(InvalidInput):
    """Objects that are no registry; `problems` tells the places, for a caller that knows their lines."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(("the registry is wrong:", *(f"  {problem}" for problem in problems))))
        self.problems = tuple(problems)
