"""What of a poll's duration was the coordinator's own, and what the agent asked for."""

from __future__ import annotations

import pytest

from coordinator.service.poll_time import PollTime


@pytest.mark.parametrize(
    ("waits_from", "longest", "newer_at", "answered_at", "overhead"),
    [
        pytest.param(10.25, 0.0, None, 10.5, 0.5, id="no-wait-asked-for"),
        pytest.param(10.25, -3.0, None, 10.5, 0.5, id="deadline-over-already"),
        pytest.param(10.25, 60.0, 3.0, 10.5, 0.5, id="newer-before-it-came"),
        pytest.param(10.25, 60.0, 40.0, 40.0, 0.25, id="answered-with-the-news"),
        pytest.param(10.25, 60.0, 40.0, 42.0, 2.25, id="late-after-the-news"),
        pytest.param(10.25, 60.0, None, 70.25, 0.25, id="patience-over"),
        pytest.param(10.25, 60.0, None, 73.25, 3.25, id="late-after-patience"),
    ],
)
def test_overhead_is_the_duration_without_the_wait_for_news(
    waits_from: float, longest: float, newer_at: float | None, answered_at: float, overhead: float
) -> None:
    poll = PollTime(
        arrived_at=10.0,
        waits_from=waits_from,
        longest_wait_seconds=longest,
        newer_at=newer_at,
        answered_at=answered_at,
    )
    assert poll.overhead_seconds == pytest.approx(overhead)
