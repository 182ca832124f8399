"""What reviewed files are made of: strict words, flags, numbers and times, and mappings that can't be changed."""

import datetime as dt
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Final, TypeVar

import msgspec
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    SerializerFunctionWrapHandler,
    Strict,
    StringConstraints,
    WrapSerializer,
)

from transfer_gate.model.addresses import canonical_domain

#: A party id: it becomes part of a topic name, so it holds only what Kafka allows there.
PARTY_ID_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"
COUNTRY_PATTERN: Final = r"^[A-Z]{2}$"
TEXT_PATTERN: Final = r"^\S(.*\S)?$"
DOMAIN_PATTERN: Final = r"^([A-Za-z0-9.-]|[^\x00-\x7f])+$"
#: Kafka allows 249 characters; a prefix may take 100 of them (settings.py).
TOPIC_PATTERN: Final = r"^[A-Za-z0-9._-]{1,149}$"

_RFC3339: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")


def _instant(value: Any) -> Any:
    if isinstance(value, str):
        value = _parsed(value)
    if not isinstance(value, dt.datetime) or value.tzinfo is None:
        raise ValueError("must be a date and time with an offset, such as 2026-09-01T00:00:00+02:00")
    try:
        return value.astimezone(dt.UTC)
    except OverflowError:
        raise ValueError("no such date or time") from None


def _parsed(text: str) -> dt.datetime:
    if not _RFC3339.fullmatch(text):
        hint = " with an offset" if re.match(r"\d{4}-\d\d-\d\d", text) else ""
        raise ValueError(f"must be a date and time{hint}, such as 2026-09-01T00:00:00+02:00 (RFC 3339)")
    try:
        return msgspec.convert(text, dt.datetime)
    except msgspec.ValidationError:
        raise ValueError("no such date or time") from None


def _domain(value: str) -> str:
    if canonical_domain(value) is None:
        raise ValueError("has no canonical form (IDNA); write a domain such as example.org")
    return value


def _frozen(value: Mapping[Any, Any]) -> Mapping[Any, Any]:
    return MappingProxyType(dict(value))


def nothing() -> Mapping[Any, Any]:
    """The empty mapping; it can't be filled."""
    return MappingProxyType({})


def _thawed(value: Mapping[Any, Any], handler: SerializerFunctionWrapHandler) -> Any:
    return handler(dict(value))


K = TypeVar("K")
V = TypeVar("V")
#: A mapping that can't be changed: a registry under one revision stays what was reviewed.
Frozen = Annotated[Mapping[K, V], AfterValidator(_frozen), WrapSerializer(_thawed)]

PartyName = Annotated[str, StringConstraints(pattern=PARTY_ID_PATTERN)]
Word = Annotated[str, StringConstraints(pattern=TEXT_PATTERN, max_length=128)]
Country = Annotated[str, StringConstraints(pattern=COUNTRY_PATTERN)]
Domain = Annotated[str, StringConstraints(pattern=DOMAIN_PATTERN, max_length=254), AfterValidator(_domain)]
Text = Annotated[str, StringConstraints(pattern=TEXT_PATTERN, max_length=2000)]
Flag = Annotated[bool, Strict()]
Whole = Annotated[int, Strict()]
When = Annotated[AwareDatetime, BeforeValidator(_instant)]


class Reviewed(BaseModel):
    """Base of every registry object."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
