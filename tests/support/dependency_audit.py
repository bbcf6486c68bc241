"""Does any pinned dependency have a known vulnerability? What licences do the installed ones have? (`make audit`)

    python -m tests.support.dependency_audit PIP_AUDIT    audit constraints.txt with that program, then list licences

An audit that could not ask proves nothing, and fails: `pip-audit` itself ends with success when its database knows none
of the packages, as behind a mirror that serves packages without advisories.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).parents[2]
CONSTRAINTS = ROOT / "constraints.txt"
SERVICES = ("pypi", "osv")
"""Advisory databases, asked in turn until one answers for every package."""

ACCEPTED: Mapping[str, str] = {}
"""Advisories that do not concern us, by id, each with its reason."""

_PINNED = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;#]+)", re.MULTILINE)
_ASK_SECONDS = 300


def pinned(constraints: str) -> dict[str, str]:
    """Return version by normalised name."""
    return {_normal(found["name"]): found["version"] for found in _PINNED.finditer(constraints)}


def problems(report: Mapping[str, Any], accepted: Mapping[str, str]) -> list[str]:
    """Return the vulnerabilities in a report, and an advisory that is accepted without need."""
    found = [
        (item["name"], item["version"], advisory)
        for item in report["dependencies"]
        for advisory in item.get("vulns", ())
    ]
    used = {advisory["id"] for _, _, advisory in found}
    return [
        *(
            f"{name} {version}: {advisory['id']}, fixed in {', '.join(advisory['fix_versions']) or 'no version yet'}"
            for name, version, advisory in found
            if advisory["id"] not in accepted
        ),
        *(f"{advisory} is accepted and not found any more: take it off the list" for advisory in set(accepted) - used),
    ]


def unasked(report: Mapping[str, Any], wanted: Mapping[str, str]) -> list[str]:
    """Return the pinned packages that the database said nothing about."""
    known = {_normal(item["name"]) for item in report["dependencies"] if "skip_reason" not in item}
    return sorted(set(wanted) - known)


def audit(program: Path) -> int:
    """Audit the constraints, print what was found, and return the exit code."""
    wanted = pinned(CONSTRAINTS.read_text("utf-8"))
    reasons = []
    for service in SERVICES:
        report, error = _ask(program, service)
        if report is None:
            reasons.append(f"{service} does not answer: {error}")
        elif missing := unasked(report, wanted):
            reasons.append(f"{service} says nothing of {len(missing)} of {len(wanted)} packages, such as {missing[0]}")
        else:
            found = problems(report, ACCEPTED)
            click.echo("\n".join(found or [f"no known vulnerability in {len(wanted)} packages, says {service}"]))
            return 1 if found else 0
    click.echo(
        "NOT AUDITED: no advisory database could be asked, so nothing is known about the dependencies. "
        f"Run this where pypi.org or api.osv.dev can be reached. {'; '.join(reasons)}",
        err=True,
    )
    return 2


def _ask(program: Path, service: str) -> tuple[Mapping[str, Any] | None, str]:
    command = [program, "-r", CONSTRAINTS, "-s", service, "--no-deps", "--disable-pip", "-f", "json"]
    command += ["--progress-spinner", "off", "--timeout", "10"]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=_ASK_SECONDS, check=False)
        report: Mapping[str, Any] = json.loads(ended.stdout)
    except (OSError, subprocess.TimeoutExpired, ValueError) as error:
        last = ended.stderr.strip().splitlines()[-1:] if isinstance(error, ValueError) else []
        return None, (last or [str(error)])[0][:200]
    return report, ""


def licences() -> dict[str, list[str]]:
    """Return the installed distributions by what they say their licence is."""
    found: dict[str, set[str]] = defaultdict(set)
    for distribution in metadata.distributions():
        found[_licence(distribution.metadata)].add(distribution.metadata["Name"])
    return {licence: sorted(names, key=str.lower) for licence, names in sorted(found.items())}


def _licence(told: metadata.PackageMetadata) -> str:
    classifiers = [it.rpartition(" :: ")[2] for it in told.get_all("Classifier", []) if it.startswith("License ::")]
    text = str(told.get("License") or "").strip()
    short = text if "\n" not in text and len(text) < 60 else ""
    return str(told.get("License-Expression") or "") or ", ".join(sorted(classifiers)) or short or "not told"


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def main() -> int:
    """List licences, then audit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", type=Path, help="where pip-audit is")
    program = parser.parse_args().program
    click.echo("licences of what is installed, as the packages tell them:")
    for licence, names in licences().items():
        click.echo(f"  {licence}: {', '.join(names)}")
    click.echo()
    return audit(program)


if __name__ == "__main__":
    sys.exit(main())
