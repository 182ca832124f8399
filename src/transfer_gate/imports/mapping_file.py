"""Read a mapping file, and say where in it something is wrong."""

import hashlib
from pathlib import Path

from transfer_gate.errors import InvalidInput
from transfer_gate.imports.checks import problems_in
from transfer_gate.imports.mapping import ImportMapping
from transfer_gate.registry.checks import Problem
from transfer_gate.registry.parse import parse_object
from transfer_gate.registry.yamlfile import Document, load


class MappingFile:
    """A mapping that was read from a file and holds together; problems with a data file can name its lines."""

    def __init__(self, document: Document, mapping: ImportMapping, sha256: str) -> None:
        self._document = document
        self.mapping = mapping
        #: Of the bytes of the file, hex.
        self.sha256 = sha256

    @property
    def path(self) -> Path:
        """The file."""
        return self._document.path

    def invalid(self, problems: list[Problem]) -> InvalidInput:
        """The error that names file, line and field of each problem."""
        return invalid_mapping(self._document, problems)


def invalid_mapping(document: Document, problems: list[Problem]) -> InvalidInput:
    """The error that names file, line and field of each problem."""
    listed = "\n".join(f"  {document.error(problem.path, problem.what)}" for problem in problems)
    return InvalidInput(f"the mapping {document.path} is wrong:\n{listed}", do="see docs/how-to/bring-your-consents.md")


def load_mapping(path: Path) -> MappingFile:
    """Read a mapping file and check it.

    Raises InvalidInput with a line `file:line: field: what is wrong` for everything that is wrong.
    """
    document = load(path)
    mapping, problems = parse_object(ImportMapping, document.value)
    if mapping is not None:
        problems = problems_in(mapping)
    if mapping is None or problems:
        raise invalid_mapping(document, problems)
    return MappingFile(document, mapping, hashlib.sha256(path.read_bytes()).hexdigest())
