"""`alignfed replay`: is a version what its merge record says it is?"""

from __future__ import annotations

import asyncio

import click

from coordinator.cli.options import FindStore, federation_argument, needs_extra, store_options


@click.command("replay", short_help="Derive a version again from its merge record.")
@federation_argument
@click.argument("number", type=click.IntRange(min=1))
@store_options
def replay_command(federation: str, number: int, find_store: FindStore) -> None:
    """Derive version NUMBER of FEDERATION again from its parent, its deltas and its merge record, for an audit.

    Fails when that gives another adapter than the one published. Reads the store, as a worker does, and changes
    nothing. Possible while the parent and the deltas are retained (`retention` in the plan) and the record holds all
    that made the version: alignment maps, server steps, product space and mixed ranks are not recorded.
    """
    place = find_store()
    with needs_extra("worker"):
        from coordinator.backends.opening import opened_store
        from coordinator.worker.replay import replay_version  # torch takes seconds to load

    async def go() -> str:
        async with opened_store(place.url, blob_url=place.blob_url) as store:
            version = await replay_version(store, federation, number)
        deltas = len(version.merge.deltas) if version.merge else 0
        return (
            f"version {number} is, bit for bit, what its record makes of version {version.parent} and {deltas} deltas"
        )

    click.echo(asyncio.run(go()))
