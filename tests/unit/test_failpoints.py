"""Failpoints: what a setting may say, when a place acts, and that an unarmed process has none."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alignfed import failpoints
from alignfed.errors import CoordinatorUnreachable, RequestInvalid, StoreFull, StoreUnreachable, UploadStalled
from alignfed.failpoints import VARIABLE, Action, Rule, arm_from, armed, hit, hit_async, parse

WORD = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
PLACES = st.lists(WORD, min_size=2, max_size=4).map(".".join)
ACTIONS = st.one_of(
    st.just(Action(verb="crash")),
    st.integers(0, 10**9).map(lambda millionths: Action(verb="delay", seconds=millionths / 1e6)),
    st.sampled_from(["", "STORE_FULL", "UPLOAD_STALLED"]).map(lambda reason: Action(verb="error", reason=reason)),
)
ENDS = st.one_of(st.none(), st.integers(0, 9))


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    first, length = draw(st.integers(1, 99)), draw(ENDS)
    return Rule(
        place=draw(PLACES),
        action=draw(ACTIONS),
        first=first,
        last=None if length is None else first + length,
    )


@given(st.lists(rules(), max_size=5), st.sampled_from([";", " ; ", ";;\n"]))
def test_a_setting_is_read_as_it_is_written(wanted: list[Rule], separator: str) -> None:
    assert parse(separator.join(map(str, wanted))) == tuple(wanted)


@given(
    st.one_of(
        st.text(max_size=60),
        st.text("abz.=@()-+0139; ", max_size=60),
        st.tuples(PLACES, st.text("crashdelyo()0.5@-+ ", max_size=20)).map("=".join),
    )
)
def test_any_other_setting_is_refused_with_advice(setting: str) -> None:
    try:
        parsed = parse(setting)
    except RequestInvalid as error:
        message = error.message
    else:
        assert parse(";".join(map(str, parsed))) == parsed
        return
    assert VARIABLE in message
    assert "alignfed failpoints" in message


@pytest.mark.parametrize(
    "setting",
    [
        "store=crash", "store.check.before", "store.check.before=", "=crash", "a.b=fall", "a.b=crash(1)", "a.b=delay",
        "a.b=delay()", "a.b=delay(-1)", "a.b=delay(1e3)", "a.b=delay(nan)", "a.b=error()", "a.b=error(FENCED)",
        "a.b=error(NO_SUCH)", "a.b=crash@", "a.b=crash@0", "a.b=crash@3-2", "a.b=crash@x", "a.b=crash@1,2", "A.B=crash",
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(setting: str) -> None:
    with pytest.raises(RequestInvalid, match=VARIABLE):
        parse(setting)


@pytest.mark.parametrize(
    ("hits", "acting"),
    [("", [1, 2, 3, 4, 5, 6]), ("@3", [3]), ("@2-4", [2, 3, 4]), ("@4+", [4, 5, 6]), ("@2;a.b=error@5", [2, 5])],
)
def test_it_acts_at_the_hits_it_was_told(hits: str, acting: list[int], capfd: pytest.CaptureFixture[str]) -> None:
    failed = []
    with armed(f"a.b=error{hits}"):
        for number in range(1, 7):
            hit("a.other")
            try:
                hit("a.b")
            except OSError:
                failed.append(number)
    assert failed == acting
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("failpoint ")]
    assert lines == [f"failpoint a.b hit {number} pid {os.getpid()}: error" for number in acting]


def test_of_several_rules_for_a_hit_the_first_acts() -> None:
    with armed("store.x=error(STORE_FULL)@2;store.x=error"):
        for expected in (StoreUnreachable, StoreFull, StoreUnreachable):
            with pytest.raises(expected):
                hit("store.x")


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("store.check.after=error", StoreUnreachable),
        ("merge.judged=error", StoreUnreachable),
        ("rpc.query_upload.before=error", CoordinatorUnreachable),
        ("rpc.submit_delta.before=error(UPLOAD_STALLED)", UploadStalled),
    ],
)
async def test_an_error_is_what_a_failure_there_would_be(setting: str, expected: type[Exception]) -> None:
    place = setting.partition("=")[0]
    with armed(setting):
        with pytest.raises(expected, match=place):
            hit(place)
        with pytest.raises(expected, match=place):
            await hit_async(place)


def test_hits_of_several_threads_are_counted_once_each(capfd: pytest.CaptureFixture[str]) -> None:
    with armed("a.b=delay(0)"):
        threads = [threading.Thread(target=lambda: [hit("a.b") for _ in range(50)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    numbers = [int(found) for found in re.findall(r"hit (\d+)", capfd.readouterr().err)]
    assert sorted(numbers) == list(range(1, 201))


async def test_a_delay_in_an_event_loop_lets_other_tasks_run() -> None:
    with armed("a.b=delay(30)"):
        waiting = asyncio.create_task(hit_async("a.b"))
        others = [await asyncio.sleep(0, result=number) for number in range(10)]
        assert others == list(range(10))
        assert not waiting.done()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting


def test_the_place_after_is_only_passed_when_the_block_succeeded() -> None:
    with armed("a.b.after=error"):
        with pytest.raises(ZeroDivisionError), failpoints.around("a.b"):
            raise ZeroDivisionError
        with pytest.raises(OSError, match=r"a\.b\.after"), failpoints.around("a.b"):
            pass


async def test_an_unarmed_process_passes_every_place() -> None:
    assert arm_from({}) == arm_from({VARIABLE: " ; "}) == ()
    assert not failpoints.are_armed()
    hit("a.b")
    await hit_async("a.b")
    assert failpoints.around("a.b") is failpoints.around("c.d")  # not even an object is made


def test_what_was_armed_before_is_armed_again() -> None:
    with armed("a.b=error"):
        with armed("a.c=error"):
            hit("a.b")
        with pytest.raises(OSError, match="on purpose"):
            hit("a.b")
    hit("a.b")


CRASHING = """
import atexit, os, sys
from pathlib import Path
from alignfed.failpoints import arm_from, hit
from edge_agent.outbox.outbox import Outbox
from tests.support.prepared_deltas import prepared

arm_from(os.environ)
atexit.register(lambda: os.write(1, b"atexit"))
sys.stdout.write("buffered")
try:
    Outbox(Path(sys.argv[1])).put(prepared(7))
    os.write(1, b"returned")
finally:
    os.write(1, b"finally")
"""


@pytest.mark.parametrize(("place", "kept"), [("outbox.put.rename.before", []), ("outbox.put.rename.after", [7])])
def test_a_crash_is_a_sigkill_and_nothing_comes_after_it(tmp_path: Path, place: str, kept: list[int]) -> None:
    from edge_agent.outbox.outbox import Outbox

    done = subprocess.run(
        [sys.executable, "-c", CRASHING, str(tmp_path)],
        env={**os.environ, VARIABLE: f"{place}=crash@1", "PYTHONUNBUFFERED": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert done.stdout == ""
    armed_line, last_line = done.stderr.splitlines()
    assert armed_line.endswith(f"{place}=crash@1")
    assert re.fullmatch(rf"failpoint {re.escape(place)} hit 1 pid \d+: crash", last_line)
    assert [entry.meta.sequence for entry in Outbox(tmp_path).pending] == kept
