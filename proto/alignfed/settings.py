"""How both commands read their settings: flag > `ALIGNFED_*` environment > TOML file > default, shown once at start.

click resolves the order by itself (`auto_envvar_prefix` and `default_map`); this module adds the TOML file, the printed
summary with secrets hidden, and one mapping from errors to exit codes: 0 done, 1 failed, 2 wrong usage or settings.
"""

from __future__ import annotations

import logging
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from alignfed.errors import AlignFedError, PlanInvalid, RequestInvalid
from alignfed.logs.setup import logs_json, set_up_logging
from alignfed.redaction import HIDDEN, hide_query_secrets

__all__ = [
    "ENV_PREFIX",
    "EXIT_FAILED",
    "EXIT_USAGE",
    "announce",
    "config_option",
    "describe_settings",
    "exit_codes",
    "parse_listen",
    "print_settings",
    "redact",
    "set_up_logging",
    "warn_of_visible_secrets",
]

logger = logging.getLogger(__name__)

ENV_PREFIX = "ALIGNFED"
EXIT_FAILED = 1
EXIT_USAGE = 2

_SECRET_NAME = re.compile(r"(?:password|token|secret)(?!_file$)|key$")
_URL_PASSWORD = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*://)\S*@")
_SOURCES = {
    ParameterSource.COMMANDLINE: "flag",
    ParameterSource.ENVIRONMENT: "environment",
    ParameterSource.DEFAULT_MAP: "file",
    ParameterSource.DEFAULT: "default",
}


def config_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--config FILE` to a click command: a TOML file whose keys are the options' names (`-` or `_`)."""
    return click.option(
        "--config",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        is_eager=True,
        expose_value=False,
        callback=_load_config,
        help="TOML file with settings; flags and ALIGNFED_* variables win over it.",
    )(command)


def _load_config(context: click.Context, _parameter: click.Parameter, path: Path | None) -> None:
    if path is None:
        return
    try:
        values = {key.replace("-", "_"): value for key, value in tomllib.loads(path.read_text("utf-8")).items()}
    except (OSError, ValueError, RecursionError) as error:
        raise click.BadParameter(f"{path} is not readable TOML: {error}") from error
    known = {parameter.name: parameter for parameter in context.command.params if parameter.name}
    unknown = sorted(values.keys() - known.keys())
    if unknown:
        raise click.BadParameter(
            f"{path} sets {', '.join(unknown)}; {context.command.name} knows {', '.join(sorted(known))}"
        )
    settings = {name: _as_flag(known[name], value, path) for name, value in values.items()}
    context.default_map = {**(context.default_map or {}), **settings}


def _as_flag(parameter: click.Parameter, value: object, path: Path) -> object:
    """Return a file's setting as the text a flag would have, so that both are checked by the same rules."""
    if parameter.multiple:
        return tuple(_as_text(parameter, item, path) for item in (value if isinstance(value, list) else [value]))
    return _as_text(parameter, value, path)


def _as_text(parameter: click.Parameter, value: object, path: Path) -> object:
    is_switch = isinstance(parameter.type, click.types.BoolParamType)
    if is_switch and isinstance(value, bool):
        return value
    try:
        if isinstance(value, str | int | float) and not isinstance(value, bool) and not is_switch:
            return str(value)
    except ValueError:
        pass  # a number of thousands of digits
    wanted = "true or false" if is_switch else "text or a number"
    raise click.BadParameter(f"{path} sets {parameter.name} to what it cannot be: give {wanted}")


def redact(value: object) -> str:
    """Return `value` as text, with the user and passwords of a URL hidden, whatever characters they contain."""
    return hide_query_secrets(_URL_PASSWORD.sub(rf"\g<scheme>{HIDDEN}@", str(value)))


def _redacted_url(value: object) -> str:
    """Return a URL as `redact` does, and what was meant as one too: without a scheme, all before the host is hidden."""
    text = redact(value)
    _, at, place = text.rpartition("@")
    return f"{HIDDEN}@{place}" if at and "://" not in text else text


def describe_settings(context: click.Context) -> str:
    """Return every setting of a command with its source, one per line, secrets hidden."""
    lines = []
    for parameter in context.command.params:
        name = parameter.name
        if name is None or name not in context.params:
            continue
        value = context.params[name]
        hidden = bool(_SECRET_NAME.search(name)) and value not in (None, "")
        source = context.get_parameter_source(name)
        shown = HIDDEN if hidden else _redacted_url(value) if name.endswith("url") else redact(value)
        lines.append(f"  {name} = {shown}  ({_SOURCES.get(source, 'default') if source else 'default'})")
    return "\n".join(lines)


def print_settings(context: click.Context) -> None:
    """Show every setting with its source once, on stderr or in the log as one line, and warn of visible secrets."""
    warn_of_visible_secrets(context)
    said = describe_settings(context)
    if logs_json():
        lines = [line.strip() for line in said.splitlines()]
        logger.info("%s settings", context.command_path, extra={"settings": lines})
        return
    click.echo(f"{context.command_path} settings:\n{said}", err=True)


def warn_of_visible_secrets(context: click.Context) -> None:
    """Warn of a password on the command line, which every user of this machine can read there."""
    for name, value in context.params.items():
        visible = isinstance(value, str) and _has_password(value)
        if visible and context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            option = name.replace("_", "-")
            logger.warning(
                "--%s has a password on the command line, where every user of this machine can read it: give it as "
                "%s_%s, in a file with --config, or name a file with it in the URL (?password_file=PATH)",
                option,
                ENV_PREFIX,
                name.upper(),
            )


def _has_password(url: str) -> bool:
    found = _URL_PASSWORD.search(url)
    return hide_query_secrets(url) != url or (found is not None and ":" in found[0].partition("://")[2])


def announce(text: str) -> None:
    """Tell people something on stderr; in a JSON log as one line."""
    if logs_json():
        logger.info("%s", text)
        return
    click.echo(text, err=True)


@contextmanager
def exit_codes() -> Iterator[None]:
    """Turn AlignFed's errors into one line on stderr and an exit code; anything else keeps its traceback."""
    try:
        yield
    except (PlanInvalid, RequestInvalid) as error:
        _fail(error, EXIT_USAGE)
    except AlignFedError as error:
        _fail(error, EXIT_FAILED)


def _fail(error: AlignFedError, code: int) -> None:
    if logs_json():
        logger.error("%s", error.message, extra={"reason": error.reason})
        sys.exit(code)
    click.echo(f"error: {error.message} [{error.reason}]", err=True)
    sys.exit(code)


def parse_listen(value: str) -> tuple[str, int]:
    """Split `host:port` (or `[v6]:port`).

    Raises:
        RequestInvalid: It is not of that form, or the port is not 0 to 65535.
    """
    host, colon, port = value.rpartition(":")
    if not colon or not port.isdecimal() or not 0 <= int(port) <= 65_535:
        raise RequestInvalid(f"{value!r} is not host:port, for example 127.0.0.1:7300")
    return host.strip("[]"), int(port)
