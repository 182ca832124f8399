"""Reports of deliveries to a partner without Kafka, as records of `deliveries.<party_id>`.

The program that delivers writes them, keyed by `transfer_id`. They come at least once.
"""

from typing import Annotated, Final, Literal, get_args

import msgspec
from msgspec import Meta, Struct

from transfer_gate.model.terms import Identifier, Instant

#: A set that only grows.
DeliveryState = Annotated[
    Literal["delivered", "failed", "cancelled"],
    Meta(
        description="`delivered`: the receiver has it. `failed`: the receiver refuses it for good; a later report may "
        "say otherwise. `cancelled`: a person decided that it is not to be delivered any more; `ref` names the ticket."
    ),
]
DELIVERY_STATES: Final = get_args(get_args(DeliveryState)[0])


class DeliveryReport(Struct, frozen=True, gc=False, kw_only=True):
    """What became of one released transfer on its way to the partner. Holds nothing of a person.

    `transfer_id` is that of the released record, and the key of the report. `at` is when it became so, by the clock of
    the program that delivers. `ref` is what it is found by at the receiver: a status, a receipt, the name of a file.
    """

    transfer_id: Identifier
    state: DeliveryState
    at: Instant
    ref: Annotated[str, Meta(max_length=256)] | None = None


_DECODER: Final = msgspec.json.Decoder(DeliveryReport)
encode_delivery: Final = msgspec.json.Encoder().encode


def decode_delivery(key: bytes | None, value: bytes | None) -> DeliveryReport | None:
    """Read a report; None where it can't be read, or the key is not its `transfer_id`."""
    try:
        report = _DECODER.decode(value or b"")
    except msgspec.DecodeError:
        return None
    return report if key == report.transfer_id.encode() else None
