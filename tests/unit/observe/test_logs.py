"""Log lines: structured, without repeats, without what an exception's text could give away."""

import ast
import json
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import transfer_gate
from transfer_gate.errors import GateError
from transfer_gate.gate.faust.fetching import FetchThread
from transfer_gate.gate.faust.hooks import BatchConsumer, ConsentTable, GateApp
from transfer_gate.kafka.coordinator import RoundFailed
from transfer_gate.observe.logs import (
    EVERY_SECONDS,
    FIELDS,
    MOST_KINDS,
    QUIET,
    RateLimit,
    configure_logs,
    summary,
    traceback_of,
)
from transfer_gate.records.transfers import SchemaInvalid

PERSONAL = "claire@courriel.example"
Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def restored() -> Iterator[None]:
    """Logging is the process's: put back what pytest had."""
    root = logging.getLogger()
    handlers, level, hook = list(root.handlers), root.level, sys.excepthook
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    sys.excepthook = hook
    logging.captureWarnings(capture=False)
    logging.raiseExceptions = True


@pytest.fixture
def lines(restored: None, capsys: pytest.CaptureFixture[str]) -> Lines:
    """JSON lines written since; the first call configures them."""
    begun = False

    def read() -> list[dict[str, Any]]:
        nonlocal begun
        if not begun:
            configure_logs("json", "debug")  # here, because pytest changes sys.stderr after the fixtures
            begun = True
        return [json.loads(line) for line in capsys.readouterr().err.splitlines()]

    return read


def failure(error: Exception) -> Exception:
    """The exception as one has it after it was raised."""
    with pytest.raises(type(error)) as caught:
        raise error
    return caught.value


def line_of(message: str, level: int = logging.WARNING, **fields: object) -> logging.LogRecord:
    """A record as a logger makes it."""
    record = logging.LogRecord("transfer_gate.gate", level, __file__, 1, message, (), None)
    record.__dict__.update(fields)
    return record


def test_a_line_carries_its_place_and_nothing_that_is_not_listed(lines: Lines) -> None:
    assert lines() == []
    where = {"topic": "prospect-transfers", "partition": 3, "offset": 7, "event_id": "t-1", "contact": PERSONAL}
    logging.getLogger("transfer_gate.gate").warning("held", extra=where)
    (line,) = lines()
    stamp = line.pop("timestamp")
    assert stamp.endswith("Z")
    assert line == {"event": "held", "level": "warning", "logger": "transfer_gate.gate"} | {
        "topic": "prospect-transfers",
        "partition": 3,
        "offset": 7,
        "event_id": "t-1",
    }


def extras_in(tree: ast.Module) -> Iterator[ast.expr]:
    """What calls of a logger give as `extra`."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="logger")), keywords=keywords):
                yield from (keyword.value for keyword in keywords if keyword.arg == "extra")


def fields_of(given: ast.expr, dicts: Mapping[str, ast.expr]) -> set[str]:
    """The keys of `{...}`, of `a | b`, and of what a variable or a function of this name is (`dicts`)."""
    match given:
        case ast.Dict(keys=keys):
            return {ast.literal_eval(key) for key in keys if key is not None}
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return fields_of(left, dicts) | fields_of(right, dicts)
        case ast.Name(id=name) | ast.Call(func=ast.Name(id=name)):
            return fields_of(dicts[name], dicts)
    raise AssertionError(f"fields of a log line that nobody can look up: {ast.unparse(given)}")


def dicts_in(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """Dicts of a module by name: what a variable is, or a function returns."""
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Dict() as value):
                yield name, value
            case ast.FunctionDef(name=name, body=[*_, ast.Return(value=ast.Dict() as value)]):
                yield name, value


def test_every_field_that_the_code_gives_to_a_line_is_declared() -> None:
    """What is not declared is dropped; what is declared and never given does not stand in the list."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in Path(transfer_gate.__path__[0]).rglob("*.py")]
    all_dicts = {name: value for tree in trees for name, value in dicts_in(tree)}
    given: set[str] = set()
    for tree in trees:
        dicts = all_dicts | dict(dicts_in(tree))
        given.update(*(fields_of(extra, dicts) for extra in extras_in(tree)))
    assert given - set(FIELDS) == set()
    assert set(FIELDS) - given == {"left_out"}  # of RateLimit


@pytest.mark.parametrize("event_id", ["t-1\nlevel=critical", "t-1\x1b[2J", "t-1\u2028"])
def test_an_event_id_can_not_write_lines_of_its_own(
    restored: None, capsys: pytest.CaptureFixture[str], event_id: str
) -> None:
    configure_logs("console", "info")
    logging.getLogger("transfer_gate.gate").warning("held", extra={"event_id": event_id})
    written = capsys.readouterr().err
    assert written.count("\n") == 1
    assert event_id not in written
    assert "t-1" in written


def test_the_text_of_an_exception_is_not_told_wherever_it_stands(lines: Lines) -> None:
    assert lines() == []
    logger = logging.getLogger("transfer_gate.gate")
    error = failure(KeyError(PERSONAL))
    logger.error("crashed: %r", error)
    logger.error("failed", exc_info=error)
    sys.excepthook(type(error), error, error.__traceback__)
    crashed, failed, ended = lines()
    assert "KeyError" in crashed["event"]
    assert "KeyError" in failed["exception"]
    assert "test_logs.py" in failed["exception"]
    assert ended["level"] == "critical"
    assert PERSONAL not in json.dumps([crashed, failed, ended])


def test_what_speaks_of_the_stream_is_told() -> None:
    assert summary(GateError("the registry is empty")) == "GateError: the registry is empty"
    assert summary(RoundFailed("the cluster did not answer")) == "RoundFailed: the cluster did not answer"
    assert summary(SchemaInvalid(f"Invalid enum value '{PERSONAL}'")) == "SchemaInvalid"
    assert summary(ValueError(PERSONAL)) == "ValueError"


def test_causes_and_groups_are_told_without_their_texts() -> None:
    error = failure(RuntimeError(PERSONAL))
    error.__cause__ = failure(ValueError(PERSONAL))
    group = ExceptionGroup(PERSONAL, [error])
    written = traceback_of(group)
    assert PERSONAL not in written
    assert written.index("ValueError") < written.index("RuntimeError")


def test_a_line_that_can_not_be_written_is_not_told_by_python_instead(
    restored: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its way of telling shows the arguments."""
    configure_logs("json", "info")
    logging.getLogger("transfer_gate.gate").warning("%d", PERSONAL)
    assert PERSONAL not in capsys.readouterr().err


def test_warnings_are_lines_too(lines: Lines) -> None:
    assert lines() == []
    logging.getLogger("py.warnings").warning("%s", "soon gone")
    assert [line["event"] for line in lines()] == ["soon gone"]


def test_repeats_are_left_out_for_a_minute_and_then_counted() -> None:
    now = [0.0]
    repeats = RateLimit(lambda: now[0])
    assert repeats.filter(line_of("held", offset=1))
    assert not any(repeats.filter(line_of("held", offset=offset)) for offset in range(2, 100))
    now[0] = EVERY_SECONDS
    again = line_of("held", offset=100)
    assert repeats.filter(again)
    assert again.__dict__["left_out"] == 98
    now[0] *= 2
    later = line_of("held", offset=101)
    assert repeats.filter(later)
    assert "left_out" not in later.__dict__


def test_other_places_other_words_and_lesser_levels_are_no_repeats() -> None:
    repeats = RateLimit(lambda: 0.0)
    assert repeats.filter(line_of("held", partition=1))
    assert repeats.filter(line_of("held", partition=2))
    assert repeats.filter(line_of("released", partition=1))
    assert repeats.filter(line_of("held", logging.ERROR, partition=1))
    assert all(repeats.filter(line_of("decided", logging.INFO)) for _ in range(3))


def test_messages_that_are_always_different_are_forgotten_in_time() -> None:
    repeats = RateLimit(lambda: 0.0)
    assert all(repeats.filter(line_of(f"value {number}")) for number in range(3 * MOST_KINDS))
    assert len(repeats._written) == MOST_KINDS


def test_services_of_faust_keep_their_life_to_themselves() -> None:
    """They log under the module of their subclass, whose own lines come from elsewhere."""
    assert {kind.__module__ for kind in (GateApp, BatchConsumer, FetchThread, ConsentTable)} <= set(QUIET)
