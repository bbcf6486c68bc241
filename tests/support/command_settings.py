"""What the commands take from their environment, so that deployments are held against the real options."""

from __future__ import annotations

import os
from collections.abc import Sequence
from unittest import mock

import click

from coordinator.cli.main import alignfed
from edge_agent.cli import main as alignfed_agent

PROGRAMS: dict[str, click.Group] = {"alignfed": alignfed, "alignfed-agent": alignfed_agent}
PREFIX = "ALIGNFED_"


def command_of(arguments: Sequence[str]) -> click.Command:
    """Return the command that a command line such as `alignfed worker --threads 2` runs."""
    group = PROGRAMS[os.path.basename(arguments[0])]  # noqa: PTH119  # a program's name, not a file
    command = group.get_command(click.Context(group), arguments[1])
    assert command is not None, f"{arguments[0]} has no command {arguments[1]}"
    return command


def variables_of(command: click.Command) -> dict[str, click.Option]:
    """Return the environment variables that a command reads, with their options."""
    prefix = command.context_settings.get("auto_envvar_prefix")
    found: dict[str, click.Option] = {}
    for option in command.params:
        if not isinstance(option, click.Option) or not option.expose_value:
            continue
        if isinstance(option.envvar, str):
            found[option.envvar] = option
        elif prefix and option.name:
            found[f"{prefix}_{option.name.upper()}"] = option
    return found


def settings_of(arguments: Sequence[str], environment: dict[str, str]) -> dict[str, object]:
    """Return the settings with which a command line and an environment would run a command; nothing is run.

    Raises:
        click.UsageError: An option does not exist, or a value is not what it takes.
    """
    command = command_of(arguments)
    unknown = {name for name in environment if name.startswith(PREFIX)} - variables_of(command).keys()
    if unknown:
        raise click.UsageError(f"{arguments[0]} {arguments[1]} reads no {', '.join(sorted(unknown))}")
    with mock.patch.dict(os.environ, environment, clear=True):
        context = command.make_context(arguments[1], list(arguments[2:]))
    return dict(context.params)
