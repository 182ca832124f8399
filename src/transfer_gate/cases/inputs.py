"""Reading one transfer and its consent events from files, as they came off Kafka or as people write them."""

from pathlib import Path
from typing import Any

import msgspec
import orjson

from transfer_gate.errors import InvalidInput
from transfer_gate.model.transfer import Transfer
from transfer_gate.wire.decode import SchemaInvalid, Undecodable, decode_transfer
from transfer_gate.yamlfile import parse


def transfer_in(path: Path) -> Transfer:
    """The transfer in a JSON or YAML file. Raises InvalidInput that names the file and the field."""
    raw = _bytes(path)
    try:
        return decode_transfer(raw if _is_json(raw) else _json(parse(raw, path).value, path))
    except (SchemaInvalid, Undecodable) as error:
        raise InvalidInput(f"{path}: not a transfer: {error}", do="see schemas/transfer.schema.json") from None


def events_in(path: Path) -> tuple[bytes, ...]:
    """The consent events in a file, each as JSON: a JSON or YAML list, one event, or JSON lines in arrival order.

    Their content is not looked at: an event that can't be read counts, as it does on Kafka. Raises InvalidInput that
    names the file.
    """
    raw = _bytes(path)
    lines = [line for line in raw.splitlines() if line.strip()]
    if len(lines) > 1 and all(_is_json(line) for line in lines):
        return tuple(lines)
    value = orjson.loads(raw) if _is_json(raw) else parse(raw, path).value
    if value is None:
        return ()
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list):
        raise InvalidInput(f"{path}: not a list of consent events", do="write a list, or one JSON object a line")
    return tuple(_json(event, path) for event in value)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{path}: can't be read: {error.strerror}", do="name a file that is there") from None


def _is_json(raw: bytes) -> bool:
    try:
        orjson.loads(raw)
    except orjson.JSONDecodeError:
        return False
    return True


def _json(value: Any, path: Path) -> bytes:
    try:
        return msgspec.json.encode(value)
    except (msgspec.MsgspecError, OverflowError, ValueError):
        raise InvalidInput(f"{path}: holds something that JSON can't carry", do="correct the file") from None
