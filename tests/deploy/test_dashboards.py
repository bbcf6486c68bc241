"""Dashboards are what their code says, fit Grafana's schema, and lie on the grid without overlaps."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.grafana.build import BOARDS, FOLDER, path_of, text_of
from tests.support.promql import DEPLOY, dashboards

PROVISIONING = DEPLOY / "grafana" / "provisioning"
COLUMNS = 24
UNITS = {value for name, value in vars(units).items() if isinstance(value, str) and not name.startswith("_")}
BOARD_NAMES = sorted(dashboards())


def panels(name: str) -> list[dict[str, Any]]:
    return list(dashboards()[name]["panels"])


def test_the_committed_files_are_what_the_code_makes() -> None:
    assert {path_of(board) for board in BOARDS} == set(FOLDER.glob("*.json"))
    for board in BOARDS:
        assert path_of(board).read_text("utf-8") == text_of(board), "run `make dashboards`"


def lost(content: Any, read: Any, where: str = "") -> list[str]:
    """Return the places where `content` says something that `read` does not; defaults may have been added."""
    if isinstance(content, dict) and isinstance(read, dict):
        return [place for key in content for place in lost(content[key], read.get(key), f"{where}/{key}")]
    if isinstance(content, list) and isinstance(read, list) and len(content) == len(read):
        return [place for i, (one, other) in enumerate(zip(content, read, strict=True))
                for place in lost(one, other, f"{where}[{i}]")]  # fmt: skip
    return [] if content == read else [where]


def read_by_grafanas_models(content: dict[str, Any]) -> Any:
    """Return what is left of a dashboard read by the models that are generated from Grafana's schema."""
    register_default_plugins()
    return json.loads(json.dumps(Dashboard.from_json(content), cls=JSONEncoder))


@pytest.mark.parametrize("name", BOARD_NAMES)
def test_a_dashboard_fits_the_schema(name: str) -> None:
    assert not lost(dashboards()[name], read_by_grafanas_models(dashboards()[name]))


def test_the_schema_check_notices_what_the_schema_does_not_have() -> None:
    content = dashboards()["fleet"]
    content["panels"][1]["fieldConfig"]["defaults"]["unti"] = "s"
    content["panels"][2]["targets"][0]["expression"] = "up"
    assert lost(content, read_by_grafanas_models(content)) == [
        "/panels[1]/fieldConfig/defaults/unti",
        "/panels[2]/targets[0]/expression",
    ]


def test_uids_and_titles_are_unique() -> None:
    found = dashboards().values()
    assert len({board["uid"] for board in found}) == len({board["title"] for board in found}) == len(found) == 5


@pytest.mark.parametrize("name", BOARD_NAMES)
def test_panels_have_numbers_of_their_own_and_do_not_overlap(name: str) -> None:
    found = panels(name)
    assert len({panel["id"] for panel in found}) == len(found)
    taken: set[tuple[int, int]] = set()
    for panel in found:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= COLUMNS, panel["title"]
        columns = range(place["x"], place["x"] + place["w"])
        cells = set(itertools.product(columns, range(place["y"], place["y"] + place["h"])))
        assert not cells & taken, panel["title"]
        taken |= cells


@pytest.mark.parametrize("name", BOARD_NAMES)
def test_lines_of_panels_fill_the_width(name: str) -> None:
    widths: dict[int, int] = {}
    for panel in panels(name):
        widths[panel["gridPos"]["y"]] = widths.get(panel["gridPos"]["y"], 0) + panel["gridPos"]["w"]
    assert set(widths.values()) == {COLUMNS}


@pytest.mark.parametrize("name", BOARD_NAMES)
def test_every_panel_has_a_unit_and_says_what_good_looks_like(name: str) -> None:
    for panel in panels(name):
        if panel["type"] == "row":
            continue
        defaults = panel["fieldConfig"]["defaults"]
        assert defaults["unit"] in UNITS, panel["title"]
        assert len(panel["description"]) > 40, panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}"
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])
        steps = [step["value"] for step in defaults["thresholds"]["steps"]]
        assert steps[0] is None
        assert steps[1:] == sorted(steps[1:]), panel["title"]


@pytest.mark.parametrize("name", BOARD_NAMES)
def test_every_dashboard_leads_to_the_others_with_the_same_variables(name: str) -> None:
    board = dashboards()[name]
    assert [variable["name"] for variable in board["templating"]["list"]] == ["datasource", "federation", "runbooks"]
    [link] = board["links"]
    assert link["type"] == "dashboards"
    assert set(link["tags"]) <= set(board["tags"])
    assert link["includeVars"]
    assert link["keepTime"]


def test_provisioning_finds_the_dashboards_where_they_are_mounted() -> None:
    [provider] = yaml.safe_load((PROVISIONING / "dashboards" / "alignfed.yml").read_text("utf-8"))["providers"]
    assert provider["options"]["path"] == "/var/lib/grafana/dashboards"
    [source] = yaml.safe_load((PROVISIONING / "datasources" / "prometheus.yml").read_text("utf-8"))["datasources"]
    assert source["type"] == "prometheus"
    assert source["isDefault"]
