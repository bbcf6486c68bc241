"""The command `alignfed doctor`."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from click.core import ParameterSource

from alignfed.settings import EXIT_FAILED
from coordinator.cli.doctor.findings import Outcome, as_text
from coordinator.cli.doctor.target import AGENT_PORT, HTTP_PORT, Target, beside
from coordinator.cli.options import address_options, json_option, needs_extra
from coordinator.cli.store_place import DEFAULT_DATA_DIR
from coordinator.cli.tables import as_json
from coordinator.cli.tls import client_tls


@click.command("doctor", short_help="Check an installation and say what to do.")
@click.argument("federations", nargs=-1, metavar="[FEDERATION]...")
@address_options
@click.option("--agents", default="", metavar="HOST:PORT", help="Agents' address.  [default: port 7300 beside it]")
@click.option("--http", default="", metavar="HOST:PORT", help="Metrics address.  [default: port 9464 beside it]")
@click.option("--worker-http", default="", metavar="HOST:PORT", help="Metrics address of a worker.")
@click.option(
    "--store-url",
    envvar="ALIGNFED_STORE_URL",
    default="",
    metavar="URL",
    help="Check the store from this machine, too; also ALIGNFED_STORE_URL.",
)
@click.option(
    "--blob-url",
    envvar="ALIGNFED_BLOB_URL",
    default="",
    metavar="URL",
    help="Where its payloads are kept, if outside it; also ALIGNFED_BLOB_URL.",
)
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    default=DEFAULT_DATA_DIR,
    show_default=True,
    help="Data folder of an embedded store on this machine.",
)
@click.option(
    "--base-model", type=click.Path(path_type=Path), help="Directory to compare with the base model's digest."
)
@click.option("--state-dir", type=click.Path(path_type=Path), help="State directory of an agent on this machine.")
@click.option("--timeout", type=click.FloatRange(0.5, 120), default=10.0, show_default=True, help="Seconds per answer.")
@json_option
@click.pass_context
def doctor_command(
    context: click.Context,
    federations: tuple[str, ...],
    operator: str,
    tls_ca: Path | None,
    tls_certificate: Path | None,
    tls_key: Path | None,
    agents: str,
    http: str,
    worker_http: str,
    store_url: str,
    blob_url: str,
    data_dir: Path,
    base_model: Path | None,
    state_dir: Path | None,
    timeout: float,
    json_wanted: bool,
) -> None:
    """Check an installation: addresses, TLS, versions, clocks, store, workers, base models, disks, an agent's state.

    Each check is ok, a warning, a problem, or not checked, with the reason and the next step. Nothing is changed. Ends
    with 0 when there is no problem, with 1 when there is one. FEDERATIONs limit what is looked at; all, unless named.
    """
    target = Target(
        operator=operator,
        tls=client_tls(tls_ca, tls_certificate, tls_key),
        agents=beside(operator, agents, AGENT_PORT),
        http=beside(operator, http, HTTP_PORT),
        worker_http=worker_http,
        store_url=store_url,
        blob_url=blob_url,
        data_dir=data_dir,
        data_dir_named=context.get_parameter_source("data_dir") is not ParameterSource.DEFAULT,
        base_model=base_model,
        state_dir=state_dir,
        federations=federations,
        seconds=timeout,
    )
    with needs_extra("coordinator"):
        from coordinator.cli.doctor.examination import Examination  # grpc takes longer to load than --help may

        findings = Examination(target).run()
    click.echo(as_json(findings) if json_wanted else as_text(findings))
    if any(finding.outcome is Outcome.PROBLEM for finding in findings):
        sys.exit(EXIT_FAILED)
