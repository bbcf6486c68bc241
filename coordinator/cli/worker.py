"""`alignfed worker`: one aggregation worker process."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from alignfed.logs.setup import AUTO, LOG_FORMATS
from alignfed.settings import config_option, print_settings, set_up_logging
from coordinator.cli.options import SERVER_SETTINGS, needs_extra
from coordinator.cli.store_place import DEFAULT_DATA_DIR, noted_store_url


@click.command("worker", short_help="Run an aggregation worker process.", context_settings=SERVER_SETTINGS)
@config_option
@click.option(
    "--store-url",
    default="",
    show_default=False,
    help="The coordinators' store; without it this machine's embedded Valkey.",
)
@click.option(
    "--blob-url",
    default="",
    show_default=False,
    help="Where payloads are kept outside the store: s3://bucket/prefix, gs://, az:// or file:///folder.",
)
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=DEFAULT_DATA_DIR,
    help="Data folder of the embedded Valkey that a coordinator on this machine started.",
)
@click.option("--federation", default="", show_default=False, help="Work for this federation only; empty for all.")
@click.option(
    "--base-model",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Directory of the base model, when not where the federation's plan says.",
)
@click.option("--threads", type=click.IntRange(min=0), default=0, help="Threads of torch; 0 for one per core.")
@click.option(
    "--sweep-seconds",
    type=click.FloatRange(min=0.1),
    default=60.0,
    help="How often to let go of payloads and records that the plan's retention does not keep.",
)
@click.option(
    "--signing-key-file",
    type=click.Path(path_type=Path),
    help="PEM private key that signs published versions, as `alignfed keys new` makes; without it none is signed.",
)
@click.option("--metrics-listen", default="127.0.0.1:9465", help="Address of /metrics; empty for none.")
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", help="How much to log."
)
@click.option(
    "--log-format",
    type=click.Choice(LOG_FORMATS),
    default=AUTO,
    help="Form of the log: auto is text on a terminal and JSON elsewhere.",
)
@click.pass_context
def worker_command(
    context: click.Context, /, store_url: str, data_dir: Path, log_level: str, log_format: str, **worker: Any
) -> None:
    """Run an aggregation worker: it merges deltas into new versions.

    Any number may share a store; one leads each federation at a time, and another takes over within seconds when it
    dies. SIGTERM lets a merge in progress finish, then the process exits with 0. Every option can be set as
    ALIGNFED_<OPTION>, or in a file given with --config; flags win over the environment, the environment over the file.
    """
    set_up_logging(log_level, log_format)
    print_settings(context)
    url = store_url or noted_store_url(data_dir)
    with needs_extra("worker"):
        from alignfed.tracing.export import tracing
        from coordinator.worker.process import WorkerConfig, run  # torch takes seconds to load

    federation = worker.pop("federation") or None
    config = WorkerConfig(store_url=url, federation=federation, **worker)
    with tracing("worker") as tracer:
        asyncio.run(run(config, tracer=tracer))
