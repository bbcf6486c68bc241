"""An agent when things break: cut lines, restarts, a full outbox, signals. Nothing is lost, nothing counts twice."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from alignfed.codec import encode
from alignfed.errors import CoordinatorUnreachable
from alignfed.plan import Encoding, FederationPlan, TensorSpec
from coordinator.domain import DeltaState
from edge_agent.domain import Capabilities, ResumeAt
from edge_agent.outbox.outbox import Outbox
from edge_agent.training.trainer import TrainingJob
from edge_agent.wire.client import CoordinatorClient
from edge_agent.wire.download import AdapterDownload
from tests.support.agent_runs import AddingTrainer, AgentThread, MakeSettings, read_status
from tests.support.live_coordinator import LiveCoordinator
from tests.support.tiny_federation import CHUNK_BYTES, RANK, fresh_adapter, tiny_plan, write_rows
from tests.support.waiting import wait_until
from tests.support.wiretap import Wiretap

WIDE = 64
SECRET = "SENTINEL-8f21c7"
STOP_SECONDS = 10.0


@pytest.fixture
def wide_plan(coordinator: LiveCoordinator, tiny_model_dir: Path) -> FederationPlan:
    """A federation whose payloads have dozens of chunks: 30 KB in bf16, 59 KB in fp32."""
    narrow = tiny_plan(tiny_model_dir, federation="wide-fed")
    tensors = tuple(
        TensorSpec(name=spec.name, shape=tuple(WIDE if size == RANK else size for size in spec.shape))
        for spec in narrow.tensors
    )
    plan = dataclasses.replace(narrow, lora=dataclasses.replace(narrow.lora, rank=WIDE), tensors=tensors)
    coordinator.create(plan, fresh_adapter(plan))
    return plan


def outbox_of(state_dir: Path) -> Outbox:
    return Outbox(state_dir / "outbox")


def test_an_upload_that_a_restart_cut_off_resumes_where_it_was(
    coordinator: LiveCoordinator, wide_plan: FederationPlan, settings: MakeSettings
) -> None:
    held_bytes = 20 * CHUNK_BYTES
    with Wiretap(coordinator.port) as tap:
        here = settings(federation=wide_plan.federation, coordinator=tap.address, max_deltas=1)
        trainer = AddingTrainer(before=lambda *_: tap.hold_after(held_bytes))
        with AgentThread(here, trainer.make) as agent:
            wait_until(lambda: tap.holding, what="the upload is on its way")
            (entry,) = (here.state_dir / "outbox" / "pending").iterdir()
            meta = json.loads((entry / "meta.json").read_text("utf-8"))

            def stored_bytes() -> int:
                with CoordinatorClient(
                    coordinator.address, federation=wide_plan.federation, agent_id="agent-1"
                ) as client:
                    answer = client.query_upload(meta["delta_id"], meta["sha256"])
                    return answer.offset if isinstance(answer, ResumeAt) else meta["total_bytes"]

            wait_until(lambda: stored_bytes() > held_bytes / 2, what="the coordinator holds part of the delta")
            coordinator.stop()
            tap.cut()
            sent_before = len(tap.sent)
            coordinator.start()
            agent.finish()
        assert len(tap.sent) - sent_before < meta["total_bytes"] - held_bytes / 2
    receipt = coordinator.receipt(wide_plan.federation, meta["delta_id"])
    assert receipt is not None
    assert receipt.state is DeltaState.QUEUED
    assert coordinator.queued(wide_plan.federation) == 1


class Counted:
    """Counts what is downloaded."""

    def __init__(self) -> None:
        self.downloaded_bytes = 0

    def uploaded(self, nbytes: int) -> None:
        raise AssertionError(f"{nbytes} bytes were uploaded by a download")

    def downloaded(self, nbytes: int) -> None:
        self.downloaded_bytes += nbytes


def test_a_download_that_was_cut_off_resumes_where_it_was(
    coordinator: LiveCoordinator, wide_plan: FederationPlan
) -> None:
    traffic = Counted()
    adapter = fresh_adapter(wide_plan)
    with (
        Wiretap(coordinator.port) as tap,
        CoordinatorClient(tap.address, federation=wide_plan.federation, agent_id="agent-1", traffic=traffic) as client,
    ):
        status = client.register(Capabilities()).status
        download = AdapterDownload(status.head, wide_plan)
        tap.hold_after(20 * CHUNK_BYTES, incoming=True)
        failures: list[BaseException] = []

        def attempt() -> None:
            try:
                client.download(download)
            except CoordinatorUnreachable as error:
                failures.append(error)

        attempting = threading.Thread(target=attempt)
        attempting.start()
        wait_until(lambda: tap.holding and download.offset > 0, what="part of the adapter has arrived")
        coordinator.stop()
        tap.cut()
        attempting.join()
        coordinator.start()
        assert len(failures) == 1
        wait_until(lambda: _tried(client), what="the coordinator is back")
        client.download(download)
        factors = download.finish()
    assert bytes(encode(factors, Encoding.FP32)) == bytes(encode(adapter, Encoding.FP32))
    assert traffic.downloaded_bytes == len(encode(adapter, Encoding.FP32))  # nothing came twice


def _tried(client: CoordinatorClient) -> bool:
    try:
        client.global_version()
    except CoordinatorUnreachable:
        return False
    return True


def test_a_full_outbox_pauses_training_and_a_restart_delivers_it_once(
    coordinator: LiveCoordinator, plan: FederationPlan, settings: MakeSettings, caplog: pytest.LogCaptureFixture
) -> None:
    here = settings(max_pending=2)
    trainer = AddingTrainer(before=lambda *_: coordinator.stop())
    with AgentThread(here, trainer.make) as agent:
        wait_until(lambda: "training pauses" in read_status(here).get("detail", ""), what="training pauses")
        assert len(trainer.jobs) == 2
        agent.stop()
    assert "training pauses" in caplog.text
    waiting = [entry.meta.delta_id for entry in outbox_of(here.state_dir).pending]
    assert len(waiting) == 2
    assert coordinator.queued(plan.federation) == 0

    coordinator.start()
    with AgentThread(settings(max_deltas=1), AddingTrainer().make) as agent:
        assert agent.finish().made == 3
    assert [delta.delta_id for delta in coordinator.deltas(plan.federation)][:2] == waiting
    assert coordinator.queued(plan.federation) == 3


def test_a_delta_whose_acknowledgement_got_lost_counts_once(
    coordinator: LiveCoordinator, plan: FederationPlan, settings: MakeSettings
) -> None:
    here = settings(max_deltas=1)
    with AgentThread(here, AddingTrainer().make) as agent:
        agent.finish()
    outbox = outbox_of(here.state_dir)
    (entry,) = outbox.acknowledged
    outbox.reopen(entry.meta.delta_id)  # as if the agent had died before it heard of the acknowledgement
    with AgentThread(here, AddingTrainer().make) as agent:
        agent.finish()
    delivered = [delta.delta_id for delta in coordinator.deltas(plan.federation)]
    assert len(delivered) == len(set(delivered)) == 2
    assert delivered[0] == entry.meta.delta_id


def test_a_restarting_coordinator_costs_nothing_but_time(
    coordinator: LiveCoordinator, plan: FederationPlan, settings: MakeSettings
) -> None:
    def restart(number: int, _job: TrainingJob) -> None:
        if number % 2:
            coordinator.stop()
            coordinator.start()

    with AgentThread(settings(max_deltas=6), AddingTrainer(before=restart).make) as agent:
        assert agent.finish().made == 6
    assert coordinator.queued(plan.federation) == 6


def test_private_data_never_leaves(
    coordinator: LiveCoordinator, plan: FederationPlan, settings: MakeSettings, tmp_path: Path
) -> None:
    from edge_agent.training.workload import read_workload

    source = write_rows(tmp_path / f"{SECRET}.jsonl", secret=SECRET)
    workload = read_workload(data=[str(source)], extensions=None, device="cpu", precision="fp32", threads=1)
    with Wiretap(coordinator.port) as tap:
        here = settings(coordinator=tap.address, max_deltas=2, examples=len(workload.corpus.rows))
        with AgentThread(here, workload.make_trainer) as agent:
            agent.finish()
        everything_sent = bytes(tap.sent)
    assert b"agent-1" in everything_sent  # the tap does see what is sent
    assert SECRET.encode() not in everything_sent
    kept = [path for path in here.state_dir.rglob("*") if path.is_file()]
    assert any(path.name == "payload.safetensors" for path in kept)
    assert all(SECRET.encode() not in path.read_bytes() for path in kept)


def test_sigterm_ends_the_command_cleanly_within_seconds(
    coordinator: LiveCoordinator, plan: FederationPlan, settings: MakeSettings, tmp_path: Path
) -> None:
    here = settings()
    endless = dataclasses.replace(
        plan, federation="endless", training=dataclasses.replace(plan.training, local_steps=1_000_000)
    )
    coordinator.create(endless, fresh_adapter(endless))
    command = [
        *(sys.executable, "-m", "edge_agent", "run", "--coordinator", coordinator.address),
        *("--federation", endless.federation, "--data", str(write_rows(tmp_path / "rows.jsonl"))),
        *("--state-dir", str(here.state_dir), "--status-file", str(here.status_file), "--threads", "1"),
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}) as run:
        try:
            wait_until(lambda: read_status(here).get("step", 0) > 3, what="it trains", timeout_seconds=60)
            began = time.monotonic()
            run.send_signal(signal.SIGTERM)
            _, log = run.communicate(timeout=STOP_SECONDS)
            assert time.monotonic() - began < STOP_SECONDS
        finally:
            run.kill()
    assert run.returncode == 0, log
    assert "Traceback" not in log
    assert read_status(here)["state"] == "stopped"
    assert read_status(here)["deltas_made"] == 0  # the partial work is discarded
    assert coordinator.queued(endless.federation) == 0
