"""The trace of a delta goes on after a restart, and no delta depends on it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.outbox.outbox import TRACE_NAME, Outbox
from tests.support.prepared_deltas import prepared

CONTEXT = f"00-{'ab' * 16}-{'cd' * 8}-01"


@pytest.mark.parametrize("context", [CONTEXT, ""])
def test_the_context_is_there_after_a_restart(tmp_path: Path, context: str) -> None:
    entry = Outbox(tmp_path).put(prepared(), trace_context=context)
    assert entry.trace_context == context
    again = Outbox(tmp_path)
    assert again.pending == [entry]
    again.acknowledge(entry.meta.delta_id)
    (kept,) = Outbox(tmp_path).acknowledged
    assert kept.trace_context == context


@pytest.mark.parametrize("written", [b"nonsense", b"\xff\xfe", b"", CONTEXT.encode() * 1000])
def test_a_spoiled_context_is_forgotten_and_the_delta_is_not(tmp_path: Path, written: bytes) -> None:
    entry = Outbox(tmp_path).put(prepared(), trace_context=CONTEXT)
    (entry.directory / TRACE_NAME).write_bytes(written)
    (kept,) = Outbox(tmp_path).pending
    assert (kept.meta, kept.trace_context) == (entry.meta, "")
