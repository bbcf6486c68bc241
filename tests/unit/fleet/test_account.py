"""Every acknowledged delta is somewhere, once; and merges are shared as the coordinator's own figures say."""

from __future__ import annotations

from bench.fleet.account import Account, MergedOne, account_of, missing_from, sharing, staleness_of
from bench.fleet.settings import tiers_of


def one(delta_id: str, agent_id: str = "a", version: int = 1, staleness: int = 0) -> MergedOne:
    return MergedOne(delta_id=delta_id, agent_id=agent_id, version=version, staleness_versions=staleness)


def test_what_no_record_names_is_asked_for() -> None:
    assert missing_from(["x", "y"], [one("x")]) == ["y"]


def test_every_fate_is_counted_once() -> None:
    fates = {"q": "DELTA_STATE_QUEUED", "r": "DELTA_STATE_REJECTED", "m": "DELTA_STATE_MERGED", "l": ""}
    merged = [one("x"), one("y"), one("y", version=2), one("not answered")]
    assert account_of(["x", "y", "q", "r", "m", "l"], merged, fates, unanswered=1) == Account(
        acknowledged=6, merged=3, rejected=1, queued=1, lost=1, doubled=1, unanswered=1
    )


def test_a_delta_nobody_answers_for_is_lost() -> None:
    assert account_of(["x"], [], {}, unanswered=0).lost == 1


def test_agents_that_were_never_merged_count_in_fairness() -> None:
    tiers = tiers_of("1:1,4:1")
    found = sharing({"a": "1x", "b": "1x", "c": "4x"}, [one("x", "a"), one("y", "b"), one("z", "stranger")], tiers)
    assert (found["all"].agents, found["all"].merged) == (3, 2)
    assert found["1x"].jain == 1.0
    assert (found["4x"].merged, found["4x"].merged_share) == (0, 0.0)
    assert found["all"].jain < 1.0


def test_staleness_is_counted_in_ascending_order() -> None:
    found = staleness_of([one("x", staleness=2), one("y"), one("z", staleness=2)])
    assert list(found.items()) == [(0, 1), (2, 2)]
