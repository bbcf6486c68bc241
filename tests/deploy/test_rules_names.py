"""Rules and dashboards speak of metrics that exist, by labels they have; every alert has its runbook."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from coordinator.cli.main import alignfed
from tests.support.metric_names import exposed_names
from tests.support.promql import (
    alerts,
    dashboards,
    fill,
    groupings,
    recorded,
    rules,
    selectors,
    targets,
)

OPERATORS_GUIDE = Path(__file__).parents[2] / "docs" / "operators.md"
FROM_PROMETHEUS = {"up": frozenset(), "ALERTS": frozenset({"alertname", "alertstate", "severity", "federation"})}
OF_TARGETS = {"job", "instance"}
PROCESS_FIGURES = {
    "process_resident_memory_bytes",
    "process_cpu_seconds_total",
    "process_open_fds",
    "process_max_fds",
}
"""What prometheus_client's process collector shows on Linux."""

SEVERITIES = {"page", "ticket"}


def known() -> dict[str, frozenset[str]]:
    """Return the labels of every series there is, by name."""
    process = {name: frozenset[str]() for name in PROCESS_FIGURES}
    return {**exposed_names(), **recorded(), **FROM_PROMETHEUS, **process}


def expressions() -> dict[str, str]:
    """Return every expression of a rule or a panel, by what it belongs to."""
    named = {f"{rule.get('alert') or rule['record']} #{index}": rule["expr"] for index, rule in enumerate(rules())}
    for index, target in enumerate(targets()):
        named[f"{target.board}: {target.panel} #{index}"] = target.filled()
    for board, content in dashboards().items():
        for variable in content["templating"]["list"]:
            if asked := re.fullmatch(r"label_values\((\w+), (\w+)\)", str(variable["query"])):
                named[f"{board}: variable {variable['name']}"] = f"sum by ({asked[2]}) ({asked[1]})"
    return named


def test_every_metric_that_is_asked_for_exists_with_those_labels() -> None:
    names = known()
    asked = [(owner, each) for owner, expr in expressions().items() for each in selectors(expr)]
    assert len(asked) > 150
    missing = [f"{owner}: {each.metric}" for owner, each in asked if each.metric not in names]
    assert not missing
    wrong = [
        f"{owner}: {each.metric} has no label {label}"
        for owner, each in asked
        for label in each.labels - names[each.metric] - OF_TARGETS
    ]
    assert not wrong


def test_expressions_group_by_labels_that_their_metrics_have() -> None:
    names = known()
    wrong = [
        f"{owner}: nothing below has the label {label}"
        for owner, expr in expressions().items()
        for labels, below in groupings(expr)
        for label in labels - OF_TARGETS
        if not any(label in names[each.metric] for each in below)
    ]
    assert not wrong


def test_a_metric_that_is_made_up_would_be_found() -> None:
    [found] = selectors('sum by (federation) (rate(alignfed_made_up_total{shape="round"}[5m])) > 3')
    assert found.metric not in known()
    assert found.labels == {"shape"}


def test_panels_use_no_variable_that_nothing_defines() -> None:
    defined = {"federation", "datasource", "runbooks", "__rate_interval", "__range"}
    used = {name for target in targets() for name in re.findall(r"\$\{?(\w+)", target.expr)}
    assert used <= defined
    assert "$" not in fill("$federation $__range $__rate_interval")


def test_recording_rules_are_named_level_metric_operations() -> None:
    labels = frozenset().union(*exposed_names().values()) | {"slo", "store"}
    for name in recorded():
        level, metric, operations = name.split(":")
        assert set(level.split("_")) <= labels, name
        assert re.fullmatch(r"alignfed_[a-z_]+", metric), name
        assert re.fullmatch(r"(min|max|mean|sum|avg|rate|ratio|p\d+_)?[0-9a-z_]*", operations), name


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: str(alert["alert"]))
def test_an_alert_says_how_urgent_it_is_what_it_means_and_where_to_read_on(alert: dict[str, object]) -> None:
    labels, annotations = alert["labels"], alert["annotations"]
    assert isinstance(labels, dict)
    assert isinstance(annotations, dict)
    assert labels["severity"] in SEVERITIES
    assert {"summary", "description", "runbook_url"} <= annotations.keys()
    assert annotations["runbook_url"] == f"docs/operators.md#alert-{str(alert['alert']).lower()}"
    assert alert["for"]


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    text = OPERATORS_GUIDE.read_text("utf-8")
    sections = re.split(r"^### Alert ", text, flags=re.MULTILINE)[1:]
    written = {section.splitlines()[0].strip(): section for section in sections}
    assert written.keys() == {alert["alert"] for alert in alerts()}
    for name, section in written.items():
        for part in ("*Meaning.*", "*Look at.*", "*Do.*"):
            assert part in section, f"{name} lacks {part}"


def test_runbooks_name_commands_that_exist() -> None:
    text = OPERATORS_GUIDE.read_text("utf-8")
    named = set(re.findall(r"`alignfed ([a-z-]+)(?: (list|requeue|drop|revoke)\b)?", text))
    assert len(named) > 8
    for name, below in named:
        command = alignfed.get_command(click.Context(alignfed), name)
        assert command is not None, name
        if below:
            assert isinstance(command, click.Group)
            assert below in command.commands, f"{name} {below}"


def test_links_of_panels_lead_to_alerts() -> None:
    anchors = {f"${{runbooks}}#alert-{alert['alert'].lower()}" for alert in alerts()}
    links = {
        link["url"] for board in dashboards().values() for panel in board["panels"] for link in panel.get("links", [])
    }
    assert links
    assert links <= anchors
