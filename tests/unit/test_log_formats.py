"""A log line is one line, whatever it quotes: JSON that parses, or text that cannot be mistaken for another line."""

from __future__ import annotations

import io
import json
import logging
import re
import sys
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from alignfed.logs.formats import JsonFormatter, TextFormatter, printable, rfc3339

LINE = re.compile(r"[\x20-\x7e]+")
ANY_TEXT = st.text(st.characters(exclude_categories=[]))  # lone surrogates too: undecodable bytes become such
HOSTILE = "x\n2026-01-01 00:00:00,000 INFO    root: delta accepted\r\x1b[2K\u2028\u202e\ud800"
NAMES = st.text(min_size=1).filter(lambda name: name not in logging.makeLogRecord({}).__dict__)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats() | ANY_TEXT | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def record(message: str, /, *arguments: object, **fields: object) -> logging.LogRecord:
    made = logging.makeLogRecord(
        {"name": "test", "levelno": logging.INFO, "levelname": "INFO", "msg": message, "args": arguments}
    )
    made.__dict__.update(fields)
    return made


def strict(text: str) -> dict[str, Any]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    values: dict[str, Any] = json.loads(text, parse_constant=refuse)
    return values


@settings(max_examples=60, deadline=None)
@given(message=ANY_TEXT, fields=st.dictionaries(NAMES, VALUES, max_size=4))
@example(message=HOSTILE, fields={"delta_id": HOSTILE, "ts": "forged", "level": "forged"})
def test_whatever_is_logged_becomes_one_line_of_json(message: str, fields: dict[str, Any]) -> None:
    line = JsonFormatter().format(record("%s", message, **fields))
    assert LINE.fullmatch(line)
    values = strict(line)
    assert values["message"] == message
    assert (values["level"], values["logger"]) == ("INFO", "test")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", values["ts"])
    for name, value in fields.items():
        if isinstance(value, str) and name not in ("ts", "level", "logger", "message", "exception"):
            assert name in ("trace_id", "span_id") or values[name] == value


@settings(max_examples=60, deadline=None)
@given(message=ANY_TEXT, fields=st.dictionaries(NAMES, VALUES, max_size=4))
@example(message=HOSTILE, fields={"delta_id": HOSTILE})
def test_whatever_is_logged_becomes_one_printable_line_of_text(message: str, fields: dict[str, Any]) -> None:
    line = TextFormatter().format(record("%s", message, **fields))
    assert line.isprintable()
    assert len(line.splitlines()) == 1


def test_a_line_for_people_reads_well() -> None:
    fields = {"delta_id": "d-1", "weight": 0.123456, "reason": "", "detail": 'so "it" is', "version": 3}
    line = TextFormatter(lambda: ("ab" * 16, "cd" * 8)).format(record("delta merged", **fields))
    assert line.endswith(
        'INFO    test: delta merged delta_id=d-1 weight=0.1235 detail="so \\"it\\" is" version=3 trace_id=' + "ab" * 16
    )


def test_what_is_printable_stays_as_it_is() -> None:
    assert printable("Größe 3 µm, 模型") == "Größe 3 µm, 模型"
    assert printable("a\tb\x1b[1m") == "a\\tb\\x1b[1m"


def test_a_line_in_a_span_has_its_ids() -> None:
    values = strict(JsonFormatter(lambda: ("ab" * 16, "cd" * 8)).format(record("x", trace_id="forged")))
    assert (values["trace_id"], values["span_id"]) == ("ab" * 16, "cd" * 8)
    assert "trace_id" not in strict(JsonFormatter().format(record("x")))


def test_a_traceback_is_in_the_line_and_cannot_forge_one() -> None:
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        failed = record("it failed")
        failed.exc_info = sys.exc_info()
    line = JsonFormatter().format(failed)
    assert LINE.fullmatch(line)
    assert "Traceback" in strict(line)["exception"]
    first, *others = TextFormatter().format(failed).splitlines()
    assert first.endswith("it failed")
    assert len(others) > 2
    assert all(other.startswith("    ") and other.isprintable() for other in others)


def test_a_defective_log_call_keeps_its_line() -> None:
    assert strict(JsonFormatter().format(record("%d deltas", "many")))["message"] == "%d deltas ('many',)"


def test_times_are_rfc_3339_in_utc() -> None:
    assert rfc3339(0.0) == "1970-01-01T00:00:00.000Z"
    assert rfc3339(1_767_323_045.9996) == "2026-01-02T03:04:06.000Z"


@pytest.mark.parametrize(("log_format", "as_json"), [("auto", True), ("json", True), ("text", False)])
def test_a_log_that_nobody_watches_is_json(log_format: str, as_json: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    from alignfed.logs.setup import logs_json, set_up_logging

    root, stream = logging.getLogger(), io.StringIO()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", root.level)
    monkeypatch.setattr(sys, "stderr", stream)
    try:
        set_up_logging("info", log_format)
        logging.getLogger("test").info("hello", extra={"delta_id": "d-1"})
        assert logs_json() is as_json
    finally:
        logging.captureWarnings(capture=False)
    line = stream.getvalue()
    assert line.count("\n") == 1
    assert ("delta_id=d-1" in line) is not as_json
    assert not as_json or strict(line)["delta_id"] == "d-1"
