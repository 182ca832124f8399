"""Signatures of Standard Webhooks 1.0 (https://github.com/standard-webhooks/standard-webhooks), symmetric scheme `v1`:
HMAC-SHA256 over `<webhook-id>.<webhook-timestamp>.<body>`.
"""

import base64
import binascii
import hmac
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Final

ID: Final = "webhook-id"
TIMESTAMP: Final = "webhook-timestamp"
SIGNATURE: Final = "webhook-signature"
_PREFIX: Final = "whsec_"
_SCHEME: Final = "v1"
#: Digits of a timestamp in seconds until the year 2286.
_DIGITS: Final = 10


def key_of(secret: str) -> bytes:
    """The key of a secret as it is handed out: base64, with or without `whsec_`. Raises ValueError where it is neither,
    or has fewer than the 24 bytes that the specification asks for.
    """
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        raise ValueError("is not whsec_ and base64") from None
    if len(key) < 24:
        raise ValueError("has fewer than 24 bytes")
    return key


def sign(key: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """The value of `webhook-signature`; `timestamp` in seconds of Unix time."""
    signed = b"%b.%d.%b" % (message_id.encode(), timestamp, body)
    return f"{_SCHEME},{base64.b64encode(hmac.digest(key, signed, sha256)).decode()}"


def fault_in(
    keys: Iterable[bytes], headers: Mapping[str, str], body: bytes, now: float, tolerance_seconds: int
) -> str | None:
    """Why a body is not signed by one of `keys`: `signature`, or `replay-window` where the time of a message is further
    from `now` (seconds of Unix time) than is tolerated. None where it is.
    """
    message_id, written, given = (headers.get(name) for name in (ID, TIMESTAMP, SIGNATURE))
    if not message_id or not written or not given or not written.isascii() or not written.isdecimal():
        return "signature"
    if len(written) > _DIGITS:
        return "replay-window"
    timestamp = int(written)
    signatures = [part.encode() for part in given.split(" ") if part.startswith(f"{_SCHEME},")]
    wanted = [sign(key, message_id, timestamp, body).encode() for key in keys]
    # Every pair is compared, so that the time tells nothing about which secret is near.
    equal = [hmac.compare_digest(one, other) for one in signatures for other in wanted]
    if not any(equal):
        return "signature"
    return None if abs(now - timestamp) <= tolerance_seconds else "replay-window"
