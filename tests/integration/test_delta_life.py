"""The life of a delta, from the agent that trains it to the version that contains it, in spans and in log lines."""

from __future__ import annotations

import json
import logging
import math
import threading
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from alignfed.logs.formats import JsonFormatter
from alignfed.plan import Aggregation, Buffer
from alignfed.tracing.spans import Around, span
from coordinator.backends.embedded import EmbeddedValkey
from coordinator.backends.memory import MemoryStore
from coordinator.backends.urls import open_store
from coordinator.ports import Store
from coordinator.service.config import ServiceConfig
from coordinator.service.server import CoordinatorServer
from edge_agent.runtime import AgentSettings
from edge_agent.stopping import Interrupted
from edge_agent.training.trainer import TrainingJob
from tests.support.agent_runs import STOP_SECONDS, AddingTrainer, AgentThread
from tests.support.factors import create_federation, merging_plan, send_delta
from tests.support.recorded_spans import RecordedSpans, context_of, told
from tests.support.stores import open_memory_store
from tests.support.tiny_federation import fresh_adapter, tiny_plan
from tests.support.waiting import eventually
from tests.support.workers import running_worker, settled

CONFIG = ServiceConfig(agent_listen="127.0.0.1:0", operator_listen="127.0.0.1:0", drain_seconds=5.0)
SUBMIT = "alignfed.v1.AgentService/SubmitDelta"
STEPS = [
    "claim deltas", "load deltas", "screen deltas", "aggregate", "align", "calibrate", "merge", "judge candidate",
    "publish version", "store version", "commit version",
]  # fmt: skip
LIFE = ["delta trained", "delta accepted", "delta uploaded", "delta claimed", "delta merged", "delta is merged"]


class PacedTrainer(AddingTrainer):
    """Makes one delta, a stale one once the head has moved, and then nothing until it is released."""

    def __init__(self) -> None:
        super().__init__(0.5, before=self._hold)
        self.head_moved = threading.Event()
        self.released = threading.Event()

    def _hold(self, number: int, _job: TrainingJob) -> None:
        if number == 2:
            assert self.head_moved.wait(STOP_SECONDS)
        if number == 3:
            assert self.released.wait(STOP_SECONDS)
            raise Interrupted


@pytest.fixture(params=["memory", "valkey"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    if request.param == "memory":
        yield MemoryStore()
        return
    with EmbeddedValkey(tmp_path / "valkey") as server:
        opened = open_store(server.url)
        yield opened
        await opened.close()


def lines(caplog: pytest.LogCaptureFixture, delta_id: str) -> list[dict[str, Any]]:
    """Return what `grep DELTA_ID` finds in the logs of everybody."""
    written = [JsonFormatter().format(record) for record in caplog.records]
    return [json.loads(line) for line in written if delta_id in line]


async def test_spans_and_lines_tell_the_whole_life_of_a_delta(
    store: Store, tiny_model_dir: Path, tmp_path: Path, one_thread: None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    spans, trainer = RecordedSpans(), PacedTrainer()
    plan = tiny_plan(tiny_model_dir, buffer=Buffer(size=1), aggregation=Aggregation(recipe="participation"))
    await create_federation(store, plan, start=fresh_adapter(plan))
    server = CoordinatorServer(store, config=CONFIG, tracer=spans.tracer)
    await server.start()
    settings = AgentSettings(
        coordinator=f"127.0.0.1:{server.agent_port}",
        federation=plan.federation,
        agent_id="agent-1",
        state_dir=tmp_path / "state",
    )

    async def head_moved() -> bool:
        return (await store.versions.head(plan.federation)).id.number >= 1

    async def agent_knows() -> bool:
        return any(record.getMessage() == "delta is merged" for record in caplog.records)

    try:
        async with running_worker(store, tracer=spans.tracer):
            with AgentThread(settings, trainer.make, tracer=spans.tracer):
                await eventually(head_moved, what="the first delta is merged")
                trainer.head_moved.set()
                await eventually(agent_knows, what="the agent knows that its delta is merged")
                trainer.released.set()
    finally:
        await server.stop()

    version = await store.versions.get(plan.federation, 1)
    assert version.merge is not None
    (merged,) = version.merge.deltas
    check_spans(spans, merged.delta_id)
    story = lines(caplog, merged.delta_id)
    assert Counter(line["message"] for line in story) == Counter(LIFE)
    for line in story:
        assert (line["federation"], line["agent_id"], line["base_version"]) == (plan.federation, "agent-1", 0)
    fate = {line["message"]: line for line in story}
    assert fate["delta merged"]["version"] == fate["delta is merged"]["version"] == 1
    assert (fate["delta merged"]["staleness_versions"], fate["delta merged"]["weight"]) == (0, merged.weight)


def check_spans(spans: RecordedSpans, delta_id: str) -> None:
    """Check that every span of a delta hangs together, and that its merge links to them."""
    (train,) = [span for span in spans.named("train delta") if told(span).get("delta_id") == delta_id]
    (upload,) = [span for span in spans.named("upload delta") if told(span)["delta_id"] == delta_id]
    (submit,) = [span for span in spans.named(SUBMIT) if told(span)["delta_id"] == delta_id]
    assert train.parent is None
    for child, parent in ((upload, train), (submit, upload)):
        assert context_of(child).trace_id == context_of(train).trace_id
        assert child.parent is not None
        assert child.parent.span_id == context_of(parent).span_id
    (enqueue,) = [
        span
        for span in spans.named("enqueue delta")
        if span.parent is not None and span.parent.span_id == context_of(submit).span_id
    ]
    (merge,) = [span for span in spans.named("merge") if told(span).get("head_version") == 0]
    assert merge.parent is None
    (link,) = merge.links
    assert (link.context.trace_id, link.context.span_id) == (context_of(train).trace_id, context_of(enqueue).span_id)
    assert (link.attributes or {})["alignfed.delta_id"] == delta_id
    assert told(merge).items() >= {"version": 1, "outcome": "committed", "deltas": 1}.items()
    steps = [span for span in spans.all() if context_of(span).trace_id == context_of(merge).trace_id]
    assert Counter(span.name for span in steps if span is not merge) == Counter(STEPS)
    assert told(spans.named("download version")[0])["agent_id"] == "agent-1"


async def test_a_rejected_delta_ends_with_its_reason(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    store, plan, spans = open_memory_store(), merging_plan(buffer=Buffer(size=1)), RecordedSpans()
    await create_federation(store, plan, "agent-1")
    delta = await send_delta(store, plan, math.nan)
    async with running_worker(store, tracer=spans.tracer):
        await settled(store, delta)
    *_, last = lines(caplog, delta.delta_id)
    assert (last["message"], last["reason"], last["level"]) == ("delta rejected", "NON_FINITE", "WARNING")
    assert told(spans.named("merge")[0])["outcome"] == "rejected"


async def test_a_stale_group_has_a_span_of_its_own_and_deltas_without_context_no_link() -> None:
    store, spans = open_memory_store(), RecordedSpans()
    plan = merging_plan(recipe="conflict-projection", buffer=Buffer(size=1))
    await create_federation(store, plan, "agent-1")
    base = (await store.versions.head(plan.federation)).id
    first = await send_delta(store, plan, 1.0)
    async with running_worker(store, tracer=spans.tracer):
        await settled(store, first)
        with span(spans.tracer, "elsewhere", Around()):
            second = await send_delta(store, plan, 0.5, base=base)
        await settled(store, second)
    group = told(spans.one("align group"))
    assert (group["base_version"], group["deltas"]) == (0, 1)
    assert isinstance(group["cosine"], float)
    merges = spans.named("merge")
    assert [merge.links for merge in merges if merge.parent is None] == [(), ()]
