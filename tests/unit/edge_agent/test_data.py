"""Sources of data: what is read, what is skipped and counted, and errors that name file and line."""

from __future__ import annotations

import json
import os
import sys
import types
from pathlib import Path

import pytest

from alignfed.errors import DataUnusable
from edge_agent.data.sources import MAX_TEXT_BYTES, read_corpus


def jsonl(path: Path, *rows: object) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return str(path)


def test_rows_of_different_shapes_may_share_a_file(tmp_path: Path) -> None:
    source = jsonl(tmp_path / "a.jsonl", {"text": "one"}, {"question": "q", "answer": "a"}, {"text": "two"})
    corpus = read_corpus([source])
    assert corpus.shapes() == {"question/answer": 1, "text": 2}
    assert [row.place.rpartition(":")[2] for row in corpus.rows] == ["1", "2", "3"]


def test_blank_lines_and_a_byte_order_mark_are_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"text": "one"}\r\n\r\n   \n{"text": "two"}')
    assert [row.answer for row in read_corpus([str(path)]).rows] == ["one", "two"]


def test_a_pattern_names_several_files_in_order(tmp_path: Path) -> None:
    jsonl(tmp_path / "b.jsonl", {"text": "b"})
    jsonl(tmp_path / "a.jsonl", {"text": "a"})
    (tmp_path / "deep").mkdir()
    jsonl(tmp_path / "deep" / "c.jsonl", {"text": "c"})
    assert [row.answer for row in read_corpus([f"{tmp_path}/*.jsonl"]).rows] == ["a", "b"]
    assert len(read_corpus([f"{tmp_path}/**/*.jsonl"]).rows) == 3


def test_a_relative_pattern_is_relative_to_where_one_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jsonl(tmp_path / "a.jsonl", {"text": "a"})
    monkeypatch.chdir(tmp_path)
    assert len(read_corpus(["*.jsonl"]).rows) == 1


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"text": "TOP-SECRET', "not valid JSON"),
        (b'{"text": "TOP-SECRET\xff"}', "not UTF-8"),
        (b"[" * 200_000, "not valid JSON|nested too deeply"),
        (b'{"unknown": "TOP-SECRET"}', "no known shape"),
        (b"17", "not a JSON object"),
    ],
)
def test_a_bad_line_is_named_by_file_and_line_and_not_quoted(tmp_path: Path, line: bytes, said: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_bytes(b'{"text": "fine"}\n\n' + line + b"\n")
    with pytest.raises(DataUnusable, match=said) as caught:
        read_corpus([str(path)])
    assert f"{path}:3" in caught.value.message
    assert "TOP-SECRET" not in caught.value.message


def test_an_empty_or_missing_source_is_an_error_that_names_it(tmp_path: Path) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.write_text("\n\n")
    (tmp_path / "nothing").mkdir()
    for source in (str(empty), str(tmp_path / "nothing"), str(tmp_path / "missing.jsonl"), f"{tmp_path}/*.nope"):
        with pytest.raises(DataUnusable) as caught:
            read_corpus([source])
        assert source in caught.value.message
    with pytest.raises(DataUnusable, match="--data"):
        read_corpus([])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = Path(jsonl(tmp_path / "a.jsonl", {"text": "a"}))
    path.chmod(0)
    with pytest.raises(DataUnusable, match="permissions"):
        read_corpus([str(path)])


def test_a_folder_gives_its_text_files_and_counts_what_it_skips(tmp_path: Path) -> None:
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "b.py").write_text("print('b')")
    (tmp_path / "a.md").write_text("# a")
    (tmp_path / "binary.py").write_bytes(b"\0\1\2")
    (tmp_path / "latin.txt").write_bytes("früh".encode("latin-1"))
    (tmp_path / "empty.py").write_text("  \n")
    (tmp_path / "big.txt").write_bytes(b"x" * (MAX_TEXT_BYTES + 1))
    (tmp_path / "image.png").write_bytes(b"png")
    for hidden in (".git", "__pycache__"):
        (tmp_path / hidden).mkdir()
        (tmp_path / hidden / "c.py").write_text("hidden")
    corpus = read_corpus([str(tmp_path)])
    assert [Path(row.place).name for row in corpus.rows] == ["a.md", "b.py"]
    assert corpus.skipped_files == {"binary": 1, "empty": 1, "not UTF-8": 1, "too large": 1}


def test_the_endings_that_count_as_text_can_be_chosen(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("a")
    (tmp_path / "b.foo").write_text("b")
    corpus = read_corpus([str(tmp_path)], extensions=(".FOO ",))
    assert [row.answer for row in corpus.rows] == ["b"]


def test_a_folder_of_records_is_told_how_to_name_them(tmp_path: Path) -> None:
    jsonl(tmp_path / "a.jsonl", {"text": "a"})
    with pytest.raises(DataUnusable, match=r"\*\.jsonl"):
        read_corpus([str(tmp_path)])


def test_a_single_named_file_must_be_text_and_not_an_array_of_records(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("all of it")
    assert read_corpus([str(tmp_path / "a.txt")]).rows[0].answer == "all of it"
    (tmp_path / "b.json").write_text("[]")
    with pytest.raises(DataUnusable, match="one record per line"):
        read_corpus([str(tmp_path / "b.json")])
    (tmp_path / "c.bin").write_bytes(b"\0")
    with pytest.raises(DataUnusable, match="binary"):
        read_corpus([str(tmp_path / "c.bin")])


def test_a_hub_data_set_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataUnusable, match=r"pip install 'alignfed\[hub\]'"):
        read_corpus(["hub:openai/gsm8k:train:main"])


def test_a_hub_data_set_is_read_by_name_split_and_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str | None, str]] = []

    def load_dataset(name: str, config: str | None, *, split: str) -> list[dict[str, str]]:
        asked.append((name, config, split))
        if name == "no/such":
            raise FileNotFoundError("no/such")
        return [{"question": "q", "answer": "a"}]

    library = types.ModuleType("datasets")  # stands for the library, whose data sets need a network
    library.load_dataset = load_dataset  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", library)
    rows = read_corpus(["hub:openai/gsm8k:test:main", "hub:squad"]).rows
    assert asked == [("openai/gsm8k", "main", "test"), ("squad", None, "train")]
    assert [row.shape for row in rows] == ["question/answer"] * 2
    with pytest.raises(DataUnusable, match="no/such cannot be loaded"):
        read_corpus(["hub:no/such"])
