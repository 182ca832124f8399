"""Consent events as they arrive (contract section 3); names follow ISO/IEC TS 27560 where it has one."""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from transfer_gate.model.terms import Channel, Identifier, Instant, PartyId, Token

ConsentStatus = Literal["given", "renewed", "refused", "expired", "invalidated"]
LawfulBasis = Literal["consent", "legitimate_interest", "existing_customer"]
Indication = Literal[
    "unticked_box_ticked",
    "signature",
    "dedicated_action",
    "oral_recorded",
    "preticked_box",
    "scroll",
    "single_button",
]
_DURATION: Final = (
    r"^P(?=.)([0-9]{1,6}Y)?([0-9]{1,6}M)?([0-9]{1,6}W)?([0-9]{1,6}D)?"
    r"(T(?=.)([0-9]{1,9}H)?([0-9]{1,9}M)?([0-9]{1,9}S)?)?$(?!\n)"
)
_WHOLE_UNITS: Final = "ISO 8601 duration in whole units, such as `P1Y` or `P6M`."
Duration = Annotated[str, Meta(pattern=_DURATION, description=_WHOLE_UNITS)]
#: One that was read as a Duration before: its pattern is not run again, which took a third of decoding a state.
KeptDuration = Annotated[str, Meta(extra_json_schema={"pattern": _DURATION}, description=_WHOLE_UNITS)]


class Proof(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """Evidence of the act of consent (GDPR 7(1))."""

    proof_id: Identifier | None = None
    text_hash: str | None = None
    individual: bool | None = None
    collector: PartyId | None = None
    kept_until: Instant | None = None


class Guardian(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """The holder of parental responsibility who consented with a minor (GDPR 8, LIL 45)."""

    party_id: PartyId | None = None
    event_time: Instant | None = None
    proof_id: Identifier | None = None


class CallSlot(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """A period for which the person agreed to calls outside the call window (L223-1 al. 6 C. conso.)."""

    from_: Annotated[Instant | None, Meta(description="First instant at which a call is agreed for.")] = msgspec.field(
        default=None, name="from"
    )
    to: Annotated[Instant | None, Meta(description="First instant after the period.")] = None


class Consent(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """One version of a consent record: what the person was asked, how, for whom, with what proof."""

    event_id: Identifier
    event_time: Instant
    record_id: Identifier
    state: ConsentStatus
    lawful_basis: LawfulBasis | None = None
    indication: Indication | None = None
    purposes: tuple[Token, ...] = ()
    channels: tuple[Channel, ...] = ()
    party_ids: tuple[PartyId, ...] = ()
    offer_categories: tuple[Token, ...] = ()
    partner_list_version: Identifier | None = None
    notice_version: Identifier | None = None
    validity: Duration | None = None
    time_precise: bool = True
    guardian: Guardian | None = None
    special_categories: tuple[Token, ...] = ()
    call_slots: tuple[CallSlot, ...] = ()
    proof: Proof | None = None


class ConsentGiven(Consent, frozen=True, kw_only=True, tag_field="type", tag="consent"):
    """A consent, refusal, renewal or end of a consent record."""

    prospect_id: Identifier


class Scope(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """What an opposition covers; `"all"`, absent, null and empty all mean everything."""

    channels: tuple[Channel, ...] | Literal["all"] | None = None
    party_ids: tuple[PartyId, ...] | Literal["all"] | None = None
    purposes: tuple[Token, ...] | Literal["all"] | None = None


class Event(Struct, frozen=True, gc=False, kw_only=True, tag_field="type"):
    """What every consent event has."""

    event_id: Identifier
    prospect_id: Identifier
    event_time: Instant


class Withdrawal(Event, frozen=True, kw_only=True, tag="withdrawal"):
    """Consent withdrawn (GDPR 7(3)); counts from receipt, whatever its date."""

    scope: Scope | None = None


class Objection(Event, frozen=True, kw_only=True, tag="objection"):
    """Objection to direct marketing (GDPR 21(2)); counts from receipt, whatever its date."""

    scope: Scope | None = None


class Erasure(Event, frozen=True, kw_only=True, tag="erasure"):
    """The person asked to be erased (GDPR 17)."""


class Restriction(Event, frozen=True, kw_only=True, tag="restriction"):
    """The person asked to restrict processing (GDPR 18)."""


class RestrictionLifted(Event, frozen=True, kw_only=True, tag="restriction_lifted"):
    """A restriction ended."""


class Resolution(Event, frozen=True, kw_only=True, tag="resolution"):
    """An operator looked at unreadable consent events and settled them, by their offsets; or, with `history`, at a
    history that had become too long to be kept.

    What no offset can be would be the name by which states know an event of another topic or partition
    (`records.partitioner`).
    """

    resolves: tuple[Annotated[int, Meta(ge=0, lt=1 << 40)], ...]
    history: bool = False
    by: str | None = None
    why: str | None = None


ConsentEvent = ConsentGiven | Withdrawal | Objection | Erasure | Restriction | RestrictionLifted | Resolution
