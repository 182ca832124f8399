"""Record values that nobody can read, made from a good one; the same for every input topic."""

import random
from typing import Any, Final

import orjson

#: Deeper than any JSON reader follows.
DEPTH: Final = 100_000
LARGE: Final = 900_000


def with_member(good: bytes, member: bytes) -> bytes:
    """A JSON object with one more member, written at its end."""
    return good[:-1] + b"," + member + b"}"


def not_json(good: bytes) -> dict[str, bytes | None]:
    """Values that are not JSON in UTF-8 (RFC 8259), or nest too deeply to be read; `good` is a readable JSON object."""
    text = good.decode()
    return {
        "no value": None,
        "empty": b"",
        "white space": b" \r\n\t",
        "text": b"bonjour",
        "cut off": good[:-20],
        "cut off in a character": with_member(good, '"note":"é'.encode()[:-1]),
        "something behind": good + b"x",
        "two documents": good + b"\n" + good,
        "single quotes": good.replace(b'"', b"'"),
        "comma at the end": good[:-1] + b",}",
        "comment": b"/* */" + good,
        "byte order mark": b"\xef\xbb\xbf" + good,
        "UTF-16": text.encode("utf-16"),
        "Latin-1": with_member(good, '"note":"café"'.encode("latin-1")),
        "invalid UTF-8 in an unknown field": with_member(good, b'"note":"\xff\xfe"'),
        "invalid UTF-8 in a name": with_member(good, b'"\xc3(":1'),
        "overlong UTF-8": with_member(good, b'"note":"\xc0\xaf"'),
        "surrogate in UTF-8": with_member(good, b'"note":"\xed\xa0\x80"'),
        "lone surrogate": with_member(good, rb'"note":"\ud800"'),
        "lone low surrogate": with_member(good, rb'"note":"\udc00 "'),
        "control character": with_member(good, b'"note":"\x00"'),
        "NaN": with_member(good, b'"note":NaN'),
        "Infinity": with_member(good, b'"note":-Infinity'),
        "leading zero": with_member(good, b'"note":007'),
        "open lists": b"[" * DEPTH,
        "open objects": b'{"a":' * DEPTH,
        "deep lists in an unknown field": with_member(good, b'"note":' + b"[" * DEPTH + b"]" * DEPTH),
        "deep objects in an unknown field": with_member(good, b'"note":' + b'{"a":' * DEPTH + b"1" + b"}" * DEPTH),
        "every byte": bytes(range(256)),
        "900 KB of noise": random.Random(900).randbytes(LARGE),
        "900 KB of text": b"A" * LARGE,
    }


def not_this_object(good: bytes, required: tuple[str, ...]) -> dict[str, bytes]:
    """Values that are JSON, but not an object with the `required` members of `good`."""
    body: dict[str, Any] = orjson.loads(good)
    wrong: dict[str, Any] = {
        "a list": [],
        "a list of records": [body],
        "a string": "record",
        "a number": 7,
        "true": True,
        "null as a word": None,
        "an empty object": {},
    }
    for name in required:
        wrong[f"{name} missing"] = {other: value for other, value in body.items() if other != name}
        wrong[f"{name} null"] = body | {name: None}
        wrong[f"{name} an object"] = body | {name: {"value": body[name]}}
        wrong[f"{name} true"] = body | {name: True}
    return {name: orjson.dumps(value) for name, value in wrong.items()}
