"""All dashboards, and the files that they are written to."""

from pathlib import Path
from typing import Final

from deploy.monitoring.grafana.generate.overview import OVERVIEW
from deploy.monitoring.grafana.generate.panel import written
from deploy.monitoring.grafana.generate.quarantine import QUARANTINE
from deploy.monitoring.grafana.generate.runtime import RUNTIME

FOLDER: Final = Path(__file__).parents[1] / "dashboards"
BOARDS: Final = (OVERVIEW, QUARANTINE, RUNTIME)


def files() -> dict[Path, str]:
    """What each file has to say."""
    return {FOLDER / f"{board.uid}.json": written(board) for board in BOARDS}
