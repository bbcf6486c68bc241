"""The guides to deployment name flags, variables, metrics and files that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from edge_agent.metrics import AgentMetrics
from tests.support.command_settings import PROGRAMS, command_of, variables_of

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "agents.md"
PAGES = [GUIDE, *(ROOT / "deploy" / name / "README.md" for name in ("kubernetes", "systemd"))]
PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@PAGE
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
        assert (page.parent / link).exists(), link


@PAGE
def test_files_that_are_named_exist(page: Path) -> None:
    for name in re.findall(r"\b(?:deploy|docs|tests)/[\w./@-]*[\w*]", page.read_text("utf-8")):
        assert list(ROOT.glob(name)), name


@PAGE
def test_variables_are_read_by_a_command(page: Path) -> None:
    known = set().union(
        *(variables_of(command) for group in PROGRAMS.values() for command in group.commands.values()),
        {"ALIGNFED_OPERATOR"},
    )
    assert set(re.findall(r"\bALIGNFED_[A-Z_]+[A-Z]", page.read_text("utf-8"))) <= known


def test_the_agents_guide_names_flags_of_the_agent() -> None:
    known = {flag for name in ("run", "join", "check-data", "init") for flag in _flags(name)}
    text = GUIDE.read_text("utf-8")
    lines = [line for line in text.splitlines() if re.search("alignfed-agent (run|join|check-data|init)", line)]
    told = {flag for line in lines for flag in re.findall(r"(?<!\S)--[a-z-]+", line)}
    told |= set(re.findall(r"(?m)^\| `(--[a-z-]+)", text)) | set(re.findall(r"`(--[a-z-]+)`", text))
    assert told <= known, told - known
    assert len(told) > 10


def test_the_agents_guide_names_every_metric_of_the_agent() -> None:
    registry = CollectorRegistry()
    AgentMetrics(registry, federation="f")
    metrics = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in registry.collect()
        if family.name.startswith("alignfed_agent_")
    }
    assert set(re.findall(r"`(alignfed_agent_[a-z_]+)", GUIDE.read_text("utf-8"))) == metrics


def _flags(name: str) -> set[str]:
    return {flag for option in command_of(["alignfed-agent", name]).params for flag in option.opts}
