"""Hostile input in short: every kept input is read again, every target reads new ones, and defects would be seen.

`ALIGNFED_FUZZ_INPUTS` is how many inputs each target reads here, `ALIGNFED_FUZZ_SEED` what they follow from;
`make fuzz FUZZ=1000000` is the long form; tests/chaos/test_fuzz_long.py holds it to its time.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from alignfed.errors import ERRORS_BY_REASON, AlignFedError, HeaderInvalid
from tests.fuzz import reader
from tests.fuzz.campaign import jobs_of, run_job
from tests.fuzz.driver import corpus_of, fuzz, replay, shortened
from tests.fuzz.guided import is_installed
from tests.fuzz.mutations import frame, mutate_bytes, unframe
from tests.fuzz.reader import MEMORY_BYTES, SAMPLE, Reader, last_input
from tests.fuzz.target import Target, outcome_of
from tests.fuzz.targets import SHARES, load
from tests.support.cases import seed_of

INPUTS = int(os.environ.get("ALIGNFED_FUZZ_INPUTS", "150"))
SEED = seed_of("ALIGNFED_FUZZ_SEED")
KEPT = [(name, kept) for name in SHARES for kept in corpus_of(name)]


@pytest.mark.parametrize(("name", "kept"), KEPT, ids=lambda value: value)
def test_a_kept_input_is_read_within_bounds(name: str, kept: str) -> None:
    outcome = replay(load(name), corpus_of(name)[kept])
    wanted = kept.partition("--")[0]
    if wanted != kept:
        assert outcome.replace(" ", "_") == wanted, "the file's name says how reading it ends"


@pytest.mark.parametrize("name", SHARES)
def test_hostile_input_ends_in_a_typed_error(name: str) -> None:
    run = fuzz(load(name), inputs=INPUTS, seed=SEED)
    found = [f"{failure.what}: {failure.data[:400]!r}" for failure in run.failures]
    assert not found, f"seed {SEED}: {found}"
    assert run.inputs == INPUTS


@pytest.mark.parametrize("name", SHARES)
def test_valid_input_is_accepted(name: str) -> None:
    """Without it a target that refuses everything would look sound."""
    target = load(name)
    outcomes = {outcome_of(target, data) for data in target.seeds()}
    refused = {*ERRORS_BY_REASON, "wrong usage", "no message", "none"}
    assert outcomes - refused, f"every seed is refused: {outcomes}"


def target_of(check: object, **options: object) -> Target:
    return Target(name="none", seeds=lambda: [b"seed"], mutate=mutate_bytes, check=check, **options)  # type: ignore[arg-type]


def test_an_untyped_error_is_a_failure_and_its_input_is_kept(tmp_path: Path) -> None:
    def check(data: bytes) -> str:
        if len(data) > 6:
            raise KeyError("defect")
        raise HeaderInvalid("too short")

    run = fuzz(target_of(check), inputs=200, seed=1)
    assert [failure.what.split(" ")[0] for failure in run.failures] == ["KeyError"]
    assert run.outcomes["HEADER_INVALID"]
    kept = run.failures[0].save(tmp_path)
    with pytest.raises(AssertionError, match="KeyError"):
        replay(target_of(check), kept.read_bytes())


def test_an_error_that_is_no_leaf_of_the_tree_is_a_failure() -> None:
    def check(data: bytes) -> str:
        raise AlignFedError("of no kind")

    assert "no leaf" in fuzz(target_of(check), inputs=2, seed=1).failures[0].what


def test_slow_input_is_a_failure() -> None:
    def check(data: bytes) -> str:
        return str(sum(range(3_000_000)))[:1]

    run = fuzz(target_of(check, seconds=0.001), inputs=1, seed=1)
    assert "processor time" in run.failures[0].what


def test_a_hang_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    def check(data: bytes) -> str:
        while True:
            pass

    monkeypatch.setattr(reader, "HANG_SECONDS", 0.1)
    assert "Hang" in fuzz(target_of(check), inputs=1, seed=1).failures[0].what


@pytest.mark.skipif(not reader.peak_bytes(), reason="this system does not tell a process's peak of memory")
def test_memory_that_grows_is_a_failure() -> None:
    held: list[bytearray] = []

    def check(data: bytes) -> str:
        if len(held) < 100:
            held.append(bytearray(os.urandom(1 << 20)))
        return "held"

    run = fuzz(target_of(check), inputs=120, seed=1)
    assert "memory: grew" in run.failures[-1].what


@pytest.mark.skipif(not reader.peak_bytes(), reason="this system does not tell a process's peak of memory")
def test_the_input_that_took_the_memory_is_named_though_only_samples_are_looked_at() -> None:
    def check(data: bytes) -> str:
        return str(len(bytes(b"x" * (3 * MEMORY_BYTES if data == b"bomb" else 1))))

    run = reader.Run(target="none", seed=1)
    reading = Reader(target_of(check), run)
    for index in range(SAMPLE):
        reading.read(b"bomb" if index == 40 else b"harmless")
    assert [failure.data for failure in run.failures] == [b"bomb"]


def test_an_input_that_kills_its_process_is_left_in_the_black_box(tmp_path: Path) -> None:
    box = tmp_path / "box"
    child = os.fork()
    if not child:

        def check(data: bytes) -> str:
            if data == b"deadly":
                os.kill(os.getpid(), signal.SIGKILL)
            return "read"

        reading = Reader(target_of(check), reader.Run(target="none", seed=1), black_box=box)
        for data in (b"harmless and long", b"deadly", b"never read"):
            reading.read(data)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
    assert last_input(box) == b"deadly"


def test_a_failing_input_is_made_short() -> None:
    def check(data: bytes) -> str:
        if b"bad" in data:
            raise KeyError("defect")
        return "read"

    run = reader.Run(target="none", seed=1)
    Reader(target_of(check), run).read(b"a long way to what is bad and on")
    (failure,) = run.failures
    assert shortened(target_of(check), failure).data == b"bad"


@pytest.mark.parametrize("guided", [False, True])
def test_a_job_reads_the_same_inputs_for_the_same_seed(guided: bool) -> None:
    if guided and not is_installed():
        pytest.skip("atheris is not installed")
    runs = [run_job("traceparent", 300, seed, guided=guided) for seed in (7, 7, 8)]
    assert [len(run.failures) for run in runs] == [0, 0, 0]
    assert [run.inputs for run in runs] == [300] * 3
    assert (runs[0].mode == "guided") is guided
    assert runs[0].digest == runs[1].digest != runs[2].digest


def test_a_seed_gives_the_same_inputs() -> None:
    seen: list[list[bytes]] = [[], []]
    for log in seen:
        fuzz(target_of(lambda data, log=log: log.append(data) or "read"), inputs=50, seed=7)
    assert seen[0] == seen[1]


def test_every_input_is_given_to_some_target() -> None:
    assert sum(count for _, count in jobs_of(10_007, names=list(SHARES))) == 10_007
    assert unframe(frame([b"a", b"", b"bc"])) == [b"a", b"", b"bc"]
