"""The trace context of a delta: it travels with the queue's entry, and nothing depends on it."""

from __future__ import annotations

import dataclasses

import pytest

from coordinator.backends.redis.records import dump_dead_letter, dump_delta, load, load_dead_letter, load_delta
from coordinator.domain import DeadLetter, DeltaRecord
from coordinator.ports import Store
from tests.support.stores import NOW, new_delta, seed_federation, take_lease

CONTEXT = f"00-{'ab' * 16}-{'cd' * 8}-01"


@pytest.fixture
async def federation(store: Store) -> str:
    return (await seed_federation(store)).federation


async def queue_one(store: Store, federation: str, trace_context: str) -> DeltaRecord:
    delta = dataclasses.replace(await new_delta(store, federation), trace_context=trace_context)
    await store.deltas.accept(delta)
    return delta


@pytest.mark.parametrize("context", [CONTEXT, ""])
async def test_it_comes_back_at_every_claim_and_from_the_dead_letters(
    store: Store, federation: str, context: str
) -> None:
    delta = await queue_one(store, federation, context)
    assert delta.trace_context == context
    (claimed,) = await store.deltas.claim(federation, "worker-1", limit=1)
    (reclaimed,) = await store.deltas.reclaim(federation, "worker-2")
    assert claimed.delta == reclaimed.delta == delta

    token = await take_lease(store, federation, "worker-2")
    await store.deltas.bury(federation, token, reclaimed, detail="tired", at=NOW)
    (letter,) = await store.deltas.dead_letters(federation)
    assert letter.delta == delta
    await store.deltas.requeue_dead(federation, delta.delta_id)
    (again,) = await store.deltas.claim(federation, "worker-2", limit=1)
    assert again.delta == delta


@pytest.mark.parametrize("context", ["nonsense", CONTEXT + "\n", CONTEXT * 100, "\x00"])
async def test_a_malformed_one_is_dropped_and_the_delta_is_not(store: Store, federation: str, context: str) -> None:
    delta = await queue_one(store, federation, context)
    (claimed,) = await store.deltas.claim(federation, "worker-1", limit=1)
    assert (claimed.delta.delta_id, claimed.delta.trace_context) == (delta.delta_id, "")


async def test_entries_of_before_still_decode_and_untraced_ones_are_as_before(store: Store, federation: str) -> None:
    delta = await new_delta(store, federation)
    letter = DeadLetter(delta=delta, detail="tired", buried_at=NOW)
    assert "trace_context" not in dump_delta(delta)
    assert "trace_context" not in dump_dead_letter(letter)
    assert load_delta(dump_delta(delta)) == delta
    assert load_dead_letter(dump_dead_letter(letter)) == letter


@pytest.mark.parametrize("written", [7, None, ["x"], {"a": 1}, "nonsense"])
async def test_whatever_stands_in_its_place_the_delta_decodes(store: Store, federation: str, written: object) -> None:
    import json

    delta = dataclasses.replace(await new_delta(store, federation), trace_context=CONTEXT)
    spoiled = {**load(dump_delta(delta)), "trace_context": written}
    assert load_delta(json.dumps(spoiled)) == dataclasses.replace(delta, trace_context="")
    letter = {"delta": spoiled, "detail": "tired", "buried_at": NOW}
    assert load_dead_letter(json.dumps(letter)).delta.trace_context == ""
