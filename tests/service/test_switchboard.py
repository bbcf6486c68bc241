"""Processes of the comparison with Flower do as they are told over loopback, in order, and say what went wrong."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from alignfed.errors import LocalProcessFailed
from bench.flower.lines import serve
from bench.flower.switchboard import Peer, Switchboard


def _fail() -> dict[str, Any]:
    raise ValueError("no such luck")


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


def _called(threads: ThreadPoolExecutor, switchboard: Switchboard, name: str = "one") -> tuple[Peer, Future[bool]]:
    handlers = {"double": lambda value: {"value": 2 * value}, "fail": _fail}
    served = threads.submit(serve, switchboard.port, name, handlers, node="7")
    return switchboard.peer(name, lambda: None), served


def test_what_is_begun_is_answered_in_order(threads: ThreadPoolExecutor) -> None:
    with Switchboard() as switchboard:
        peer, served = _called(threads, switchboard)
        assert peer.about["node"] == "7"
        for value in range(100):
            peer.begin("double", value=value)
        assert [peer.answer()["value"] for _ in range(100)] == [2 * value for value in range(100)]
        peer.end()
        assert served.result(10) is True


def test_a_caller_is_told_by_its_name(threads: ThreadPoolExecutor) -> None:
    with Switchboard() as switchboard:
        _, first = _called(threads, switchboard, "first")
        second, _ = _called(threads, switchboard, "second")
        assert second.name == "second"
    assert first.result(10) is False  # hung up on, not told to end


def test_what_fails_there_is_said_here(threads: ThreadPoolExecutor) -> None:
    with Switchboard() as switchboard:
        peer, served = _called(threads, switchboard)
        with pytest.raises(LocalProcessFailed, match="no such luck"):
            peer.ask("fail")
        with pytest.raises(ValueError, match="no such luck"):
            served.result(10)
        with pytest.raises(LocalProcessFailed, match="gone"):
            peer.ask("double", value=1)
        peer.end()


def test_waiting_ends_when_it_has_no_use() -> None:
    def check() -> None:
        raise LocalProcessFailed("it ended by itself")

    with Switchboard() as switchboard, pytest.raises(LocalProcessFailed, match="by itself"):
        switchboard.peer("nobody", check)
