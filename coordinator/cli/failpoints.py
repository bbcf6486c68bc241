"""`alignfed failpoints`: where a process can be told to fail on purpose, and arming those of this process."""

from __future__ import annotations

import os

import click

from alignfed.errors import RequestInvalid
from alignfed.failpoints import VARIABLE, arm_from
from coordinator.cli.options import json_option
from coordinator.cli.tables import aligned, as_json


@click.command("failpoints", short_help="List the places where a process can be told to fail.")
@json_option
def failpoints_command(json_wanted: bool) -> None:
    """List every place where a process can be told to fail, and which processes pass it. For tests only.

    Nothing fails unless the variable ALIGNFED_FAILPOINTS says so when a coordinator, worker, agent or command starts:
    PLACE=ACTION[@HITS], separated by semicolons.

    \b
      crash               kill the process with SIGKILL
      delay(SECONDS)      wait
      error               raise what a broken store, network or full disk raises
      error(REASON)       raise a temporary error of that reason, such as error(STORE_FULL)
      @3  @2-5  @3+       only the third time, the second to fifth, from the third on
    """  # noqa: D301 - click needs the backspace character itself
    from coordinator.cli.failpoint_places import places  # reads the installed source

    found = places()
    if json_wanted:
        click.echo(as_json(found))
    else:
        rows = [[place.place, ", ".join(place.processes) or "none"] for place in found]
        click.echo(aligned(["place", "processes"], rows))


def arm_failpoints() -> None:
    """Arm what `ALIGNFED_FAILPOINTS` names, if it is set.

    Raises:
        RequestInvalid: It is malformed, or names a place that does not exist.
    """
    rules = arm_from(os.environ)
    if not rules:
        return
    from coordinator.cli.failpoint_places import places

    unknown = sorted({rule.place for rule in rules} - {place.place for place in places()})
    if unknown:
        raise RequestInvalid(
            f"{VARIABLE} names {', '.join(unknown)}, and there is no such place: `alignfed failpoints` lists them"
        )
