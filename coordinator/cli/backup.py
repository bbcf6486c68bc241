"""`alignfed backup` and `alignfed restore`: federations to and from one file."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from alignfed.errors import RequestInvalid
from coordinator.backup.checking import BackupFile, opened_backup
from coordinator.backup.progress import Progress
from coordinator.backup.restoring import restore_backup
from coordinator.backup.writing import Written, write_backup
from coordinator.cli.options import FindStore, needs_extra, store_options
from coordinator.cli.store_place import StorePlace
from coordinator.clock import SystemClock
from coordinator.cuts import Restored
from coordinator.signing import Signer, signer_from


@click.command("backup", short_help="Write federations to one file, or check such a file.")
@click.argument("names", metavar="[FEDERATION]... FILE", nargs=-1, required=True)
@click.option("--all", "everything", is_flag=True, help="Back up every federation of the store.")
@click.option("--verify", is_flag=True, help="Back up nothing: check every digest and record of FILE, without a store.")
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@store_options
def backup_command(names: tuple[str, ...], everything: bool, verify: bool, force: bool, find_store: FindStore) -> None:
    """Write federations to FILE while they are live; `alignfed restore` brings them back.

    The backup holds each federation as it was at one moment: plan, calibration set, versions and their merge records,
    every payload that is retained, agents, receipts, the queue with its payloads, dead letters. It is read from the
    store, as a worker does, and changes nothing there. What is accepted later is not in it: agents keep a delta until
    it is merged, and send it again to a restored store. FILE gets its name when it is complete and on disk.

    It holds raw deltas and calibration rows in the clear, and is readable by its owner alone.
    """
    *federations, file = names
    path = Path(file)
    if verify:
        if federations or everything:
            raise RequestInvalid("--verify takes a FILE and nothing else")
        _verify(path)
        return
    if bool(federations) == everything:
        raise RequestInvalid("name the federations to back up and then FILE, or give --all and FILE")
    if path.exists() and not force:
        raise RequestInvalid(f"{path} exists: name another file, or replace it with --force")
    place = find_store()
    for item in asyncio.run(_backup(place, federations, path)):
        click.echo(_described(item))
    click.echo(f"wrote {path}, {path.stat().st_size / 1e6:,.1f} MB")


@click.command("restore", short_help="Bring federations back from a backup.")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--only", "names", multiple=True, metavar="FEDERATION", help="Only this one; may be given several times.")
@click.option(
    "--signing-key-file",
    type=click.Path(path_type=Path),
    help="Sign one version on top, a rollback to the head in FILE: agents that verify versions and have seen later "
    "ones follow it.",
)
@store_options
def restore_command(file: Path, names: tuple[str, ...], signing_key_file: Path | None, find_store: FindStore) -> None:
    """Bring every federation in FILE back, into a store that has none of them.

    FILE is checked as a whole before the first byte is sent, and nothing that exists is overwritten. Each federation
    appears in one step when all of it is in the store; after a failure it is not there at all, and the command can be
    run again. Its fencing tokens go on far above the old ones, so that a worker that was paused since before the backup
    can never commit into it.

    Stop coordinators and workers of the old store before, and start them afterwards: they remember what was.
    """
    signer = signer_from(signing_key_file)
    place = find_store()
    progress = _progress()
    with opened_backup(file, progress) as backup:
        for restored in asyncio.run(_restore(place, backup, names or tuple(backup.federations), progress, signer)):
            name = restored.record.plan.federation
            state = ", paused" if restored.record.paused else ""
            click.echo(f"restored {name} at version {restored.head_number}{state}; tokens go on from {restored.epoch}")


def _progress() -> Progress:
    return Progress(lambda line: click.echo(line, err=True), SystemClock())


async def _backup(place: StorePlace, federations: list[str], path: Path) -> list[Written]:
    with needs_extra("coordinator"):
        from coordinator.backends.opening import opened_store  # redis takes longer to load than --help may
    async with opened_store(place.url, blob_url=place.blob_url) as store:
        names = federations or await store.federations.names()
        return await write_backup(store, list(dict.fromkeys(names)), path, clock=SystemClock(), progress=_progress())


async def _restore(
    place: StorePlace, backup: BackupFile, names: tuple[str, ...], progress: Progress, signer: Signer
) -> list[Restored]:
    with needs_extra("coordinator"):
        from coordinator.backends.opening import opened_store  # redis takes longer to load than --help may
    async with opened_store(place.url, blob_url=place.blob_url) as store:
        return await restore_backup(
            store, backup, list(dict.fromkeys(names)), clock=SystemClock(), progress=progress, signer=signer
        )


def _verify(path: Path) -> None:
    with opened_backup(path, _progress()) as backup:
        for name, facts in backup.federations.items():
            click.echo(f"{name} at version {facts.head.number}: every record reads, every payload is whole")
        members = len(backup.members)
    click.echo(f"{path} is whole: {members} members, {path.stat().st_size / 1e6:,.1f} MB")


def _described(item: Written) -> str:
    return (
        f"{item.federation} at version {item.head}: {item.queued} queued deltas, {item.dead} dead letters, "
        f"{item.agents} agents, {item.receipts} receipts, {item.payloads} payloads"
    )
