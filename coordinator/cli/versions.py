"""`alignfed versions`: what was published, and how each version came about."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from coordinator.cli.operator_views import VersionView
from coordinator.cli.options import Connect, federation_argument, json_option, operator_options
from coordinator.cli.tables import ago, aligned, as_json, facts
from coordinator.cli.version_tree import glyphs_for, tree_lines

if TYPE_CHECKING:
    from coordinator.cli.operator_client import OperatorClient

DEFAULT_LIMIT = 50
PAGE = 200
"""Versions per call: a fraction of a second of a coordinator's time."""


@click.command("versions", short_help="List versions, show a merge record.")
@federation_argument
@click.argument("number", type=click.IntRange(min=0), required=False)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    help=f"At most this many versions; {DEFAULT_LIMIT} unless it is a tree, which has all.",
)
@click.option("--tree", is_flag=True, help="Draw rollbacks and the branches that they abandoned.")
@click.option("--all", "whole", is_flag=True, help="Draw every version, also of long runs without a branch.")
@operator_options
@json_option
def versions_command(federation: str, number: int | None, connect: Connect, json_wanted: bool, **shown: Any) -> None:
    """List the versions of FEDERATION, newest first; with NUMBER, show that version's merge record.

    With --tree, branches are drawn as text; --json then has every version with its parent.

    The merge record names every delta in the version with its agent, staleness, weight and the coefficient that it was
    multiplied by, the version groups with their alignment, and the loss on the calibration set before and after.
    """
    with connect() as client:
        if number is not None:
            version = client.version(federation, number)
            click.echo(as_json(version) if json_wanted else describe_version(version))
            return
        drawn = shown["tree"] or shown["whole"]
        limit = shown["limit"] or (None if drawn else DEFAULT_LIMIT)
        versions = newest_versions(client, federation, limit=limit)
        if drawn and not json_wanted:
            _draw(versions, whole=shown["whole"])
        else:
            click.echo(as_json(list(versions)) if json_wanted else _table(list(versions)))


def newest_versions(client: OperatorClient, federation: str, *, limit: int | None) -> Iterator[VersionView]:
    """Yield up to `limit` versions, or all, newest first, reading them page by page as they are wanted."""
    before: int | None = None
    left = limit
    while left is None or left > 0:
        page = client.versions(federation, before=before, limit=PAGE if left is None else min(left, PAGE))
        yield from page
        if not page or page[-1].id.number == 0:
            return
        before = page[-1].id.number
        left = None if left is None else left - len(page)


def _draw(versions: Iterator[VersionView], *, whole: bool) -> None:
    glyphs = glyphs_for(sys.stdout.encoding)
    for line in tree_lines(versions, glyphs, whole=whole):
        click.echo(line)
    click.echo(f"\n{glyphs.current} on the way to the head   {glyphs.abandoned} abandoned by a rollback")


def _table(versions: list[VersionView]) -> str:
    header = ["version", "epoch", "kind", "deltas", "calibration loss", "serves", "published", "digest"]
    return aligned(header, [[*_row(version), version.id.digest[:12]] for version in versions])


def _row(version: VersionView) -> list[object]:
    kind = f"{version.kind} (abandoned)" if version.abandoned else str(version.kind)
    serves = "average" if version.serves_average else "raw"
    return [
        version.id.number,
        version.id.epoch,
        kind,
        version.deltas,
        version.calibration_loss,
        serves,
        ago(version.created_at),
    ]


def describe_version(version: VersionView) -> str:
    """Return one version with its merge record as text."""
    names = ["version", "epoch", "kind", "deltas", "calibration loss", "serves", "published"]
    lines = [*zip(names, _row(version), strict=True), ("parent", version.parent), ("digest", version.id.digest)]
    lines.append(("signed by", version.signed.key_fingerprint if version.signed else "nobody"))
    merge = version.merge
    if merge is None:
        return facts(lines)
    lines += [
        ("recipe", merge.recipe),
        ("server lr", merge.server_learning_rate),
        ("loss before", merge.calibration_loss_before),
        ("loss after", merge.calibration_loss_after),
        ("loss served", merge.calibration_loss_served),
        ("robust mean", merge.robust or None),
        ("also made by", ", ".join(merge.unrecorded) or None),
    ]
    deltas = aligned(
        ["delta", "agent", "base", "staleness", "examples", "weight", "coefficient", "cosine", "norm"],
        [
            [d.delta_id, d.agent_id, d.base.number, d.staleness_versions, d.examples, d.weight, d.coefficient, d.cosine,
             d.norm]
            for d in merge.deltas
        ],
    )  # fmt: skip
    groups = aligned(
        ["base", "deltas", "alignment", "cosine", "objective before", "after"],
        [[g.base.number, g.deltas, g.method, g.cosine, g.objective_before, g.objective_after] for g in merge.groups],
    )
    return f"{facts(lines)}\n\n{deltas}\n\n{groups}"
