"""The comparison with Flower: both sides carry the same bytes, and what is missing is said."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from alignfed.errors import RequestInvalid
from alignfed.plan import Encoding
from bench.cli.flower import flower_command
from bench.flower.contest import Costs, Found, tiny_contests
from bench.flower.goals import CONTESTS
from bench.flower.installed import Flower, find_flower
from bench.flower.payloads import LARGE, MANY_TENSORS, SMALL
from bench.flower.processor import Meter
from bench.flower.report import summary
from bench.speed.goals import GOALS, Row
from bench.speed.report import table

OURS = [goal for it in CONTESTS for goal in (it.upload, it.merge) if goal is not None]


def test_goals_are_those_of_the_design() -> None:
    assert {goal.number: goal.bound for goal in OURS} == {"6a": 10, "7a": 12, "6b": 4, "7b": 8, "6c": 100}
    assert not {goal.number for goal in OURS} & {goal.number for goal in GOALS}


def test_payloads_have_the_bytes_that_goals_speak_of() -> None:
    assert SMALL.total_bytes == MANY_TENSORS.total_bytes == 1_843_200
    assert LARGE.total_bytes == 83_886_080
    assert len(MANY_TENSORS.tensors) == 120
    assert [spec.name for spec in MANY_TENSORS.tensors] == sorted(spec.name for spec in MANY_TENSORS.tensors)
    assert all(it.payload.total_bytes < 5_000_000 for it in tiny_contests())


@pytest.mark.parametrize("merged", [0, 4])
def test_a_federation_that_is_to_merge_does_so_with_every_client(merged: int) -> None:
    plan = SMALL.plan("x", merged_at_once=merged)
    assert plan.delta_encoding is Encoding.FP32
    assert plan.buffer.size == (4 if merged else 10_000)


def test_without_flower_the_error_says_how_to_get_it(tmp_path: Path) -> None:
    for python in (tmp_path / "python", Path(sys.executable)):  # none at all, and one without Flower
        with pytest.raises(RequestInvalid, match="make bench-flower"):
            find_flower(python)
    done = CliRunner().invoke(flower_command, ["--flower", str(tmp_path / "python"), "--out", str(tmp_path / "out")])
    assert done.exit_code != 0
    assert "make bench-flower" in done.output
    assert not (tmp_path / "out").exists()


def test_flower_keeps_to_this_machine_and_to_its_own_folder(tmp_path: Path) -> None:
    environment = Flower(python=tmp_path / "bin" / "python", versions={}).environment(tmp_path / "home")
    assert environment["FLWR_HOME"] == str(tmp_path / "home")
    assert environment["FLWR_TELEMETRY_ENABLED"] == "0"
    assert environment["FLWR_DISABLE_UPDATE_CHECK"] == "1"
    assert environment["PATH"].startswith(f"{tmp_path / 'bin'}:")
    assert "127.0.0.1" in environment["no_proxy"]


def test_processor_time_is_that_of_each_block() -> None:
    meter = Meter({"me": os.getpid()})
    with meter.reading():
        ended = time.process_time() + 0.05
        while time.process_time() < ended:
            pass
    with meter.reading():
        pass
    busy, idle = meter.take()
    assert 0.04 < busy["me"] < 5.0
    assert idle["me"] < busy["me"]
    assert meter.take() == []


def test_reports_name_flower_and_what_falls_short() -> None:
    rows = [Row(goal=OURS[0], ours=(300.0,), ceilings=(10.0,)), Row(goal=OURS[1], ours=(100.0,), ceilings=(10.0,))]
    flower = Flower(python=Path("python"), versions={"flwr": "1.42.0", "python": "3.11.7", "numpy": "2.4.6"})
    costs = Costs(ours={"coordinator": 1.0, "store": 0.5}, theirs={"superlink": 6.0})
    figures = summary([Found(row=row, costs=costs) for row in rows], flower, clients=4, tiny=True)
    assert figures["processor_seconds"]["6a"]["flower"] == {"superlink": 6.0}
    assert str(costs) == "1.5 s of processor time, against 6 s (4.0 times as much)"
    assert figures["flower"]["flwr"] == "1.42.0"
    assert [(it["number"], it["reached"]) for it in figures["goals"]] == [("6a", True), ("7a", False)]
    assert (figures["clients"], figures["tiny_payloads"]) == (4, True)
    assert "falls short" in table(rows)
