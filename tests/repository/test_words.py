"""The words of docs/reference/glossary.md, as far as a machine can know them: in docstrings, comments and messages."""

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

SOURCES: Final = Path(__file__).parents[2] / "src" / "transfer_gate"
#: The parts that keep to the words. A part that is not here still has some of the others.
PARTS: Final = (
    "cases", "cli", "doctor", "errors.py", "gate", "growth", "imports", "kafka", "local", "model", "observe",
    "operators.py", "policy", "printable.py", "quarantine", "records", "registry", "replay", "schemas", "settings.py",
    "settings_table.py", "starter", "verify",
)  # fmt: skip

#: Word -> what to write instead.
NOT_OURS: Final = {
    r"whoever": "the operator, the caller, the client",
    r"somebody|someone": "an operator, a producer, another principal",
    r"nobody": "no operator, no one's name: say what is missing",
    r"ours": "the gate's, the worker's",
    r"mend(s|ed|ing)?": "fix, restore",
    r"afresh": "again",
    r"in doubt": "the outcome of the commit is unknown",
    r"tell|tells|told": "report, log, raise, return, send",
}
#: What may be said all the same: the law informs people, and an id of a source may stand for no person.
SAID: Final = re.compile(
    r"(person|people) (was|were|is) told|can be told of oppositions|[Nn]otice tells of|tells of the right|told of"
    r"|stands? for nobody|`nobody`|whoever's prospect|[Nn]ames nobody"
)


def written(module: Path) -> Iterator[tuple[int, str]]:
    """Line and text of every comment and every string."""
    for token in tokenize.generate_tokens(io.StringIO(module.read_text(encoding="utf-8")).readline):
        if token.type in (tokenize.COMMENT, tokenize.STRING):
            for number, line in enumerate(token.string.splitlines()):
                yield token.start[0] + number, line


@pytest.mark.parametrize("part", PARTS)
def test_what_is_written_keeps_to_the_glossary(part: str) -> None:
    place = SOURCES / part
    assert place.exists()
    found = [
        f"{module.relative_to(SOURCES)}:{number}: {line.strip()} -> {instead}"
        for module in ([place] if place.is_file() else sorted(place.rglob("*.py")))
        for number, line in written(module)
        for word, instead in NOT_OURS.items()
        if re.search(rf"\b({word})\b", SAID.sub("", line), re.IGNORECASE)
    ]
    assert found == []
