"""Sets up the log of a process: where it goes, from which level on, and in which form."""

from __future__ import annotations

import logging
import sys

from alignfed.logs.formats import JsonFormatter, TextFormatter

AUTO, JSON, TEXT = "auto", "json", "text"
LOG_FORMATS = (AUTO, JSON, TEXT)
"""`auto` is text on a terminal and JSON everywhere else."""


def set_up_logging(level: str, log_format: str = AUTO) -> None:
    """Log to stderr, one line per event. Does nothing where the root logger has handlers already.

    Args:
        level: Name of the lowest level that is logged, such as `info`.
        log_format: One of `LOG_FORMATS`.
    """
    from alignfed.tracing.spans import current_ids  # takes a moment to load, and --help sets up no log

    if logging.getLogger().handlers:
        return
    as_json = log_format == JSON or (log_format == AUTO and not sys.stderr.isatty())
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(current_ids) if as_json else TextFormatter(current_ids))
    logging.basicConfig(level=level.upper(), handlers=[handler])
    if as_json:
        logging.captureWarnings(capture=True)


def logs_json() -> bool:
    """Whether this process logs JSON: other lines for people then belong into the log too."""
    return any(isinstance(handler.formatter, JsonFormatter) for handler in logging.getLogger().handlers)
