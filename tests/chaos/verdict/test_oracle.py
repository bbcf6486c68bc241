"""The judge can find against: every promise is broken once, and each time it says so."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from tests.chaos.verdict.oracle import Evidence, MergedVersion, Settled, judge

GOOD = Evidence(
    acknowledged=frozenset({"a", "b", "c", "r", "d"}),
    sent=frozenset({"a", "b", "c", "r", "d", "never-acknowledged"}),
    receipts={
        "a": Settled(state="merged", version=1),
        "b": Settled(state="merged", version=1),
        "c": Settled(state="merged", version=2),
        "r": Settled(state="rejected", reason="DELTA_OUTLIER"),
        "d": Settled(state="queued"),
    },
    versions=(
        MergedVersion(number=1, delta_ids=("a", "b"), digest="11", derived="11"),
        MergedVersion(number=2, delta_ids=("c",), digest="22"),
    ),
    dead=frozenset({"d"}),
    counted=3,
)


def changed(**changes: Any) -> Evidence:
    return dataclasses.replace(GOOD, **changes)


def with_receipt(delta_id: str, settled: Settled) -> Evidence:
    return changed(receipts={**GOOD.receipts, delta_id: settled})


def test_a_history_that_keeps_every_promise_is_sound() -> None:
    verdict = judge(GOOD)
    assert verdict.sound
    figures = (verdict.acknowledged, verdict.merged, verdict.rejected, verdict.dead, verdict.versions, verdict.derived)
    assert figures == (5, 3, 1, 1, 2, 1)


def test_a_lost_id_is_named() -> None:
    verdict = judge(changed(acknowledged=GOOD.acknowledged | {"gone"}))
    assert verdict.lost == ("gone",)
    assert not verdict.sound
    assert "gone" in verdict.faults[0]


def test_a_dead_letter_that_is_gone_is_lost() -> None:
    assert judge(changed(dead=frozenset())).lost == ("d",)


@pytest.mark.parametrize("delta_ids", [("c", "a"), ("c", "c"), ("c", "r"), ("c", "d")])
def test_an_id_that_counts_twice_is_named(delta_ids: tuple[str, ...]) -> None:
    versions = (GOOD.versions[0], dataclasses.replace(GOOD.versions[1], delta_ids=delta_ids))
    verdict = judge(changed(versions=versions, counted=4))
    assert verdict.doubled == (delta_ids[1],)
    assert not verdict.sound
    assert not verdict.lost


BROKEN = {
    "derived again": changed(versions=(dataclasses.replace(GOOD.versions[0], derived="99"), GOOD.versions[1])),
    "never sent": changed(sent=GOOD.sent - {"b"}),
    "without a reason": with_receipt("r", Settled(state="rejected")),
    "still queued": with_receipt("late", Settled(state="queued")),
    "dead without a receipt": changed(dead=frozenset({"d", "ghost"})),
    "in no merge record": with_receipt("x", Settled(state="merged", version=1)),
    "though its receipt says otherwise": with_receipt("a", Settled(state="queued")),
    "another version": with_receipt("a", Settled(state="merged", version=2)),
    "waiting to be sent": changed(unsent=frozenset({"u"})),
    "the store counts": changed(counted=4),
    "belong to nothing": changed(unowned=frozenset({"af:blob:x"})),
}


@pytest.mark.parametrize("what", BROKEN)
def test_every_other_broken_promise_is_told(what: str) -> None:
    verdict = judge(BROKEN[what])
    assert any(what in fault for fault in verdict.faults), verdict.faults
