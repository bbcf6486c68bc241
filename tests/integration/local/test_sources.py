"""Domains from real files: what an agent is given, what is held out and what the server sees never overlap."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from alignfed.errors import DataUnusable
from coordinator.cli.text_files import CHARACTERS_PER_TOKEN, read_records
from coordinator.local.sources import calibration_rows, file_sources, held_out_rows, python_sources, write_domain


def words(number: int) -> str:
    return f"line {number} of a text that is long enough to be told apart from every other line\n"


def jsonl(path: Path, count: int, *, prefix: str = "") -> Path:
    path.write_text(
        "".join(json.dumps({"prompt": prefix + words(i), "completion": "yes"}) + "\n" for i in range(count))
    )
    return path


def test_python_itself_provides_four_domains_without_a_download(tmp_path: Path) -> None:
    sources = python_sources(4)
    assert len(sources) == 4
    for source in sources:
        domain = write_domain(source, tmp_path / source.domain, agents=1, sequence_length=64)
        train = "".join(path.read_text() for path in sorted(domain.train[0].rglob("*.py")))
        held_out = [row["text"] for row in read_records(domain.held_out)]
        calibration = [row["text"] for row in domain.calibration]
        assert len(train) > 50_000
        assert len(held_out) == held_out_rows(64)
        assert len(calibration) >= 16
        assert not set(held_out) & set(calibration)
        assert not any(piece in train for piece in held_out + calibration), f"{source.domain} leaks into training"
        assert all(len(piece) >= 64 * CHARACTERS_PER_TOKEN for piece in held_out)


def test_a_missing_package_is_replaced_by_another(tmp_path: Path) -> None:
    for name in ("asyncio", "email", "xml"):
        (tmp_path / name).mkdir()
        for number in range(4):
            (tmp_path / name / f"{number}.py").write_text(words(number) * 400)
    assert [source.domain for source in python_sources(3, library=tmp_path)] == ["asyncio", "email", "xml"]
    with pytest.raises(DataUnusable, match="--data"):
        python_sources(3, library=tmp_path / "nothing")


def test_rows_of_ones_own_file_keep_their_shape_and_are_dealt_to_its_agents(tmp_path: Path) -> None:
    [source] = file_sources([jsonl(tmp_path / "support.jsonl", 40)])
    domain = write_domain(source, tmp_path / "out", agents=2, sequence_length=16)
    parts = [read_records(path) for path in (*domain.train, domain.held_out)] + [list(domain.calibration)]
    prompts = [row["prompt"] for part in parts for row in part]
    assert len(prompts) == len(set(prompts)) == 40
    assert domain.name == "support"
    assert abs(len(parts[0]) - len(parts[1])) <= 1


def test_a_repeated_row_is_never_trained_and_held_out(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "d.jsonl", 20)
    path.write_text(path.read_text() * 5)
    domain = write_domain(file_sources([path])[0], tmp_path / "out", agents=1, sequence_length=16)
    trained = {row["prompt"] for row in read_records(domain.train[0])}
    assert not trained & {row["prompt"] for row in read_records(domain.held_out)}


def test_rows_without_an_answer_are_left_out_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = jsonl(tmp_path / "d.jsonl", 20)
    blank = [json.dumps({"instruction": f"say {number}", "output": " "}) + "\n" for number in range(3)]
    path.write_text("".join(blank) + path.read_text())
    domain = write_domain(file_sources([path])[0], tmp_path / "out", agents=1, sequence_length=16)
    rows = [*read_records(domain.train[0]), *read_records(domain.held_out), *domain.calibration]
    assert len(rows) == 20
    assert all("prompt" in row for row in rows)
    assert "3 rows without an answer are left out" in caplog.text


def test_a_text_file_is_cut_into_rows(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("".join(words(i) for i in range(200)))
    domain = write_domain(file_sources([tmp_path / "notes.txt"])[0], tmp_path / "out", agents=1, sequence_length=50)
    assert all(300 <= len(row["text"]) < 400 for row in read_records(domain.held_out))


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"", "0 distinct rows"),
        (b'{"text": "a"}\n' * 50, "1 distinct rows"),
        (b'{"text": "a"}\n{"text": ', "d.jsonl:2 is not valid JSON"),
        (b"[1, 2]\n", "d.jsonl:1 is not a JSON object"),
        (b'{"text": "caf\xe9"}\n', "not UTF-8"),
    ],
    ids=["empty", "repeated", "cut-off", "no-object", "latin-1"],
)
def test_an_unusable_file_is_refused_with_its_place(tmp_path: Path, content: bytes, named: str) -> None:
    (tmp_path / "d.jsonl").write_bytes(content)
    with pytest.raises(DataUnusable, match=named):
        write_domain(file_sources([tmp_path / "d.jsonl"])[0], tmp_path / "out", agents=1, sequence_length=16)


def test_missing_and_equally_named_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    first, second = jsonl(tmp_path / "d.jsonl", 20), jsonl(tmp_path / "x" / "d.jsonl", 20)
    with pytest.raises(DataUnusable, match="two domains are called d"):
        file_sources([first, second])
    with pytest.raises(DataUnusable, match="does not exist"):
        file_sources([tmp_path / "missing.jsonl"])


def test_more_agents_than_a_domain_has_data_for_are_refused(tmp_path: Path) -> None:
    source = file_sources([jsonl(tmp_path / "d.jsonl", 12)])[0]
    with pytest.raises(DataUnusable, match="fewer agents"):
        write_domain(source, tmp_path / "out", agents=30, sequence_length=16)


def test_calibration_covers_every_domain_evenly(tmp_path: Path) -> None:
    sources = file_sources([jsonl(tmp_path / f"{name}.jsonl", 100, prefix=name) for name in ("x", "y", "z")])
    domains = [write_domain(source, tmp_path / source.domain, agents=1, sequence_length=16) for source in sources]
    rows = calibration_rows(domains, count=9)
    assert [row["prompt"][0] for row in rows] == ["x", "y", "z"] * 3
    assert len(calibration_rows(domains, count=10_000)) == sum(len(domain.calibration) for domain in domains)
