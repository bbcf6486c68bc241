"""`alignfed up`: a whole federation on this machine, from set-up to report."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

from alignfed.errors import RequestInvalid
from coordinator.cli.operator_client import OperatorClient
from coordinator.local.cluster import COORDINATOR, Cluster, store_of
from coordinator.local.memory import MemoryMeter
from coordinator.local.processes import Supervisor
from coordinator.local.report import Cost
from coordinator.local.results import (
    Published,
    evaluate_published,
    fetch_published,
    make_report,
    write_adapter,
    write_merge_records,
    write_report,
)
from coordinator.local.run_record import RunFolder, RunRecord, read_record
from coordinator.local.session import Say, Session
from coordinator.local.setup import RunOptions, set_up


class Stopwatch:
    """Seconds per phase of this command."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the time that the body takes to a phase."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - began


def up(options: RunOptions, folder: RunFolder, *, resumed: bool, say: Say) -> None:
    """Run a federation until it has its versions, report, and stop everything.

    Must run in the main thread. Whatever ends it, no process stays behind.

    Args:
        options: What the user asked for.
        folder: The run's folder; holds a record exactly when `resumed`.
        resumed: Go on with the run in the folder.
        say: Told what happens, one line at a time.

    Raises:
        KeyboardInterrupt: SIGINT or SIGTERM; the run can be resumed.
        LocalProcessFailed: A process ended by itself.
        Rejected: Data, model, plan or options cannot be used.
    """
    watch = Stopwatch()
    with _interrupted_by_signals(), contextlib.ExitStack() as stack:
        with watch.phase("set-up"):
            record = read_record(folder) if resumed else set_up(options, folder, say=say)
            _check_store_choice(options, record)
            store_url, store_pids = stack.enter_context(store_of(folder, options.store_url))
            supervisor = stack.enter_context(Supervisor())
            meter = stack.enter_context(MemoryMeter(lambda: [*store_pids, *supervisor.pids().values()]))
            cluster = Cluster(supervisor, folder, store_url)
            client = stack.enter_context(OperatorClient(cluster.operator_address))
            session = Session(
                folder=folder, record=record, supervisor=supervisor, cluster=cluster, client=client, say=say
            )
            target = session.start(versions=options.versions, resumed=resumed)
        with watch.phase("training"):
            session.train(target)
        with watch.phase("evaluation"):
            published = _wind_down(session, target, keep_running=options.keep_running)
            losses = evaluate_published(published, record, say=say)
        cost = Cost(seconds=watch.seconds, peak_memory_bytes=meter.peak_bytes)
        say("\n" + write_report(make_report(published, record, losses, cost), folder.results))
        if options.keep_running:
            with contextlib.suppress(KeyboardInterrupt):  # the run has reached its target: this is its regular end
                session.keep_running()


def _wind_down(session: Session, target: int, *, keep_running: bool) -> Published:
    """Fetch what was published and stop the processes, and write what needs no evaluation: it survives an interrupt."""
    if not keep_running:
        session.stop_training()
    published = fetch_published(session.client, session.record.federation, last=target)
    if not keep_running:
        session.supervisor.stop([COORDINATOR])
    results = session.folder.results
    results.mkdir(parents=True, exist_ok=True)
    write_merge_records(published.versions, results)
    write_adapter(published, results)
    return published


def _check_store_choice(options: RunOptions, record: RunRecord) -> None:
    if record.external_store and not options.store_url:
        raise RequestInvalid("this run keeps its federation in another store: give the same --store-url again")
    if options.store_url and not record.external_store:
        raise RequestInvalid("this run keeps its federation in its own store: leave --store-url out")


@contextlib.contextmanager
def _interrupted_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGINT raise KeyboardInterrupt, whatever this process inherited."""

    def interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
