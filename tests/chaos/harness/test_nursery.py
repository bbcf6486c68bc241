"""Children of the nursery are processes of their own: they die alone, or with it, and leave nobody behind."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.chaos.harness.nursery import Nursery
from tests.chaos.harness.store import KillableStore
from tests.e2e.processes import is_running
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]

SECONDS = 120.0


def test_children_are_killed_alone_and_all_end_with_the_nursery(tmp_path: Path) -> None:
    with KillableStore(tmp_path / "store") as store:
        settings = {"store_url": store.url, "lease_ttl_seconds": 1.0, "discover_seconds": 0.1, "log_level": "info"}
        with Nursery(tmp_path / "processes") as nursery:
            workers = [nursery.spawn("worker", f"worker-{number}", settings) for number in (1, 2, 3)]
            for worker in workers:
                wait_until(lambda it=worker: "started" in it.output, what="it works", timeout_seconds=SECONDS)  # type: ignore[misc]
            assert len({os.getsid(worker.pid) for worker in workers}) == len(workers)

            assert workers[0].signal(signal.SIGKILL)
            wait_until(lambda: workers[0].poll() is not None, what="it is dead", timeout_seconds=SECONDS)
            assert workers[0].code == -signal.SIGKILL
            assert not workers[0].signal(signal.SIGKILL), "nobody else may get what was meant for the dead"
            assert workers[1].signal(signal.SIGTERM)
            wait_until(lambda: workers[1].poll() is not None, what="it has ended", timeout_seconds=SECONDS)
            assert workers[1].code == 0
            assert workers[2].poll() is None
            assert "most recent call first" in workers[2].last_words()
        assert not is_running(workers[2].pid)


def test_a_failpoint_kills_where_it_says(tmp_path: Path) -> None:
    with KillableStore(tmp_path / "store") as store, Nursery(tmp_path / "processes") as nursery:
        settings = {"store_url": store.url, "lease_ttl_seconds": 1.0, "discover_seconds": 0.1, "log_level": "info"}
        worker = nursery.spawn("worker", "worker", settings, failpoints="store.federations.names.before=crash@2")
        wait_until(lambda: worker.poll() is not None, what="it is dead", timeout_seconds=SECONDS)
        assert worker.code == -signal.SIGKILL
        assert "failpoint store.federations.names.before hit 2" in worker.output


def test_children_die_with_a_nursery_that_is_killed(tmp_path: Path) -> None:
    with KillableStore(tmp_path / "store") as store:
        nursery = Nursery(tmp_path / "processes")
        with nursery:
            settings = {"store_url": store.url, "lease_ttl_seconds": 1.0, "discover_seconds": 0.1, "log_level": "info"}
            worker = nursery.spawn("worker", "worker", settings)
            wait_until(lambda: "started" in worker.output, what="it works", timeout_seconds=SECONDS)
            nursery.kill()
            wait_until(lambda: not is_running(worker.pid), what="the child is dead too", timeout_seconds=SECONDS)
