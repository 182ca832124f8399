"""What a dashboard is made of, and how Grafana writes it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from grafana_foundation_sdk.builders import bargauge, common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    DataSourceRef,
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
    TooltipDisplayMode,
)
from grafana_foundation_sdk.models.dashboard import DashboardCursorSync, Threshold, ThresholdsMode

#: As provisioned in ../provisioning/datasources.
SOURCE: Final = DataSourceRef(type_val="prometheus", uid="prometheus")
_HEIGHT: Final = {"lines": 8, "stacked": 8, "bars": 8, "number": 4}
_SPAN: Final = {"lines": 8, "stacked": 8, "bars": 8, "number": 4}

AnyPanel = timeseries.Panel | stat.Panel | bargauge.Panel


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One question and its answer: a title, what it means, and queries by legend.

    `unit` is Grafana's name of it. A number turns red where it is `red_from` or more, or less than `red_below`.
    """

    title: str
    what: str
    unit: str
    queries: Mapping[str, str]
    kind: Literal["lines", "stacked", "bars", "number"] = "lines"
    red_from: float | None = None
    red_below: float | None = None


@dataclass(frozen=True)
class Row:
    """Panels under a heading."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True)
class Board:
    """A dashboard: `uid` names its file as well."""

    uid: str
    title: str
    rows: Sequence[Row]


def written(board: Board) -> str:
    """The JSON that Grafana is given."""
    built = (
        dashboard.Dashboard(board.title)
        .uid(board.uid)
        .tags(["transfer-gate"])
        .readonly()
        .refresh("30s")
        .time("now-6h", "now")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .link(dashboard.DashboardLink("Transfer gate").tags(["transfer-gate"]).as_dropdown(as_dropdown=True))
    )
    number = 0
    for row in board.rows:
        number += 1
        built = built.with_row(dashboard.Row(row.title).id(number))
        for panel in row.panels:
            number += 1
            built = built.with_panel(_drawn(panel).id(number))
    return JSONEncoder(sort_keys=True, indent=2).encode(built.build()) + "\n"


def _drawn(panel: Panel) -> AnyPanel:
    drawn: AnyPanel
    if panel.kind == "number":
        drawn = (
            stat.Panel()
            .graph_mode(BigValueGraphMode.AREA)
            .color_mode(BigValueColorMode.VALUE)
            .thresholds(_limits(panel))
        )
    elif panel.kind == "bars":
        drawn = bargauge.Panel()
    else:
        drawn = _lines(stacked=panel.kind == "stacked")
    drawn = (
        drawn.title(panel.title)
        .description(panel.what)
        .datasource(SOURCE)
        .unit(panel.unit)
        .min(0)
        .height(_HEIGHT[panel.kind])
        .span(_SPAN[panel.kind])
    )
    for number, (legend, expr) in enumerate(panel.queries.items()):
        query = (
            prometheus.Dataquery().expr(expr).legend_format(legend).ref_id(chr(ord("A") + number)).datasource(SOURCE)
        )
        drawn = drawn.with_target(query.instant() if panel.kind == "bars" else query.range())
    return drawn


def _lines(*, stacked: bool) -> timeseries.Panel:
    legend = (
        common.VizLegendOptions()
        .display_mode(LegendDisplayMode.LIST)
        .placement(LegendPlacement.BOTTOM)
        .show_legend(show_legend=True)
    )
    drawn = (
        timeseries.Panel()
        .legend(legend)
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
        .line_width(1)
    )
    if stacked:
        drawn = drawn.fill_opacity(40).stacking(common.StackingConfig().mode(StackingMode.NORMAL).group("A"))
    return drawn


def _limits(panel: Panel) -> dashboard.ThresholdsConfig:
    steps = [Threshold(color="green" if panel.red_below is None else "red")]
    if panel.red_below is not None:
        steps.append(Threshold(value=panel.red_below, color="green"))
    if panel.red_from is not None:
        steps.append(Threshold(value=panel.red_from, color="red"))
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)
