"""What the gate would decide now about a quarantined record, and why; nothing is sent."""

import datetime as dt

from msgspec import Struct
from msgspec.structs import replace

from transfer_gate.kafka.unpacking import unheld
from transfer_gate.model.registry import Registry
from transfer_gate.model.state import ProspectState
from transfer_gate.policy.explain import Explanation, explain
from transfer_gate.quarantine.payloads import Payload
from transfer_gate.records.decisions import ANY_CHANNEL
from transfer_gate.records.quarantined import Held
from transfer_gate.records.transfers import SchemaInvalid, Undecodable, decode_transfer


class Afresh(Struct, frozen=True, kw_only=True):
    """The decision of now. `reasons`: channel to reasons where the record is held before any rule is asked, with the
    one key `*` when it can't be read; otherwise `explanations`, one a partner.
    """

    reasons: dict[str, tuple[str, ...]] = {}
    explanations: tuple[Explanation, ...] = ()


def decide_afresh(
    held: Held, key: bytes | None, payload: Payload, state: ProspectState, registry: Registry, now: dt.datetime
) -> Afresh:
    """Decide as the gate does when the record is replayed at `now` (UTC): only what is held of it. `payload` is
    readable.
    """
    why = None if payload.original is None else unheld(payload.original)
    if why is not None:
        return Afresh(reasons={ANY_CHANNEL: (why,)})
    value = payload.value
    try:
        transfer = decode_transfer(value)
    except Undecodable:
        return Afresh(reasons={ANY_CHANNEL: ("undecodable",)})
    except SchemaInvalid:
        return Afresh(reasons={ANY_CHANNEL: ("schema-invalid",)})
    if held.partner_id is not None:
        transfer = replace(transfer, partner_ids=(held.partner_id,), channels=held.channels)
    if key is None or transfer.prospect_id.encode() != key:
        return Afresh(reasons={str(channel): ("key-mismatch",) for channel in transfer.channels})
    return Afresh(explanations=explain(transfer, state, registry, now))
