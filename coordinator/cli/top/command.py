"""The command `alignfed top`."""

from __future__ import annotations

import shutil
import sys
import time

import click

from coordinator.cli.options import Connect, needs_extra, operator_options

PLAIN_WIDTH = 110
"""Width of a frame that goes into a file or pipe."""


@click.command("top", short_help="Watch federations live in the terminal.")
@click.argument("federations", nargs=-1, metavar="[FEDERATION]...")
@click.option(
    "--interval",
    type=click.FloatRange(0.2, 3600),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="Time between two looks at the coordinator.",
)
@click.option("--once", is_flag=True, help="Print one plain frame and end; so it is when the output is no terminal.")
@operator_options
def top_command(federations: tuple[str, ...], interval: float, once: bool, connect: Connect) -> None:
    """Watch FEDERATIONs (all, unless named): version, queue, fairness, staleness, fleet, newest versions.

    Keys: q ends, s changes what the fleet is sorted by (weight share, last seen, rejected), n brings the next
    federation into view. While the coordinator is away, the last state stays and says since when.
    """
    if once or not sys.stdout.isatty():
        _print_once(federations, connect)
        return
    with needs_extra("local"):
        from coordinator.cli.top.screen import show  # rich is part of the `local` extra
    from coordinator.cli.top.feed import Feed

    with Feed(connect, federations, interval) as feed:
        show(feed)


def _print_once(federations: tuple[str, ...], connect: Connect) -> None:
    from coordinator.cli.top.frame import Screen, frame
    from coordinator.cli.top.snapshot import MERGES_READ, Reader

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else PLAIN_WIDTH
    with connect() as client:
        reader = Reader(federations, merges_per_refresh=MERGES_READ)
        snapshot = reader.read(client, "")
        address = client.address
    for line in frame(snapshot, Screen(address=address, width=width, now=time.time())):
        click.echo(line.text.rstrip())
