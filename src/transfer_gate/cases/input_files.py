"""Reading one transfer and its consent events from files, as they came off Kafka or as people write them.

A file is YAML when its name says so, or when it has no telling name and does not begin as JSON does. Everything else is
read as the worker reads a record: what the worker can't read is not read here either.
"""

from pathlib import Path
from typing import Any, Final

import msgspec

from transfer_gate.errors import InvalidInput
from transfer_gate.model.transfer import Transfer
from transfer_gate.records.cloudevents import AS_STRUCTURED, looks_structured, plain_value
from transfer_gate.records.transfers import SchemaInvalid, Undecodable, decode_transfer
from transfer_gate.registry.yamlfile import parse

_YAML: Final = (".yaml", ".yml")
_JSON: Final = (".json", ".jsonl", ".ndjson")
#: How JSON begins, and what is not text in UTF-8: white space apart.
_BEGINS_AS_JSON: Final = (b"{", b"[", b"//", b"/*", b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\x00")

_MANY: Final = msgspec.json.Decoder(list[msgspec.Raw])


def transfer_in(path: Path) -> Transfer:
    """The transfer in a JSON or YAML file. Raises InvalidInput that names file, field and the worker's reason."""
    raw = _bytes(path)
    try:
        record = _json(parse(raw, path).value, path) if _is_yaml(raw, path) else raw
        return decode_transfer(record, AS_STRUCTURED if looks_structured(record) else ())
    except Undecodable as error:
        raise InvalidInput(
            f"{path}: not a transfer: {error} (undecodable)",
            do="write JSON in UTF-8, as the worker reads it",
        ) from None
    except SchemaInvalid as error:
        raise InvalidInput(
            f"{path}: not a transfer: {error} (schema-invalid)", do="see schemas/transfer.schema.json"
        ) from None


def events_in(path: Path) -> tuple[bytes, ...]:
    """The consent events in a file, each as JSON: a JSON or YAML list, one event, or JSON lines in arrival order.

    Their content is not looked at: an event that can't be read counts, as it does on Kafka; a file that is no JSON is
    one such event. Raises InvalidInput that names the file.
    """
    return tuple(_unwrapped(event) for event in _events_in(path))


def _events_in(path: Path) -> tuple[bytes, ...]:
    raw = _bytes(path)
    if not _is_yaml(raw, path):
        return _records(raw)
    value = parse(raw, path).value
    if value is None:
        return ()
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list):
        raise InvalidInput(f"{path}: not a list of consent events", do="write a list, or one JSON object a line")
    return tuple(_json(event, path) for event in value)


def _unwrapped(event: bytes) -> bytes:
    """The event without an envelope of CloudEvents, if it is in one."""
    return plain_value(event, AS_STRUCTURED if looks_structured(event) else ()) or b""


def _records(raw: bytes) -> tuple[bytes, ...]:
    """The bytes of each event, as they stand."""
    lines = [line for line in raw.split(b"\n") if line.strip()]
    if not lines:
        return ()
    try:
        return tuple(bytes(event) for event in _MANY.decode(raw))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    # One object a line; some of them may be broken. Where no line is whole, the lines are parts of one event.
    return tuple(lines) if len(lines) > 1 and any(_is_object(line) for line in lines) else (raw,)


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(msgspec.json.decode(line), dict)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False


def _is_yaml(raw: bytes, path: Path) -> bool:
    suffix = path.suffix.lower()
    return suffix in _YAML or (suffix not in _JSON and not raw.lstrip().startswith(_BEGINS_AS_JSON))


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{path}: can't be read: {error.strerror}", do="name a file that is there") from None


def _json(value: Any, path: Path) -> bytes:
    try:
        return msgspec.json.encode(value)
    except (msgspec.MsgspecError, OverflowError, ValueError):
        raise InvalidInput(f"{path}: holds something that JSON can't carry", do="correct the file") from None
