"""YAML files: the core schema of YAML 1.2, merge keys, and the line of everything."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transfer_gate.errors import InvalidInput
from transfer_gate.registry.yamlfile import MAX_DEPTH, MAX_VALUES, Document, InvalidFile, dotted, load, parse

NAME = Path("a.yaml")


def read(text: str) -> Document:
    return parse(text.encode(), NAME)


def refused(text: str | bytes) -> str:
    with pytest.raises(InvalidInput) as caught:
        parse(text.encode() if isinstance(text, str) else text, NAME)
    return caught.value.message


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("NO", "NO"),
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("y", "y"),
        ("true", True),
        ("False", False),
        ("tRue", "tRue"),
        ("null", None),
        ("~", None),
        ("", None),
        ("none", "none"),
        ("12", 12),
        ("-12", -12),
        ("+12", 12),
        ("012", 12),
        ("0o17", 15),
        ("0x1F", 31),
        ("1_000", "1_000"),
        ("0b1", "0b1"),
        ("10:30", "10:30"),
        ("190:20:30", "190:20:30"),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("1.", 1.0),
        ("1.2.3", "1.2.3"),
        ("2026-10-05", "2026-10-05"),
        ("2026-10-05T10:00:00+02:00", "2026-10-05T10:00:00+02:00"),
        ("2001-12-14 21:59:43.10 -5", "2001-12-14 21:59:43.10 -5"),
        ("=", "="),
        ("'12'", "12"),
        ('"true"', "true"),
        ('""', ""),
    ],
)
def test_a_plain_scalar_is_read_by_the_core_schema(written: str, value: object) -> None:
    """Norway, dates and times of day stay text; only null, true, false and numbers are anything else."""
    found = read(f"a: {written}\n").value["a"]
    assert found == value
    assert type(found) is type(value)


def test_an_alias_gives_an_equal_value_that_is_not_shared() -> None:
    """Changing what one alias gave leaves the anchor and the other aliases as they were."""
    value = read("a: &x {k: [1]}\nb: *x\nc: *x\n").value
    assert value["a"] == value["b"] == value["c"] == {"k": [1]}
    value["b"]["k"].append(2)
    assert value["a"] == value["c"] == {"k": [1]}


def test_a_merge_key_brings_in_what_is_not_said_again() -> None:
    """Own keys win over merged ones, wherever they stand; of several merged mappings the earlier one wins."""
    text = "x: &x {p: 1, q: 1}\ny: &y {q: 2, r: 2}\nz: {s: 3, <<: [*x, *y], p: 3}\n"
    assert read(text).value["z"] == {"p": 3, "q": 1, "r": 2, "s": 3}


def test_a_merge_of_a_merge_is_whole() -> None:
    """What a mapping got by merging is merged on."""
    assert read("a: &a {k: 1}\nb: &b {<<: *a, l: 2}\nc: {<<: *b}\n").value["c"] == {"k": 1, "l": 2}


def test_a_quoted_merge_key_is_a_key() -> None:
    """Only the plain `<<` merges."""
    assert read('{"<<": {a: 1}}').value == {"<<": {"a": 1}}


LINES = """\
first: 1
list:
  - a
  - deep:
      - x
      - y
anchor: &here
  inside:
    more: 1
used:
  - *here
merged:
  <<: *here
  own: 2
flow: {a: 1,
  b: [1,
    2]}
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ((), 1),
        (("first",), 1),
        (("list",), 2),
        (("list", 0), 3),
        (("list", 1), 4),
        (("list", 1, "deep"), 4),
        (("list", 1, "deep", 1), 6),
        (("anchor", "inside", "more"), 9),
        (("used", 0), 11),
        (("used", 0, "inside", "more"), 11),
        (("merged", "inside", "more"), 13),
        (("merged", "own"), 14),
        (("flow", "b", 1), 17),
        (("list", 7, "nothing"), 2),
        (("unknown",), 1),
    ],
)
def test_the_line_of_a_value(path: tuple[str | int, ...], line: int) -> None:
    """What an alias brought in stands where the alias is used; what is not there stands at its nearest ancestor."""
    assert read(LINES).line_of(path) == line


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "a: stands twice; it stood first in line 1"),
        ("a: {b: 1, b: 2}\n", 1, "b: stands twice"),
        ("a:\n  <<: {b: 1}\n  <<: {c: 1}\n", 3, "<<: stands twice"),
        ("a: 1\n<<: 3\n", 2, "<<: takes a mapping"),
        ("<<: [{a: 1}, 3]\n", 1, "<<: takes a mapping"),
        ("a: 1\n2026: x\n", 2, "key 2026: a key is text; put it in quotes"),
        ("true: x\n", 1, "key true: a key is text"),
        ("? [a]\n: x\n", 1, "a key is text"),
        ("a: 1\nb: !!python/object/apply:os.system [ls]\n", 2, "tags are not supported"),
        ("a: !!str 1\n", 1, "tags are not supported"),
        ("a: !mine 1\n", 1, "tags are not supported"),
        ("a: *nowhere\n", 1, "alias *nowhere: no anchor of this name stands above"),
        ("a: &a [*a]\n", 1, "alias *a stands inside its own anchor"),
        ("a: 1\n---\nb: 2\n", 2, "a second document"),
        ("a: .inf\n", 1, "not a number that JSON can carry"),
        ("a: 1e999\n", 1, "not a number that JSON can carry"),
        ("a: .NaN\n", 1, "not a number that JSON can carry"),
        ("a: " + "9" * 5000, 1, "too many digits"),
        ("a: b: c\n", 1, "not YAML"),
        ("a: 1\nb: [1,\n", 3, "not YAML"),
        ("a: 1\nb: @x\n", 2, "not YAML"),
        ("\n\na: \x00", 3, "not text in UTF-8"),
        ("[" * 100, 1, "nested deeper than 64 levels"),
    ],
)
def test_what_is_refused_is_named_with_its_line(text: str, line: int, said: str) -> None:
    """A message says file and line and what is wrong."""
    message = refused(text)
    assert message.startswith(f"a.yaml:{line}: ")
    assert said in message


@pytest.mark.parametrize("raw", [b"a: 1\nb: \xff\n", b"\xff\xfea", b"\xfe\xff\x00", b"\x80"])
def test_bytes_that_are_no_text_are_refused(raw: bytes) -> None:
    """A file in another encoding is an error of the user, never a traceback."""
    assert "UTF-8" in refused(raw)


def test_an_alias_bomb_ends_at_the_bound() -> None:
    """Ten aliases of ten aliases of … stop before they are built."""
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30)]
    assert f"more than {MAX_VALUES} values" in refused("\n".join(rows))


def test_a_chain_of_aliases_is_as_deep_as_what_it_stands_for() -> None:
    """Nesting by aliases ends at the same bound as nesting by brackets, and one level less is read."""
    chain = [f"- &a{n} [*a{n - 1}]" for n in range(1, MAX_DEPTH + 1)]
    assert "nested deeper than 64 levels" in refused("\n".join(["- &a0 x", *chain]))
    assert len(read("\n".join(["- &a0 x", *chain[:-2]])).value) == MAX_DEPTH - 1


def test_files_of_other_systems_are_read() -> None:
    """A byte order mark and Windows line ends change neither values nor lines."""
    document = parse(b"\xef\xbb\xbfa: 1\r\nb:\r\n  - x\r\n", NAME)
    assert document.value == {"a": 1, "b": ["x"]}
    assert document.line_of(("b", 0)) == 3


def test_an_empty_file_is_nothing() -> None:
    """No text and only comments are the null value, at line 1."""
    assert read("").value is None
    assert read("# nothing\n").value is None
    assert read("").line_of(("a",)) == 1


def test_a_missing_file_and_a_folder_are_errors_of_the_user(tmp_path: Path) -> None:
    """What can't be opened is an InvalidFile that names it."""
    for path in (tmp_path / "nope.yaml", tmp_path):
        with pytest.raises(InvalidFile, match=str(path)):
            load(path)


def test_a_message_names_file_line_and_field() -> None:
    """The form of every message about a file."""
    document = read(LINES)
    assert document.error(("list", 1, "deep", 0), "is wrong") == "a.yaml:5: list[1].deep[0]: is wrong"
    assert document.error((), "is wrong") == "a.yaml:1: is wrong"


WORDS = st.text("abcdefghijklmnopqrstuvwxyzé-_ :#'\"\\{}[]&*!|>%@`,?01.", max_size=12)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**18), 10**18)
    | st.floats(allow_nan=False, allow_infinity=False)
    | WORDS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(WORDS.filter(lambda key: key != "<<"), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(VALUES)
def test_json_is_yaml(value: Any) -> None:
    """Whatever JSON writes is read back as the same value, in one line and in many."""
    for indent in (None, 1):
        assert read(json.dumps(value, ensure_ascii=False, indent=indent)).value == value


def _scalars(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[tuple[str | int, ...], Any]]:
    if isinstance(value, dict):
        return [leaf for key, part in value.items() for leaf in _scalars(part, (*path, key))]
    if isinstance(value, list):
        return [leaf for index, part in enumerate(value) for leaf in _scalars(part, (*path, index))]
    return [(path, value)]


@given(VALUES)
def test_every_scalar_has_the_line_that_it_is_written_in(value: Any) -> None:
    """In a file with one scalar a line, the line of each scalar is its own."""
    text = json.dumps(value, ensure_ascii=False, indent=1)
    document = read(text)
    for path, scalar in _scalars(value):
        assert json.dumps(scalar, ensure_ascii=False) in text.splitlines()[document.line_of(path) - 1], dotted(path)


def test_a_message_is_one_line_whatever_the_file_holds() -> None:
    document = parse(b'{"a\\u0085\\u001b[2J": {"b": 1}}', Path("x.yaml"))
    (key,) = document.value
    assert document.error((key, "b"), "odd") == "x.yaml:1: a\\x85\\x1b[2J.b: odd"
