"""A race is read by when a loss was first reached; rows are dealt once, and slow agents hold what no fast one has."""

from __future__ import annotations

from bench.federation.data import Domain
from bench.flower.race.curve import Point, Run, table, targets_of
from bench.flower.race.ground import dealt
from bench.flower.race.terms import Terms, contenders
from coordinator.worker.calibration_rows import CalibrationRow


def run(name: str, *points: tuple[float, float]) -> Run:
    return Run(
        name=name,
        points=tuple(Point(seconds=seconds, loss=loss) for seconds, loss in points),
        trainings=len(points),
        late=0,
    )


FLOWER = run("flower", (0.0, 3.0), (16.0, 2.8), (32.0, 2.7))
OURS = run("ours", (0.0, 3.0), (1.0, 2.9), (2.0, 2.75), (3.0, 2.76))


def test_a_target_is_reached_by_the_first_version_that_is_as_good() -> None:
    first, second = targets_of(FLOWER, [OURS])
    assert (first.round, first.loss, first.seconds) == (1, 2.8, {"flower": 16.0, "ours": 2.0})
    assert second.seconds == {"flower": 32.0, "ours": None}
    assert OURS.best == 2.75
    assert run("same", (0.0, 3.0), (16.0, 2.8001)).seconds_to(2.8) == 16.0
    assert run("worse", (0.0, 3.0), (16.0, 2.81)).seconds_to(2.8) is None


def test_the_table_says_never_where_a_loss_was_not_reached() -> None:
    lines = table([FLOWER, OURS]).splitlines()
    assert lines[2].split() == ["1", "2.8000", "16.0", "2.0"]
    assert lines[3].split() == ["2", "2.7000", "32.0", "never"]
    assert ["last", "loss", "2.7000", "2.7600"] in [line.split() for line in lines]


def domain(name: str, rows: int) -> Domain:
    return Domain(
        name=name,
        train=tuple(CalibrationRow(prompt="", answer=f"{name} {number}") for number in range(rows)),
        calibration=(),
        tuning=(),
        test=(),
    )


def test_every_row_is_dealt_once_and_domains_go_to_neighbours_in_speed() -> None:
    domains = [domain(name, 5) for name in ("a", "b", "c", "d")]
    shares = dealt(domains, 8)
    assert [share[0].answer[0] for share in shares] == ["a", "a", "b", "b", "c", "c", "d", "d"]
    rows = [row for share in shares for row in share]
    assert sorted(row.answer for row in rows) == sorted(row.answer for one in domains for row in one.train)


def test_a_fleet_smaller_than_the_domains_has_rows_for_each_agent() -> None:
    assert all(dealt([domain(name, 5) for name in ("a", "b", "c")], 2))


def test_only_the_control_waits_and_only_the_default_has_rows_of_its_own() -> None:
    terms = Terms()
    ways = {way.name: way for way in contenders(terms)}
    assert [name for name, way in ways.items() if way.waits] == ["synchronous"]
    assert ways["synchronous"].buffer == len(terms.slowdowns)
    assert [name for name, way in ways.items() if way.calibrated] == ["default"]
