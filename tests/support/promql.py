"""What a PromQL expression asks for, read by a real parser; and the rules and dashboards of deploy/."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser as parser
import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
PROMETHEUS = DEPLOY / "prometheus"
DASHBOARDS = DEPLOY / "grafana" / "dashboards"

STAND_INS = {"$__rate_interval": "1m", "$__range": "1h", "$federation": "demo"}
"""Grafana replaces these before Prometheus sees a query."""


@dataclasses.dataclass(frozen=True, slots=True)
class Selector:
    """One metric that an expression reads, and the labels it is selected by."""

    metric: str
    labels: frozenset[str]


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """One query of one panel."""

    board: str
    panel: str
    legend: str
    expr: str

    def filled(self, **stand_ins: str) -> str:
        """Return the expression with Grafana's variables replaced."""
        return fill(self.expr, **stand_ins)


def fill(expr: str, **stand_ins: str) -> str:
    """Return an expression with Grafana's variables replaced; names are given without the leading `$`."""
    for name, value in {**STAND_INS, **{f"${name}": value for name, value in stand_ins.items()}}.items():
        expr = expr.replace(name, value)
    return expr


def selectors(expr: str) -> list[Selector]:
    """Return what an expression reads."""
    return [
        Selector(node.name, frozenset(matcher.name for matcher in node.matchers.matchers))
        for node in _nodes(parser.parse(expr))
        if isinstance(node, parser.VectorSelector) and node.name
    ]


def groupings(expr: str) -> list[tuple[frozenset[str], list[Selector]]]:
    """Return the labels of every `by (...)`, with what is read below it."""
    return [
        (frozenset(node.modifier.labels), selectors(str(node.expr)))
        for node in _nodes(parser.parse(expr))
        if isinstance(node, parser.AggregateExpr) and node.modifier is not None
    ]


def rules() -> list[dict[str, Any]]:
    """Return every rule of every file, in order, with its `group`."""
    found = []
    for file in sorted((PROMETHEUS / "rules").glob("*.yml")):
        for group in yaml.safe_load(file.read_text("utf-8"))["groups"]:
            found += [{**rule, "group": group["name"]} for rule in group["rules"]]
    return found


def alerts() -> list[dict[str, Any]]:
    """Return every alert rule."""
    return [rule for rule in rules() if "alert" in rule]


def recorded() -> dict[str, frozenset[str]]:
    """Return the labels of every series that a rule records, by its name: a level names its labels."""
    return {rule["record"]: level_labels(rule["record"]) for rule in rules() if "record" in rule}


def level_labels(record: str) -> frozenset[str]:
    """Return the labels that the level of a recording rule's name promises; `store` stands for all stores, no label."""
    return frozenset(record.partition(":")[0].split("_")) - {"store"}


def dashboards() -> dict[str, dict[str, Any]]:
    """Return the committed dashboards by name."""
    return {file.stem: json.loads(file.read_text("utf-8")) for file in sorted(DASHBOARDS.glob("*.json"))}


def targets() -> list[Target]:
    """Return every query of every panel."""
    return [
        Target(name, panel["title"], target.get("legendFormat", ""), target["expr"])
        for name, board in dashboards().items()
        for panel in board["panels"]
        for target in panel.get("targets", [])
    ]


def _nodes(node: Any) -> Iterator[Any]:
    yield node
    for part in ("lhs", "rhs", "expr", "param", "vector_selector"):
        child = getattr(node, part, None)
        if child is not None:
            yield from _nodes(child)
    for child in getattr(node, "args", []):
        yield from _nodes(child)
