"""The two forms of a log line: JSON, one object per line, and text for a terminal.

Whatever a message or a field quotes, a line stays one line: JSON escapes, and the text form shows what is not printable
as escapes. Fields are what a call passes as `extra`.
"""

from __future__ import annotations

import json
import logging
import math
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

TraceIds = Callable[[], tuple[str, str] | None]
"""Returns trace id and span id of what runs right now, in hexadecimal, or None outside every span."""

_NOT_FIELDS = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime"}
_RESERVED = ("ts", "level", "logger", "message", "trace_id", "span_id", "exception")
_BARE = re.compile(r"[^\s\"'=\\]+")


def no_trace() -> None:
    """Return that there is no span."""
    return


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """Return what a log call passed as `extra`, in its order."""
    return {name: value for name, value in record.__dict__.items() if name not in _NOT_FIELDS}


class JsonFormatter(logging.Formatter):
    """One JSON object per line, in ASCII: `ts`, `level`, `logger`, `message`, the fields, and the ids of a span.

    Args:
        trace_ids: Tells the span that runs.
    """

    def __init__(self, trace_ids: TraceIds = no_trace) -> None:
        super().__init__()
        self._trace_ids = trace_ids

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end."""
        values: dict[str, Any] = {
            "ts": rfc3339(record.created),
            "level": record.levelname,
            "logger": record.name,
            "message": message_of(record),
        }
        values |= {name: _plain(value) for name, value in fields_of(record).items() if name not in _RESERVED}
        ids = self._trace_ids()
        if ids is not None:
            values["trace_id"], values["span_id"] = ids
        trouble = _trouble(self, record)
        if trouble:
            values["exception"] = trouble
        return json.dumps(values, ensure_ascii=True, allow_nan=False, separators=(", ", ": "))


class TextFormatter(logging.Formatter):
    """Time, level, logger and message, then the fields as `name=value`; a traceback follows indented.

    Args:
        trace_ids: Tells the span that runs; only the trace id is shown.
    """

    def __init__(self, trace_ids: TraceIds = no_trace) -> None:
        super().__init__()
        self._trace_ids = trace_ids

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, and the indented lines of a traceback."""
        head = f"{self.formatTime(record)} {record.levelname:<7s} {record.name}: {printable(message_of(record))}"
        fields = {name: value for name, value in fields_of(record).items() if value is not None and value != ""}
        ids = self._trace_ids()
        if ids is not None:
            fields["trace_id"] = ids[0]
        line = " ".join([head, *(f"{printable(name)}={_shown(value)}" for name, value in fields.items())])
        trouble = _trouble(self, record)
        return "\n".join([line, *(f"    {printable(part)}" for part in trouble.split("\n") if part)])


def rfc3339(seconds: float) -> str:
    """Return Unix seconds as RFC 3339 in UTC with milliseconds, such as `2026-01-02T03:04:05.678Z`."""
    whole, milliseconds = divmod(round(seconds * 1000), 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{milliseconds:03d}Z"


def printable(text: str) -> str:
    r"""Return `text` with everything that is not printable (line ends, terminal controls, bidi marks) as `\x..`."""
    if text.isprintable():
        return text
    return "".join(
        part if part.isprintable() else part.encode("unicode_escape", "backslashreplace").decode() for part in text
    )


def message_of(record: logging.LogRecord) -> str:
    """Return a record's message; one whose arguments do not fit it is shown as it was given."""
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 - a defective log call must not cost the line
        return f"{record.msg} {record.args!r}"


def _trouble(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    """Return the traceback and the stack that a record carries, or nothing."""
    parts = []
    if record.exc_info:
        parts.append(formatter.formatException(record.exc_info))
    if record.stack_info:
        parts.append(record.stack_info)
    return "\n".join(parts)


def _plain(value: Any) -> Any:
    """Return a field's value as JSON has it; what JSON lacks becomes text."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value)


def _shown(value: Any) -> str:
    """Return a field's value for people: bare where that is clear, quoted otherwise."""
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    if _BARE.fullmatch(text) and text.isprintable():
        return text
    return printable(json.dumps(text, ensure_ascii=False))
