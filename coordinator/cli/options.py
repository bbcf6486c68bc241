"""Options and arguments that several commands share, and the connection that most of them open."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from alignfed.errors import RequestInvalid
from alignfed.settings import warn_of_visible_secrets
from coordinator.cli.store_place import DEFAULT_DATA_DIR, StorePlace, noted_store_url
from coordinator.cli.tls import client_tls

if TYPE_CHECKING:
    from coordinator.cli.operator_client import OperatorClient

DEFAULT_OPERATOR = "127.0.0.1:7301"

SERVER_SETTINGS: dict[str, Any] = {"auto_envvar_prefix": "ALIGNFED", "show_default": True}
"""Context settings of long-running commands: every option can also be set as `ALIGNFED_<OPTION>`."""

_OWN_PACKAGES = frozenset({"alignfed", "bench", "coordinator"})

Command = Callable[..., Any]
Connect = Callable[..., "OperatorClient"]
"""Opens a client of the coordinator that the command's options name; use it as a context manager. `call_seconds` may
shorten the deadline of its calls."""

FindStore = Callable[[], StorePlace]
"""Returns where the store is that the command's options name."""


def address_options(command: Command) -> Command:
    """Add `--operator`, `--tls-ca`, `--tls-certificate` and `--tls-key`, handed over as they are."""
    for option in (
        click.option(
            "--tls-key",
            envvar="ALIGNFED_TLS_KEY",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="PEM file of that certificate's private key.",
        ),
        click.option(
            "--tls-certificate",
            envvar="ALIGNFED_TLS_CERTIFICATE",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="PEM file that tells who this is, where the coordinator asks for it (`alignfed ca operator`).",
        ),
        click.option(
            "--tls-ca",
            envvar="ALIGNFED_TLS_CA",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="PEM file of the authority that signed the coordinator's certificate; without it the connection is "
            "plain.",
        ),
        click.option(
            "--operator",
            envvar="ALIGNFED_OPERATOR",
            default=DEFAULT_OPERATOR,
            show_default=True,
            metavar="HOST:PORT",
            help="Operator address of a coordinator; also ALIGNFED_OPERATOR.",
        ),
    ):
        command = option(command)
    return command


def operator_options(command: Command) -> Command:
    """Add the options of `address_options`, handed over together as one argument `connect`."""

    @address_options
    @functools.wraps(command)
    def with_connect(
        *arguments: Any,
        operator: str,
        tls_ca: Path | None,
        tls_certificate: Path | None,
        tls_key: Path | None,
        **options: Any,
    ) -> Any:
        def connect(**settings: float) -> OperatorClient:
            from coordinator.cli.operator_client import OperatorClient  # grpc takes longer to load than --help may

            return OperatorClient(operator, tls=client_tls(tls_ca, tls_certificate, tls_key), **settings)

        return command(*arguments, connect=connect, **options)

    return with_connect


def store_options(command: Command) -> Command:
    """Add `--store-url`, `--blob-url` and `--data-dir`, handed over as `find_store`, which says where the store is."""

    @click.option(
        "--store-url",
        envvar="ALIGNFED_STORE_URL",
        default="",
        help="The coordinators' store; without it this machine's embedded Valkey. Also ALIGNFED_STORE_URL.",
    )
    @click.option(
        "--blob-url",
        envvar="ALIGNFED_BLOB_URL",
        default="",
        help="Where the coordinators keep payloads outside the store, if they do. Also ALIGNFED_BLOB_URL.",
    )
    @click.option(
        "--data-dir",
        type=click.Path(file_okay=False, path_type=Path),
        default=DEFAULT_DATA_DIR,
        show_default=True,
        help="Data folder of the embedded Valkey that a coordinator on this machine started.",
    )
    @functools.wraps(command)
    def with_store(*arguments: Any, store_url: str, blob_url: str, data_dir: Path, **options: Any) -> Any:
        warn_of_visible_secrets(click.get_current_context())

        def find_store() -> StorePlace:
            return StorePlace(url=store_url or noted_store_url(data_dir), blob_url=blob_url)

        return command(*arguments, find_store=find_store, **options)

    return with_store


@contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """Run imports that need an optional part of AlignFed.

    Raises:
        RequestInvalid: A package of that part is not installed.
    """
    try:
        yield
    except ImportError as error:
        package = (error.name or "").partition(".")[0]
        if package in _OWN_PACKAGES:
            raise  # a defect, not a missing package
        raise RequestInvalid(
            f"this command needs {package or 'a package'}, which is not installed: pip install 'alignfed[{extra}]'"
        ) from error


def json_option(command: Command) -> Command:
    """Add `--json`."""
    return click.option("--json", "json_wanted", is_flag=True, help="Print JSON for scripts instead of a table.")(
        command
    )


def federation_argument(command: Command) -> Command:
    """Add the argument FEDERATION."""
    return click.argument("federation")(command)
