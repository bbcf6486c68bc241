"""Who trains on what, how slowly, and which folder a run uses."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from alignfed.errors import DataUnusable, RequestInvalid
from coordinator.local.demo_plan import (
    FIT_ROWS,
    JUDGE_TOKENS,
    OWN_DATA_SEQUENCE_LENGTH,
    SEQUENCE_LENGTH,
    STEP_TOKENS,
    demo_plan,
)
from coordinator.local.evaluate import choose_versions, rows_for_budget
from coordinator.local.run_choice import choose_run
from coordinator.local.run_record import AgentSpec, HeldOut, RunFolder, RunRecord, read_record, write_record
from coordinator.local.session import next_target
from coordinator.local.setup import RunOptions, assign, choose_sources, fleet_slowdowns, plan_of
from coordinator.local.sources import Domain

RECORD = RunRecord(
    federation="demo",
    base_model="/models/small",
    agents=(AgentSpec(agent_id="agent-1", domain="d", slowdown=2.0, data="/data/d"),),
    held_out=(HeldOut(domain="d", path="/data/held_out.jsonl"),),
    calibration="/data/calibration.jsonl",
    sequence_length=64,
)


@pytest.mark.parametrize(
    ("options", "slowdowns"),
    [
        ({}, (1, 1, 2, 4)),
        ({"agents": 6}, (1, 1, 2, 4, 1, 1)),
        ({"slowdowns": (3.0, 5.0)}, (3, 5)),
        ({"data": (Path("a"), Path("b"))}, (1, 1)),
        ({"data": (Path("a"),), "agents": 3}, (1, 1, 2)),
    ],
    ids=["default", "more", "given", "one-per-file", "several-per-file"],
)
def test_every_agent_gets_a_slowdown(options: dict[str, object], slowdowns: tuple[float, ...]) -> None:
    assert fleet_slowdowns(RunOptions(versions=1, **options)) == slowdowns  # type: ignore[arg-type]


def test_contradictory_fleets_are_refused() -> None:
    with pytest.raises(RequestInvalid, match="2 agents"):
        fleet_slowdowns(RunOptions(versions=1, agents=3, slowdowns=(1.0, 2.0)))
    with pytest.raises(RequestInvalid, match="2 files"):
        choose_sources(RunOptions(versions=1, data=(Path("a"), Path("b"))), 1)


def test_agents_of_one_domain_get_different_parts_of_it() -> None:
    domains = [
        Domain(name=name, train=(Path(f"{name}-1"), Path(f"{name}-2")), held_out=Path("h"), calibration=())
        for name in ("x", "y")
    ]
    agents = assign(domains, (1.0, 1.0, 2.0))
    assert [(agent.agent_id, agent.domain, Path(agent.data).name) for agent in agents] == [
        ("agent-1", "x", "x-1"),
        ("agent-2", "y", "y-1"),
        ("agent-3", "x", "x-2"),
    ]


@pytest.mark.parametrize("rows", [6, 20, 500])
def test_the_demo_plan_never_asks_for_more_calibration_rows_than_there_are(rows: int) -> None:
    plan = demo_plan(RECORD, calibration_rows=rows, versions=8)
    used = plan.calibration
    assert used.fit_rows + used.judge_rows == min(rows, FIT_ROWS + JUDGE_TOKENS // RECORD.sequence_length)
    assert min(used.fit_rows, used.judge_rows) >= 1


def test_the_demo_plan_retains_every_version_it_is_to_show() -> None:
    plan = demo_plan(RECORD, calibration_rows=20, versions=200)
    assert plan.retention.versions > 200


def test_a_step_costs_the_same_however_long_a_row_is() -> None:
    for length in (OWN_DATA_SEQUENCE_LENGTH, SEQUENCE_LENGTH):
        plan = demo_plan(dataclasses.replace(RECORD, sequence_length=length), calibration_rows=20, versions=8)
        assert plan.training.batch_size * plan.training.sequence_length == STEP_TOKENS
        assert plan.calibration.sequence_length == length


def test_a_plan_file_given_is_used_with_the_runs_calibration_rows_unless_it_names_its_own(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text('federation = "mine"\n[base_model]\nname = "m"\n[training]\nsequence_length = 32\n', "utf-8")
    record = dataclasses.replace(RECORD, plan_file=str(path))
    file = plan_of(record, versions=8)
    assert (file.plan.federation, file.plan.training.sequence_length) == ("mine", 32)
    assert file.calibration_data == (Path(RECORD.calibration),)
    path.write_text(path.read_text("utf-8") + '[calibration]\ndata = "own.jsonl"\n', "utf-8")
    assert plan_of(record, versions=8).calibration_data == (tmp_path / "own.jsonl",)


@pytest.mark.parametrize(("count", "most"), [(3, 12), (12, 12), (13, 12), (500, 12), (5, 2)])
def test_evaluated_versions_are_spread_from_the_first_to_the_last(count: int, most: int) -> None:
    numbers = list(range(10, 10 + count))
    chosen = choose_versions(numbers, most)
    assert len(chosen) == len(set(chosen)) == min(count, most)
    assert (chosen[0], chosen[-1]) == (numbers[0], numbers[-1])
    assert chosen == sorted(chosen)


def test_domains_are_evaluated_on_about_as_many_tokens() -> None:
    assert rows_for_budget([10, 10, 10], 20) == 2
    assert rows_for_budget([10, 10, 10], 21) == 3
    assert rows_for_budget([10, 10], 99) == 2


@pytest.mark.parametrize(
    ("head", "versions", "reported", "target"),
    [(0, 8, False, 8), (5, 8, False, 8), (8, 8, False, 8), (9, 8, False, 9), (8, 8, True, 16), (8, 20, True, 20)],
    ids=["new", "interrupted", "without-report", "past-it-without-report", "finished", "finished-and-more-wanted"],
)
def test_a_resumed_run_is_finished_before_it_gets_more(head: int, versions: int, reported: bool, target: int) -> None:
    assert next_target(head, versions, reported=reported) == target


def silent(_text: str) -> None:
    return None


def folder_with_a_run(tmp_path: Path) -> Path:
    folder = RunFolder(tmp_path / "demo")
    folder.root.mkdir()
    write_record(folder, RECORD)
    return folder.root


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_record(RunFolder(folder_with_a_run(tmp_path))) == RECORD


def test_a_damaged_record_is_refused(tmp_path: Path) -> None:
    root = folder_with_a_run(tmp_path)
    (root / "run.json").write_text('{"federation": "demo"}', "utf-8")
    with pytest.raises(RequestInvalid, match="--new"):
        read_record(RunFolder(root))


def test_a_new_folder_starts_a_run_and_cannot_be_resumed(tmp_path: Path) -> None:
    folder, resumed = choose_run(tmp_path / "demo", resume=None, ask=None, say=silent)
    assert (folder.root, resumed) == (tmp_path / "demo", False)
    with pytest.raises(RequestInvalid, match="no run to resume"):
        choose_run(tmp_path / "demo", resume=True, ask=None, say=silent)


@pytest.mark.parametrize(
    ("resume", "ask", "resumed"),
    [
        (True, None, True),
        (False, None, False),
        (None, None, False),
        (None, lambda _question: True, True),
        (None, lambda _question: False, False),
    ],
    ids=["resume", "new", "nobody-there", "answered-yes", "answered-no"],
)
def test_an_existing_run_is_resumed_or_left_alone(
    tmp_path: Path, resume: bool | None, ask: Callable[[str], bool] | None, resumed: bool
) -> None:
    root = folder_with_a_run(tmp_path)
    said: list[str] = []
    folder, is_resumed = choose_run(root, resume=resume, ask=ask, say=said.append)
    assert is_resumed is resumed
    assert (folder.root == root) is resumed
    assert bool(said) is not resumed, "another folder is used without a word"
    if not resumed:
        folder.root.mkdir()
        assert choose_run(root, resume=False, ask=None, say=silent)[0].root == tmp_path / "demo-3"


def test_no_data_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataUnusable, match="does not exist"):
        choose_sources(RunOptions(versions=1, data=(tmp_path / "missing.jsonl",)), 1)
