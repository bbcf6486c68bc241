"""Settings files of every process: TOML that click turns into parameters, or refuses as wrong usage."""

from __future__ import annotations

import functools
import random
import tempfile
from pathlib import Path

import click

from alignfed.settings import describe_settings
from coordinator.cli.coordinator import coordinator_command
from coordinator.cli.worker import worker_command
from edge_agent.cli import run as agent_command
from tests.fuzz.mutations import mutate_bytes
from tests.fuzz.target import Target
from tests.fuzz.targets.plans import mutate as mutate_toml

ROOT = Path(__file__).parents[3]
COMMANDS: tuple[tuple[click.Command, Path], ...] = (
    (coordinator_command, ROOT / "coordinator" / "cli" / "templates" / "coordinator.toml"),
    (worker_command, ROOT / "coordinator" / "cli" / "templates" / "worker.toml"),
    (agent_command, ROOT / "edge_agent" / "templates" / "agent.toml"),
)
"""An input's first byte chooses among these."""


def seeds() -> list[bytes]:
    return [bytes((index,)) + _settled(path.read_bytes()) for index, (_, path) in enumerate(COMMANDS)]


def _settled(template: bytes) -> bytes:
    """Return a template with what it only suggests, in comments, set."""
    lines = [line.removeprefix(b"# ") if b" = " in line else line for line in template.split(b"\n")]
    return b"\n".join(line for line in lines if b" = " in line)


def mutate(data: bytes, rng: random.Random) -> bytes:
    return data[:1] + (mutate_toml(data[1:], rng) if rng.random() < 0.8 else mutate_bytes(data[1:], rng))


def check(data: bytes) -> str:
    command, _ = COMMANDS[data[0] % len(COMMANDS)] if data else COMMANDS[0]
    path = Path(_holder().name) / "settings.toml"
    path.write_bytes(data[1:])
    try:
        with command.make_context(command.name, ["--config", str(path)]) as context:
            assert describe_settings(context)
    except click.UsageError as error:
        return "wrong usage" if error.format_message() else "refused without a word"
    return "accepted"


@functools.cache
def _holder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="alignfed-fuzz-")


TARGET = Target(name="settings", seeds=seeds, mutate=mutate, check=check, seconds=2.0)
