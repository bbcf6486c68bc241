"""`alignfed coordinator`: one coordinator process."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from alignfed.errors import RequestInvalid
from alignfed.logs.setup import AUTO, LOG_FORMATS
from alignfed.settings import announce, config_option, print_settings, set_up_logging
from coordinator.cli.options import SERVER_SETTINGS, needs_extra
from coordinator.cli.store_place import DEFAULT_DATA_DIR, forget_store_url, note_store_url
from coordinator.ports.deltas import MAX_WAITING_KNOWN
from coordinator.service.config import ServiceConfig

_DEFAULTS = ServiceConfig()


@click.command("coordinator", short_help="Run a coordinator process.", context_settings=SERVER_SETTINGS)
@config_option
@click.option("--agent-listen", default=_DEFAULTS.agent_listen, help="Address for agents.")
@click.option("--operator-listen", default=_DEFAULTS.operator_listen, help="Address for operators; keep it private.")
@click.option(
    "--store-url", default="", show_default=False, help="Redis or Valkey; without it an embedded Valkey is started."
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
    help="Data folder of the embedded Valkey.",
)
@click.option(
    "--metrics-listen",
    default="127.0.0.1:9464",
    help="Address of /metrics, /healthz, /readyz and the status page; empty for none.",
)
@click.option(
    "--status-token-file",
    default="",
    show_default=False,
    help="File with the secret for signing in to the status page; empty for a page that can only be read.",
)
@click.option("--tls-certificate-file", default="", show_default=False, help="PEM certificate chain; empty for no TLS.")
@click.option("--tls-key-file", default="", show_default=False, help="PEM private key of the certificate.")
@click.option("--agent-ca-file", default="", show_default=False, help="PEM authority that signed agents' certificates.")
@click.option(
    "--agent-ca-key-file",
    default="",
    show_default=False,
    help="Its PEM key, for letting agents in and renewing their certificates; empty to do neither.",
)
@click.option(
    "--operator-ca-file", default="", show_default=False, help="PEM authority that signed operators' certificates."
)
@click.option(
    "--identity-dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder made by `alignfed ca init`, or what a coordinator needs of it: sets the five files above.",
)
@click.option(
    "--join-listen",
    default="127.0.0.1:7302",
    help="Address at which machines join with a token; empty for none, and none without --agent-ca-key-file.",
)
@click.option(
    "--agent-certificate-days",
    type=click.FloatRange(min=0.001),
    default=_DEFAULTS.agent_certificate_days,
    help="How long agents' certificates last; agents renew them by themselves.",
)
@click.option(
    "--insecure",
    is_flag=True,
    help="Let whoever reaches the ports be any agent and any operator, unencrypted; on loopback addresses only.",
)
@click.option(
    "--max-agent-requests-per-second",
    type=click.FloatRange(min=0),
    default=_DEFAULTS.max_agent_requests_per_second,
    help="Requests of one agent, ten seconds' worth at once; 0 for no bound.",
)
@click.option(
    "--max-agent-deltas-per-hour",
    type=click.FloatRange(min=0),
    default=_DEFAULTS.max_agent_deltas_per_hour,
    help="Uploads of one agent that may begin; 0 for no bound.",
)
@click.option(
    "--max-agent-bytes-per-hour",
    type=click.FloatRange(min=0),
    default=_DEFAULTS.max_agent_bytes_per_hour,
    help="Payloads that one agent sends and fetches; 0 for no bound.",
)
@click.option(
    "--signing-key-file",
    default="",
    show_default=False,
    help="PEM private key that signs initial versions and rollbacks; empty signs none.",
)
@click.option(
    "--max-active-uploads",
    type=click.IntRange(min=1),
    default=_DEFAULTS.max_active_uploads,
    help="Uploads that move a chunk into the store at a time, beside those whose agents are slow.",
)
@click.option(
    "--upload-memory-bytes",
    type=click.IntRange(min=1),
    default=_DEFAULTS.upload_memory_bytes,
    help="Memory of all open uploads; each may hold one chunk.",
)
@click.option(
    "--max-agent-uploads",
    type=click.IntRange(min=1),
    default=_DEFAULTS.max_agent_uploads,
    help="Uploads of one agent open at a time.",
)
@click.option(
    "--max-agent-deltas",
    type=click.IntRange(min=1, max=MAX_WAITING_KNOWN),
    default=_DEFAULTS.max_agent_deltas,
    help="Deltas of one agent unmerged in the store; those of one merge are always granted.",
)
@click.option(
    "--max-agent-bytes",
    type=click.IntRange(min=1),
    default=_DEFAULTS.max_agent_bytes,
    help="The same in bytes.",
)
@click.option(
    "--max-federation-bytes",
    type=click.IntRange(min=1),
    default=_DEFAULTS.max_federation_bytes,
    help="Deltas of one federation unmerged in the store; its plan bounds their number.",
)
@click.option(
    "--store-reserve-ratio",
    type=click.FloatRange(min=0, max=0.9),
    default=_DEFAULTS.store_reserve_ratio,
    help="Share of the store's memory that uploads leave free for merging.",
)
@click.option(
    "--max-connection-age-seconds",
    type=click.FloatRange(min=0),
    default=_DEFAULTS.max_connection_age_seconds,
    help="Close connections gracefully after so long, so that a fleet spreads; 0 for never.",
)
@click.option("--share-port", is_flag=True, help="Let several coordinators listen on the same address.")
@click.option(
    "--drain-notice-seconds",
    type=click.FloatRange(min=0),
    default=_DEFAULTS.drain_notice_seconds,
    help="On SIGTERM: time between turning unhealthy and refusing connections.",
)
@click.option(
    "--drain-seconds",
    type=click.FloatRange(min=0),
    default=_DEFAULTS.drain_seconds,
    help="On SIGTERM: time for running calls to end.",
)
@click.option(
    "--store-patience-seconds",
    type=click.FloatRange(min=0),
    default=_DEFAULTS.store_patience_seconds,
    help="How long to wait for the store at start.",
)
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
def coordinator_command(
    context: click.Context,
    /,
    store_url: str,
    blob_url: str,
    data_dir: Path,
    metrics_listen: str,
    status_token_file: str,
    log_level: str,
    log_format: str,
    identity_dir: Path | None,
    insecure: bool,
    **service: Any,
) -> None:
    """Run a coordinator: it serves agents and operators, and keeps everything in a store.

    Any number of coordinators may share a store. SIGTERM drains: new work is refused, running calls end, then the
    process exits with 0. Every option can be set as ALIGNFED_<OPTION>, or in a file given with --config; flags win over
    the environment, the environment over the file.
    """
    set_up_logging(log_level, log_format)
    print_settings(context)
    # gRPC's own log quotes, unescaped and without limit, whatever bytes a peer sends; it is set up when gRPC is loaded.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    with needs_extra("coordinator"):
        from alignfed.tracing.export import tracing
        from coordinator.service.process import run  # grpc and redis take longer to load than --help may take

    config = ServiceConfig(**_identified(service, identity_dir, insecure=insecure))
    with _store(store_url, data_dir) as url, tracing("coordinator") as tracer:
        asyncio.run(
            run(config, url, metrics_listen, blob_url=blob_url, status_token_file=status_token_file, tracer=tracer)
        )


def _identified(service: dict[str, Any], folder: Path | None, *, insecure: bool) -> dict[str, Any]:
    """Return the settings with the files of a folder, where they are not named one by one.

    Raises:
        RequestInvalid: Identities are neither set up nor turned off.
    """
    if folder is not None:
        files = {
            "tls_certificate_file": "coordinator.pem",
            "tls_key_file": "coordinator-key.pem",
            "agent_ca_file": "agents.pem",
            "agent_ca_key_file": "agents-key.pem",
            "operator_ca_file": "root.pem",
        }
        if not (folder / files["agent_ca_key_file"]).exists():  # this coordinator is not to let anybody in
            del files["agent_ca_key_file"]
        service = service | {key: service[key] or str(folder / name) for key, name in files.items()}
    secure = bool(service["tls_certificate_file"])
    if insecure == secure:
        raise RequestInvalid(
            "--insecure turns off what --identity-dir or --tls-certificate-file sets up: leave one of them out"
            if insecure
            else "nothing says who may call: make identities with `alignfed ca init DIRECTORY --host NAME` and give "
            "--identity-dir DIRECTORY, or give --insecure to let everybody on this machine be anybody"
        )
    if not service["agent_ca_key_file"]:
        service = service | {"join_listen": ""}
    return service


@contextlib.contextmanager
def _store(store_url: str, data_dir: Path) -> Iterator[str]:
    """Yield the store's URL; start an embedded Valkey when none is named."""
    if store_url:
        yield store_url
        return
    from coordinator.backends.embedded import EmbeddedValkey

    with EmbeddedValkey(data_dir) as store:
        noted = note_store_url(data_dir, store.url)
        announce(f"embedded store: {store.url} (a worker on this machine finds it in {noted})")
        try:
            yield store.url
        finally:
            forget_store_url(data_dir)
