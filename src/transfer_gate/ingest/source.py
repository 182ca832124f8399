"""The file of a source: who may send to it, how its bodies are taken apart, and which consent events they hold.

A source file is a mapping of `consent import` (`imports.mapping`) with what HTTP and JSON bodies need beside it.
"""

from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, StringConstraints
from pydantic import Field as PydanticField

from transfer_gate.errors import InvalidInput
from transfer_gate.imports.mapping import EventMapping, ImportMapping, Times, problems_in
from transfer_gate.model.reviewed import Reviewed, Text, Whole, Word
from transfer_gate.registry.checks import Problem
from transfer_gate.registry.parse import parse_object
from transfer_gate.registry.yamlfile import Document, load

#: In `items`: the body itself is the list.
WHOLE_BODY: Final = "$"
#: Member under which a row has the entry of `items` that it is about.
ITEM: Final = "item"
#: Largest body, KiB: as an unmapped event, in base64, it still fits into a record of Kafka's default size (1 MiB).
LARGEST_BODY_KIB: Final = 512


def _name(value: str) -> str:
    if "/" in value or value.startswith("."):
        raise ValueError("must be the name of a file in TRANSFER_GATE_INGEST_SECRETS, without a folder")
    return value


def _network(value: str) -> str:
    try:
        ip_network(value)
    except ValueError:
        raise ValueError("must be an address or a network, such as 192.0.2.7 or 192.0.2.0/24") from None
    return value


def _source(value: str) -> str:
    if not value.replace("-", "").isalnum() or not value.isascii() or value != value.lower() or value[0] == "-":
        raise ValueError("must be lower-case letters, digits and '-': it is the last part of the address")
    return value


SecretFile = Annotated[Word, AfterValidator(_name)]
Network = Annotated[Word, AfterValidator(_network)]
SourceName = Annotated[str, StringConstraints(min_length=1, max_length=63), AfterValidator(_source)]


class Bearer(Reviewed):
    """`Authorization: Bearer …` (RFC 6750). Each line of the file is a token that is accepted: for a rotation."""

    token_file: SecretFile


class Basic(Reviewed):
    """`Authorization: Basic …` (RFC 7617). Each line of the file is a password that is accepted."""

    username: Word
    password_file: SecretFile


class StandardWebhooks(Reviewed):
    """Signed with HMAC-SHA256 as Standard Webhooks 1.0 has it. Each line of the file is a secret (`whsec_…`)."""

    secret_file: SecretFile
    tolerance_seconds: Annotated[Whole, PydanticField(ge=1, le=3600)] = 300
    """Replay window: a signature that is older, or further ahead, is refused."""


class ClientCredentials(Reviewed):
    """An access token that the source gets at `/ingest/<source>/token` (OAuth 2.0, RFC 6749, section 4.4).

    Each line of the file is a secret that is accepted; tokens are made with the first.
    """

    client_id: Word
    secret_file: SecretFile


class Authentication(Reviewed):
    """Who may send: everything that is given here has to hold."""

    bearer: Bearer | None = None
    basic: Basic | None = None
    client_credentials: ClientCredentials | None = None
    standard_webhooks: StandardWebhooks | None = None
    addresses: tuple[Network, ...] = ()
    """Addresses and networks that requests may come from."""


class Regulation(Reviewed):
    """Under which regulation an event is: those of another one are counted and passed over, and change nothing."""

    constant: Word | None = None
    """The source sends events of this regulation only."""
    column: Text | None = None
    """Where the regulation stands."""
    ours: tuple[Word, ...] = ()
    """Words for the regulation that the mapping is written for."""
    others: tuple[Word, ...] = ()
    """Words for other regulations. Any other word makes an event unmapped: it might be a new name of ours."""
    default: Word | None = None
    """What an absent value means."""


class Source(Reviewed):
    """A whole source file."""

    source: SourceName
    """Names the platform: part of the address `/ingest/<source>` and of every id that is made."""
    authentication: Authentication
    largest_body_kib: Annotated[Whole, PydanticField(ge=1, le=LARGEST_BODY_KIB)] = 256
    items: Text | None = None
    """Path of a list in the body, each entry of which holds events; `$` where the body itself is the list."""
    regulation: Regulation
    times: Times = Times()
    absent: tuple[str, ...] = ("",)
    """Texts that stand for an absent value, spaces around them left out."""
    events: Annotated[tuple[EventMapping, ...], PydanticField(min_length=1)]

    @property
    def mapping(self) -> ImportMapping:
        """The part that maps rows."""
        return ImportMapping(source=self.source, times=self.times, absent=self.absent, events=self.events)


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
