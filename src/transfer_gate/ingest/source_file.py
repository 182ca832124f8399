"""Read source files, and report where in them something is wrong."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from transfer_gate.errors import InvalidInput
from transfer_gate.imports.mapping import problems_in
from transfer_gate.ingest.source import Regulation, Source
from transfer_gate.registry.checks import Problem
from transfer_gate.registry.parse import parse_object
from transfer_gate.registry.yamlfile import Document, load

#: Files of cases stand beside those of sources: `didomi.cases.yaml` beside `didomi.yaml`.
CASES: Final = ".cases.yaml"
SUFFIX: Final = ".yaml"
_DO: Final = "see docs/how-to/consent-platforms.md"


class SourceFile:
    """A source that was read from a file and holds together."""

    def __init__(self, path: Path, source: Source) -> None:
        self.path, self.source = path, source

    @property
    def name(self) -> str:
        """The source's name."""
        return self.source.source

    @property
    def cases(self) -> Path:
        """Where its cases stand."""
        return self.path.with_name(self.path.name.removesuffix(SUFFIX) + CASES)


def load_sources(folder: Path) -> list[SourceFile]:
    """Every source of a folder, in the order of file names.

    Raises InvalidInput with a line `file:line: field: what is wrong` for everything that is wrong, or when there is no
    source.
    """
    try:
        paths = sorted(path for path in folder.iterdir() if path.name.endswith(SUFFIX) and path.is_file())
    except OSError as error:
        raise InvalidInput(
            f"{folder}: can't be read: {error.strerror}", do="set TRANSFER_GATE_INGEST_SOURCES"
        ) from None
    found, wrong = [], []
    for path in paths:
        if path.name.endswith(CASES):
            continue
        try:
            found.append(load_source(path))
        except InvalidInput as error:
            wrong.append(error.message)
    names = [file.name for file in found]
    wrong += [f"{file.path}: source {file.name} stands in two files" for file in found if names.count(file.name) > 1]
    if wrong:
        raise InvalidInput("\n".join(wrong), do=_DO)
    if not found:
        raise InvalidInput(f"{folder}: holds no source file", do=_DO)
    return found


def load_source(path: Path) -> SourceFile:
    """Read one source file and check it. Raises InvalidInput."""
    document = load(path)
    source, problems = parse_object(Source, document.value)
    if source is not None:
        problems = [*_problems(source), *problems_in(source.mapping)]
    if source is None or problems:
        raise _invalid(document, problems)
    return SourceFile(path, source)


def _invalid(document: Document, problems: list[Problem]) -> InvalidInput:
    listed = "\n".join(f"  {document.error(problem.path, problem.what)}" for problem in problems)
    return InvalidInput(f"the source {document.path} is wrong:\n{listed}", do=_DO)


def _problems(source: Source) -> Iterator[Problem]:
    given = source.authentication
    headers = [name for name in ("bearer", "basic", "client_credentials") if getattr(given, name) is not None]
    if not (headers or given.standard_webhooks or given.addresses):
        choices = "bearer, basic, client_credentials, standard_webhooks or addresses"
        yield Problem(("authentication",), f"names nobody: give {choices}")
    if len(headers) > 1:
        what = f"stands beside {headers[0]}: a request has one Authorization header"
        yield Problem(("authentication", headers[1]), what)
    yield from (problem.under("regulation") for problem in _regulation(source.regulation))


def _regulation(given: Regulation) -> Iterator[Problem]:
    if (given.constant is None) == (given.column is None):
        yield Problem((), "needs exactly one of column and constant")
        return
    if given.constant is not None:
        for option in ("ours", "others", "default"):
            if getattr(given, option):
                yield Problem((option,), "needs a column")
        return
    if not given.ours:
        yield Problem(("ours",), "is required: the words for the regulation that this mapping is written for")
    ours, others = (frozenset(word.casefold() for word in words) for words in (given.ours, given.others))
    yield from (Problem(("others",), f"{word} stands in ours as well") for word in sorted(ours & others))
    if given.default is not None and given.default.casefold() not in ours | others:
        yield Problem(("default",), "must be a word of ours or others")
