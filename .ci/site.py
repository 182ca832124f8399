"""The pages of the repository as a site (`make docs`): what MkDocs builds from, and how it reads our links.

`python .ci/site.py FOLDER` lays out every page, and every file that pages link to, as they stand in the repository, so
that links between README.md, docs/ and schemas/ are the same in both places. MkDocs loads this module as a hook, too.
"""

import re
import shutil
import sys
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
#: What pages link to, besides one another.
LINKED: Final = ("schemas", "examples", "tests/cases", "benchmarks/results")
#: In the order of somebody who begins; what is not here follows by its name.
FIRST: Final = {
    "how-to": (
        "registry", "case-files", "bring-your-consents", "consent-platforms", "wire-a-partner-feed",
        "a-partner-in-an-hour", "deliver-without-kafka",
        "prove-it-to-your-dpo", "deploy", "monitor", "quarantine", "replay", "verify", "audit", "grow",
    ),
    "explanation": ("architecture", "rules", "read-barrier", "erasure", "compared-with", "measurements"),
    "reference": ("what-happens-when", "settings", "topics", "rules", "registry", "access", "metrics", "logs"),
    "runbooks": (),
}  # fmt: skip


def lay_out(folder: Path) -> None:
    """Copy pages, and what they link to, into `folder`, made anew; a folder that is linked to lists its files."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for page in ROOT.glob("*.md"):
        shutil.copy(page, folder)
    shutil.copytree(ROOT / "docs", folder / "docs")
    for name in LINKED:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
        files = sorted(path for path in (folder / name).rglob("*") if path.is_file())
        listed = (f"- [{path.relative_to(folder / name)}]({path.relative_to(folder / name)})" for path in files)
        (folder / name / "index.md").write_text("\n".join([f"# {name}", "", *listed, ""]), encoding="utf-8")


def anchor(heading: str, _separator: str) -> str:
    """The fragment of a heading as GitHub spells it, which is what our links name."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def on_config(config: Any) -> Any:
    """Anchors as GitHub has them, and every page in the navigation, also one that is new."""
    config["mdx_configs"].setdefault("toc", {})["slugify"] = anchor
    source = Path(config["docs_dir"])
    config["nav"] = ["README.md"]
    for section, first in FIRST.items():
        found = {path.stem: str(path.relative_to(source)) for path in sorted((source / "docs" / section).glob("*.md"))}
        ordered = [*first, *(name for name in found if name not in first)]
        config["nav"].append({section.capitalize(): [found[name] for name in ordered]})
    config["nav"].append({"Project": ["docs/scaling.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"]})
    return config


if __name__ == "__main__":
    lay_out(Path(sys.argv[1]))
