"""What came of the cases: as lines for people, as JUnit XML for build servers."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

from transfer_gate.cases.run import Outcome


def lines(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Each failed case with its place and every difference, then the counts."""
    for outcome in outcomes:
        if not outcome.passed:
            yield f"FAILED {outcome.case.path}:{outcome.case.line}: {outcome.case.name}"
            yield from (f"  {difference}" for difference in outcome.differences)
    failed = sum(not outcome.passed for outcome in outcomes)
    yield f"{len(outcomes) - failed} passed, {failed} failed"


def junit(outcomes: Sequence[Outcome]) -> bytes:
    """The same as JUnit XML: a suite for each file."""
    root = ET.Element("testsuites")
    for path, group in _by_file(outcomes).items():
        suite = ET.SubElement(
            root,
            "testsuite",
            name=str(path),
            tests=str(len(group)),
            failures=str(sum(not outcome.passed for outcome in group)),
            errors="0",
            time=f"{sum(outcome.seconds for outcome in group):.6f}",
        )
        for outcome in group:
            case = ET.SubElement(
                suite,
                "testcase",
                classname=_printable(str(path)),
                name=_printable(outcome.case.name),
                file=str(path),
                line=str(outcome.case.line),
                time=f"{outcome.seconds:.6f}",
            )
            if not outcome.passed:
                failure = ET.SubElement(case, "failure", message=_printable(outcome.differences[0]))
                failure.text = _printable("\n".join(outcome.differences))
    ET.indent(root)
    written: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return written


def _by_file(outcomes: Sequence[Outcome]) -> dict[Path, list[Outcome]]:
    groups: dict[Path, list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault(outcome.case.path, []).append(outcome)
    return groups


def _printable(text: str) -> str:
    # XML 1.0 has no place for most control characters, not even escaped.
    return "".join(char if char.isprintable() or char in "\n\t" else "�" for char in text)
