"""What all dashboards have in common: variables, links between them, the grid, numbers of panels."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard as models

from deploy.grafana.panels import DATASOURCE

TAG = "alignfed"
RUNBOOKS = "docs/operators.md"


@dataclasses.dataclass(frozen=True, slots=True)
class Section:
    """A titled row of panels. Spans of the panels in a line add up to 24."""

    title: str
    panels: Sequence[Builder[models.Panel]]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """One dashboard; `name` is its file and the end of its uid."""

    name: str
    title: str
    text: str
    sections: Sequence[Section]

    def build(self) -> models.Dashboard:
        """Return it as Grafana reads it."""
        board = builders.Dashboard(f"AlignFed / {self.title}").uid(f"alignfed-{self.name}").description(self.text)
        board = board.tags([TAG]).time("now-6h", "now").refresh("30s").timezone("browser").readonly()
        board = board.tooltip(models.DashboardCursorSync.CROSSHAIR).link(_other_boards())
        for variable in _variables():
            board = board.with_variable(variable)
        for section in self.sections:
            board = board.with_row(builders.Row(section.title))
            for each in section.panels:
                board = board.with_panel(each)
        built = board.build()
        for number, panel in enumerate(built.panels or [], start=1):
            panel.id_val = number
        return built


def _other_boards() -> builders.DashboardLink:
    link = builders.DashboardLink("AlignFed").type(models.DashboardLinkType.DASHBOARDS).tags([TAG])
    return link.include_vars(True).keep_time(True)


def _variables() -> list[Builder[models.VariableModel]]:
    return [
        builders.DatasourceVariable("datasource").label("Prometheus").type("prometheus"),
        builders.QueryVariable("federation")
        .label("Federation")
        .datasource(DATASOURCE)
        .query("label_values(alignfed_global_version, federation)")
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC),
        builders.TextBoxVariable("runbooks")
        .label("Runbooks")
        .description("Address of docs/operators.md as your people reach it; panels link to its headings")
        .default_value(RUNBOOKS),
    ]
