"""Every row of docs/reference/what-happens-when.md names a test that exists, or says that there is none."""

import re
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
NOT_TESTED: Final = "not tested"


def test_every_row_names_its_test() -> None:
    page = (ROOT / "docs" / "reference" / "what-happens-when.md").read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 10
    for when, _, _, test in rows:
        if test.startswith(NOT_TESTED):
            continue
        found = re.fullmatch(r"`(tests/\S+\.py)::(test_\w+)`", test)
        assert found, f"{when}: {test}"
        source = (ROOT / found[1]).read_text(encoding="utf-8")
        assert re.search(rf"^(async )?def {found[2]}\(", source, flags=re.MULTILINE), f"{when}: {test}"
