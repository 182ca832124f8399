"""What a decision says: per partner, which channels may go and why the others may not (contract section 5)."""

from msgspec import Struct

from transfer_gate.model.consent import CallSlot
from transfer_gate.model.terms import Channel, Instant, PartyId, Reason
from transfer_gate.model.transfer import AttributeValue, Contact


class CallWindow(Struct, frozen=True, gc=False, kw_only=True):
    """When a consumer may be called (D223-9 C. conso.), in the consumer's own time zone."""

    days: tuple[str, ...]
    hours: tuple[str, ...]
    public_holidays: bool
    time_zone: str


class Obligations(Struct, frozen=True, gc=False, kw_only=True):
    """What the partner must respect with this record. Times are UTC; attempts are per 30 calendar days and partner.

    `call_slots` are what the person agreed to outside the call window (L223-1 al. 6 C. conso.).
    """

    use_before: Instant
    art14_due_at: Instant | None = None
    call_window: CallWindow | None = None
    max_call_attempts: int | None = None
    call_slots: tuple[CallSlot, ...] | None = None


class Ground(Struct, frozen=True, gc=False):
    """On what channels were released: the consent record, where consent is the basis, and the notice; the offer, of
    calls, whose consent hangs on it (rules.md 1.3).
    """

    channels: tuple[Channel, ...]
    record_id: str | None = None
    notice: str | None = None
    offer_category: str | None = None


class Release(Struct, frozen=True, gc=False, kw_only=True):
    """What may travel: only the points of released channels, only declared and allowed attributes (GDPR 5(1)(c)).
    `grounds`, in which each channel stands once, do not travel.
    """

    contact: Contact
    attributes: dict[str, AttributeValue]
    obligations: Obligations
    grounds: tuple[Ground, ...] = ()


class PartnerDecision(Struct, frozen=True, gc=False, kw_only=True):
    """The verdict on one (event, partner): requested channels = released ⊎ quarantined, always.

    `released` and the keys of `quarantined` keep the order of the request; the reasons of a channel stand in the
    order of `model.terms.REASONS`. `release` is there exactly when `released` is not empty. `record_ids` names
    the consent records that were relevant to any channel, `rule_errors` the rules that raised.
    """

    partner_id: PartyId
    released: tuple[Channel, ...]
    quarantined: dict[Channel, tuple[Reason, ...]]
    release: Release | None
    record_ids: tuple[str, ...] = ()
    rule_errors: tuple[str, ...] = ()
