"""The operator's command `alignfed`: assembled from one file per command group."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

import click

from alignfed import __version__
from alignfed.settings import exit_codes
from coordinator.cli.agents import agents_group
from coordinator.cli.backup import backup_command, restore_command
from coordinator.cli.ca import ca_group
from coordinator.cli.control import pause_command, resume_command, rollback_command
from coordinator.cli.coordinator import coordinator_command
from coordinator.cli.dead_letters import dead_letters_group
from coordinator.cli.doctor.command import doctor_command
from coordinator.cli.enroll import enroll_command, revoke_command, tokens_group
from coordinator.cli.explain import explain_command
from coordinator.cli.export import export_command
from coordinator.cli.failpoints import arm_failpoints, failpoints_command
from coordinator.cli.federations import federations_group
from coordinator.cli.init import init_command
from coordinator.cli.keys import keys_group
from coordinator.cli.replay import replay_command
from coordinator.cli.status import status_command
from coordinator.cli.top.command import top_command
from coordinator.cli.up import up_command
from coordinator.cli.versions import versions_command
from coordinator.cli.worker import worker_command

_LOADED_BY_NAME = {"bench": "bench.cli.main:bench_group"}
"""Commands outside the coordinator: it must work, and be understood, without them."""


class _Commands(click.Group):
    """A group that knows of more commands than it has loaded."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return every command's name."""
        return sorted([*super().list_commands(ctx), *_LOADED_BY_NAME])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, loading it if need be."""
        if cmd_name not in _LOADED_BY_NAME:
            return super().get_command(ctx, cmd_name)
        module, _, name = _LOADED_BY_NAME[cmd_name].partition(":")
        found: click.Command = getattr(importlib.import_module(module), name)
        return found


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="alignfed")
def alignfed() -> None:
    """Operate AlignFed: fine-tune one LoRA adapter on a fleet of unequal machines, without waiting for the slow ones.

    `alignfed up` runs a whole federation on this machine. On several machines, run `alignfed coordinator` and `alignfed
    worker` on one store, create a federation with `alignfed federations create`, and start `alignfed-agent run`
    wherever there is private data.

    Commands exit with 0 when done, 1 when they failed, and 2 on wrong usage or settings.
    """
    arm_failpoints()


for command in (
    up_command,
    init_command,
    coordinator_command,
    worker_command,
    federations_group,
    status_command,
    top_command,
    doctor_command,
    versions_command,
    explain_command,
    agents_group,
    ca_group,
    enroll_command,
    tokens_group,
    revoke_command,
    dead_letters_group,
    pause_command,
    resume_command,
    rollback_command,
    export_command,
    keys_group,
    replay_command,
    backup_command,
    restore_command,
    failpoints_command,
):
    alignfed.add_command(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line.

    Args:
        arguments: Without the program's name; None for those of the process.
    """
    with exit_codes():
        alignfed(args=arguments, prog_name="alignfed")
