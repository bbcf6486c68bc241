"""Panels in this project's manner: every one has a unit, and a text that tells what good and bad look like."""

from __future__ import annotations

import dataclasses
from typing import TypeVar

from grafana_foundation_sdk.builders import bargauge, common, heatmap, stat, table, timeseries, trend
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.common import (
    BarGaugeDisplayMode,
    BigValueColorMode,
    BigValueGraphMode,
    LegendDisplayMode,
    LegendPlacement,
    ScaleDistribution,
    SortOrder,
    TooltipDisplayMode,
    VizOrientation,
)
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

DATASOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
GREEN, YELLOW, RED = "green", "yellow", "red"


@dataclasses.dataclass(frozen=True, slots=True)
class Query:
    """One PromQL expression and how its series are called."""

    expr: str
    legend: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How a panel looks. `unit` is Grafana's name of it; `span` is of 24 columns.

    `warn` and `bad` colour values from there on; with `falling` they colour values below them. `alert` names the alert
    whose runbook the panel links to; `absent` is shown instead of "No data".
    """

    unit: str
    span: int = 12
    height: int = 8
    warn: float | None = None
    bad: float | None = None
    falling: bool = False
    alert: str = ""
    absent: str = ""
    words: tuple[tuple[float, str], ...] = ()
    log: bool = False


P = TypeVar("P", stat.Panel, timeseries.Panel, bargauge.Panel, heatmap.Panel, table.Panel, trend.Panel)


def number(title: str, text: str, look: Look, *queries: Query) -> stat.Panel:
    """Return a panel that shows the newest value, large, over a small curve."""
    panel = stat.Panel().graph_mode(BigValueGraphMode.AREA).color_mode(BigValueColorMode.VALUE)
    return _filled(panel, title, text, look, queries)


def lines(title: str, text: str, look: Look, *queries: Query) -> timeseries.Panel:
    """Return a panel of curves over time."""
    tooltip = common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING)
    panel = timeseries.Panel().fill_opacity(8).legend(_legend()).tooltip(tooltip)
    if look.log:
        scale = common.ScaleDistributionConfig().type(ScaleDistribution.LOG).log(10)
        panel = panel.scale_distribution(scale)
    return _filled(panel, title, text, look, queries)


def bars(title: str, text: str, look: Look, *queries: Query) -> bargauge.Panel:
    """Return a panel of horizontal bars, one per series, newest values only."""
    panel = bargauge.Panel().orientation(VizOrientation.HORIZONTAL).display_mode(BarGaugeDisplayMode.BASIC)
    return _filled(panel, title, text, look, queries, instant=True)


def heat(title: str, text: str, look: Look, query: Query) -> heatmap.Panel:
    """Return a heat map over time of a Prometheus histogram: `query` must return `le` series."""
    colours = heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Oranges").steps(64)
    panel = heatmap.Panel().calculate(False).color(colours).y_axis(heatmap.YAxisConfig().unit(look.unit))
    return _filled(panel, title, text, look, (query,), format_val=PromQueryFormat.HEATMAP)


def rows(title: str, text: str, look: Look, query: Query) -> table.Panel:
    """Return a table of the newest values, one row per series, one column per label."""
    panel = table.Panel().with_transformation(
        models.DataTransformerConfig(id_val="organize", options={"excludeByName": {"Time": True}})
    )
    return _filled(panel, title, text, look, (query,), instant=True, format_val=PromQueryFormat.TABLE)


def curve(title: str, text: str, look: Look, label: str, *queries: Query) -> trend.Panel:
    """Return curves over a label whose values are numbers, newest values only; one name per query is its legend."""
    names = {f"Value #{_ref_id(index)}": query.legend for index, query in enumerate(queries)}
    steps: list[tuple[str, object]] = [
        ("merge", {}),
        ("convertFieldType", {"conversions": [{"targetField": label, "destinationType": "number"}], "fields": {}}),
        ("sortBy", {"fields": {}, "sort": [{"field": label}]}),
        ("filterFieldsByName", {"include": {"names": [label, *names]}}),
        ("organize", {"renameByName": names}),
    ]
    panel = trend.Panel().x_field(label).legend(_legend())
    for name, options in steps:
        panel = panel.with_transformation(models.DataTransformerConfig(id_val=name, options=options))
    return _filled(panel, title, text, look, queries, instant=True, format_val=PromQueryFormat.TABLE)


def curve_of_values(title: str, text: str, look: Look, x: Query, y: Query) -> trend.Panel:
    """Return one query over another, point by point in time; the values of `x` may not fall."""
    steps: list[tuple[str, object]] = [
        ("joinByField", {"byField": "Time", "mode": "inner"}),
        (
            "groupBy",
            {
                "fields": {
                    "Value #A": {"operation": "groupby"},
                    "Value #B": {"operation": "aggregate", "aggregations": ["last"]},
                }
            },
        ),
        ("organize", {"renameByName": {"Value #A": x.legend, "Value #B (last)": y.legend}}),
    ]
    panel = trend.Panel().x_field(x.legend).legend(_legend())
    for name, options in steps:
        panel = panel.with_transformation(models.DataTransformerConfig(id_val=name, options=options))
    return _filled(panel, title, text, look, (x, y), format_val=PromQueryFormat.TABLE)


def _filled(
    panel: P,
    title: str,
    text: str,
    look: Look,
    queries: tuple[Query, ...],
    *,
    instant: bool = False,
    format_val: PromQueryFormat = PromQueryFormat.TIME_SERIES,
) -> P:
    panel = panel.title(title).description(text).datasource(DATASOURCE).unit(look.unit)
    panel = panel.span(look.span).height(look.height).thresholds(_thresholds(look))
    if look.absent:
        panel = panel.no_value(look.absent)
    if look.words:
        panel = panel.mappings([_words(look)])
    if look.alert:
        link = builders.DashboardLink(f"What to do: {look.alert}").type(models.DashboardLinkType.LINK)
        panel = panel.links([link.url(f"${{runbooks}}#alert-{look.alert.lower()}").target_blank(True)])
    for index, query in enumerate(queries):
        target = Dataquery().expr(query.expr).ref_id(_ref_id(index)).datasource(DATASOURCE).format(format_val)
        target = target.legend_format(query.legend) if query.legend else target
        panel = panel.with_target(target.instant() if instant else target.range())
    return panel


def _legend() -> common.VizLegendOptions:
    legend = common.VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM)
    return legend.show_legend(True)


def _ref_id(index: int) -> str:
    return "ABCDEFGH"[index]


def _thresholds(look: Look) -> builders.ThresholdsConfig:
    """Return thresholds in rising order, which Grafana needs; the first step has no value."""
    named = [(look.warn, YELLOW), (look.bad, RED)]
    marks = [(value, colour) for value, colour in named if value is not None]
    if look.falling:
        marks.reverse()
        colours = [*(colour for _, colour in marks), GREEN]
    else:
        colours = [GREEN, *(colour for _, colour in marks)]
    values = [None, *(value for value, _ in marks)]
    steps = [models.Threshold(value=value, color=colour) for value, colour in zip(values, colours, strict=True)]
    return builders.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps)


def _words(look: Look) -> models.ValueMap:
    return models.ValueMap({f"{value:g}": models.ValueMappingResult(text=word) for value, word in look.words})
