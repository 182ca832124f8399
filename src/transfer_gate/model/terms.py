"""The words of the contract that several records share: identifiers, channels, times."""

import datetime as dt
from typing import Annotated, Final, Literal, NewType, get_args

from msgspec import Meta

Identifier = Annotated[str, Meta(min_length=1, max_length=128, description="An opaque id, 1 to 128 characters.")]
Token = Annotated[str, Meta(min_length=1, max_length=128, description="A word of a vocabulary, such as `insurance`.")]
PartyId = Annotated[str, Meta(min_length=1, max_length=128, description="The id of a party: a collector or a partner.")]
Instant = Annotated[dt.datetime, Meta(tz=True, description="RFC 3339 with an offset; kept to the microsecond.")]
Offset = NewType("Offset", int)

Channel = Literal["email", "sms", "automated_call", "live_call", "postal"]
CHANNELS: Final[tuple[Channel, ...]] = get_args(Channel)

UTC: Final = dt.UTC
