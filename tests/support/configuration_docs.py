"""Writes docs/configuration.md from the commands and the plan's template (`make docs`)."""

from __future__ import annotations

from pathlib import Path

import click

from coordinator.cli.coordinator import coordinator_command
from coordinator.cli.up import up_command
from coordinator.cli.worker import worker_command
from edge_agent.cli import run as agent_run_command

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "configuration.md"
PLAN_TEMPLATE = ROOT / "coordinator" / "cli" / "templates" / "federation.toml"

INTRODUCTION = """# Configuration reference

Generated from the commands and the plan's template; a test keeps it true. Every setting can be a flag, an environment
variable or a key of the TOML file given with `--config`; the first of these wins. Keys in a file are the flags' names
without the leading dashes.
"""

TRACES = """## Traces

Coordinator, worker and agent read OpenTelemetry's standard variables; without them nothing is traced. Tracing needs the
extra `tracing`. More in [Logs and traces](tracing.md).

| environment | default | meaning |
|---|---|---|
| `OTEL_EXPORTER_OTLP_ENDPOINT` |  | A collector, such as `http://127.0.0.1:4317`, over gRPC; turns tracing on. |
| `OTEL_TRACES_EXPORTER` | `otlp` | `otlp`, `console` (spans to stderr) or `none`. |
| `OTEL_SERVICE_NAME` | `alignfed-coordinator`, `alignfed-worker`, `alignfed-agent` | What the process is called. |
| `OTEL_TRACES_SAMPLER` | `parentbased_always_on` | Which traces are recorded. |
"""

COMMANDS = (
    ("alignfed coordinator", coordinator_command),
    ("alignfed worker", worker_command),
    ("alignfed-agent run", agent_run_command),
    ("alignfed up", up_command),
)


def page() -> str:
    """Return the whole page."""
    sections = [INTRODUCTION, *(_command(name, command) for name, command in COMMANDS)]
    sections.append(TRACES)
    plan = PLAN_TEMPLATE.read_text("utf-8").rstrip()
    sections.append(
        "## The federation plan\n\nWritten by `alignfed init`, read by `alignfed federations create`. Lines that are "
        "commented out show the default. What encodings of deltas cost: [encodings.md](encodings.md).\n\n"
        f"```toml\n{plan}\n```\n"
    )
    return "\n".join(sections)


def _command(name: str, command: click.Command) -> str:
    context = click.Context(command, info_name=name, **command.context_settings)
    rows = [_option(option, context) for option in command.params if isinstance(option, click.Option)]
    return "\n".join([f"## `{name}`\n", "| flag | environment | default | meaning |", "|---|---|---|---|", *rows, ""])


def _option(option: click.Option, context: click.Context) -> str:
    prefix = context.auto_envvar_prefix
    variable = option.envvar or ""
    if not variable and prefix and option.name and option.expose_value:
        variable = f"{prefix}_{option.name.upper()}"
    extra = option.get_help_extra(context).get("default", "")
    flags = " / ".join(f"`{flag}`" for flag in (*option.opts, *option.secondary_opts))
    meaning = " ".join((option.help or "").split()).replace("|", "\\|")
    shown = f"`{extra}`" if extra else ""
    return f"| {flags} | {f'`{variable}`' if variable else ''} | {shown} | {meaning} |"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
