"""What a check ends with: an outcome, what was found, and what to do next."""

from __future__ import annotations

import dataclasses
import enum
import textwrap
from collections.abc import Sequence

import click

_WIDTH = 110
_NAME_WIDTH = 26
_INDENT = " " * (13 + _NAME_WIDTH)


class Outcome(enum.StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"
    NOT_CHECKED = "not checked"


_COLOURS = {Outcome.OK: "green", Outcome.WARNING: "yellow", Outcome.PROBLEM: "red", Outcome.NOT_CHECKED: None}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One check's result. `check` is a stable name; `advice` is empty only when all is well.

    Of a check that was not made, `found` says why and `advice` how it can be.
    """

    check: str
    outcome: Outcome
    found: str
    advice: str = ""


def ok(check: str, found: str) -> Finding:
    """Return a finding that needs nothing."""
    return Finding(check=check, outcome=Outcome.OK, found=found)


def warning(check: str, found: str, advice: str) -> Finding:
    """Return a finding that will hurt sooner or later."""
    return Finding(check=check, outcome=Outcome.WARNING, found=found, advice=advice)


def problem(check: str, found: str, advice: str) -> Finding:
    """Return a finding that stops something, or loses data, now."""
    return Finding(check=check, outcome=Outcome.PROBLEM, found=found, advice=advice)


def not_checked(check: str, found: str, advice: str) -> Finding:
    """Return a finding about a check that could not be made."""
    return Finding(check=check, outcome=Outcome.NOT_CHECKED, found=found, advice=advice)


def as_text(findings: Sequence[Finding]) -> str:
    """Return findings for people, one paragraph each, and their count."""
    paragraphs = [_paragraph(finding) for finding in findings]
    return "\n".join([*paragraphs, "", summary(findings)])


def summary(findings: Sequence[Finding]) -> str:
    """Return how many checks ended how."""
    counts = {outcome: sum(finding.outcome is outcome for finding in findings) for outcome in Outcome}
    parts = [
        _counted(counts[Outcome.PROBLEM], "problem"),
        _counted(counts[Outcome.WARNING], "warning"),
        f"{counts[Outcome.OK]} ok",
        f"{counts[Outcome.NOT_CHECKED]} not checked",
    ]
    return ", ".join(parts)


def _counted(count: int, name: str) -> str:
    return f"{count} {name}{'' if count == 1 else 's'}"


def _paragraph(finding: Finding) -> str:
    label = finding.outcome.value.upper() if finding.outcome is Outcome.PROBLEM else finding.outcome.value
    head = f"{label.ljust(13)}{finding.check.ljust(_NAME_WIDTH - 1)} "  # a name that is too long keeps its space
    lines = textwrap.wrap(finding.found, _WIDTH - len(_INDENT), break_long_words=False, break_on_hyphens=False)
    advice = textwrap.wrap(finding.advice, _WIDTH - len(_INDENT) - 3, break_long_words=False, break_on_hyphens=False)
    coloured = click.style(head[:13], fg=_COLOURS[finding.outcome]) + head[13:]
    text = [f"{coloured}{lines[0] if lines else ''}", *(_INDENT + line for line in lines[1:])]
    text += [f"{_INDENT}{'-> ' if index == 0 else '   '}{line}" for index, line in enumerate(advice)]
    return "\n".join(text)
