"""A reader who follows a link of ours arrives: the file exists, and so does the heading."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import unquote

import pytest

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = sorted(
    [*ROOT.glob("*.md"), *(page for place in ("docs", "deploy") for page in ROOT.glob(f"{place}/**/*.md"))]
)

_FENCE: Final = re.compile(r"^(`{3,}|~{3,}).*?^\1\s*$", re.MULTILINE | re.DOTALL)
_CODE: Final = re.compile(r"`+[^`\n]*`+")
_LINK: Final = re.compile(r"\]\(\s*<?([^)\s>]+)>?[^)]*\)|^\s*\[[^\]]+\]:\s*(\S+)", re.MULTILINE)
_HEADING: Final = re.compile(r"^#{1,6}\s+(.+?)\s*#*$", re.MULTILINE)
_NAMED: Final = re.compile(r"<a\s+(?:id|name)=\"([^\"]+)\"")
_ELSEWHERE: Final = re.compile(r"[a-z][a-z0-9+.-]*:|//")


def without_fences(text: str) -> str:
    return _FENCE.sub("", text)


def links(text: str) -> Iterator[str]:
    """Targets within the repository that a page links to, as they are written; examples in code are none."""
    for inline, reference in _LINK.findall(_CODE.sub("", without_fences(text))):
        target = inline or reference
        if not _ELSEWHERE.match(target):
            yield target


def anchors(text: str) -> set[str]:
    """Fragments that lead into a page: its headings as GitHub spells them, and anchors that it names itself."""
    text = without_fences(text)
    found = set(_NAMED.findall(text))
    for heading in _HEADING.findall(text):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        anchor = re.sub(r"[^\w\- ]", "", shown).replace(" ", "-")
        again = 0
        while (unique := f"{anchor}-{again}" if again else anchor) in found:
            again += 1
        found.add(unique)
    return found


def leads_somewhere(page: Path, target: str, root: Path) -> bool:
    path, _, fragment = unquote(target).partition("#")
    place = (page.parent / path).resolve() if path else page
    if not place.exists() or not place.is_relative_to(root):
        return False
    return not fragment or fragment in anchors(place.read_text(encoding="utf-8"))


def broken(page: Path, root: Path = ROOT) -> list[str]:
    """Links of a page that lead nowhere."""
    return [target for target in links(page.read_text(encoding="utf-8")) if not leads_somewhere(page, target, root)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_within_the_repository_leads_somewhere(page: Path) -> None:
    assert broken(page) == []


def test_the_pages_are_found_and_link() -> None:
    names = {str(page.relative_to(ROOT)) for page in PAGES}
    assert {"README.md", "CHANGELOG.md", "docs/explanation/architecture.md"} <= names
    assert "docs/reference/settings.md" in list(links((ROOT / "README.md").read_text(encoding="utf-8")))


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text(
        '# Title\n\n## Twice, `code` & more\n\n## Twice, `code` & more\n<a id="own"></a>\n'
    )
    page = tmp_path / "page.md"
    page.write_text(
        "## Here\n"
        "[file](other.md) [folder](.) [self](#here) [mail](mailto:dpo@gate.example) [web](https://gate.example/x.md)\n"
        "[heading](other.md#twice-code--more) [second](other.md#twice-code--more-1) [named](other.md#own)\n"
        "[gone](gone.md) [no heading](other.md#gone) [outside](../page.md) `[code](a.md)`\n\n[ref]: gone-too.md\n\n"
        "```\n[in code](b.md)\n# not a heading\n```\n[no self](#not-a-heading)\n"
    )
    assert broken(page, tmp_path) == ["gone.md", "other.md#gone", "../page.md", "gone-too.md", "#not-a-heading"]
