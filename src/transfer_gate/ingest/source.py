"""The file of a source: who may send to it, how its bodies are taken apart, and which consent events they hold.

A source file is a mapping of `consent import` (`imports.mapping`) with what HTTP and JSON bodies need beside it.
"""

from ipaddress import ip_network
from typing import Annotated, Final

from pydantic import AfterValidator, StringConstraints
from pydantic import Field as PydanticField

from transfer_gate.imports.mapping import EventMapping, ImportMapping, Times
from transfer_gate.model.reviewed import Reviewed, Text, Whole, Word

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
