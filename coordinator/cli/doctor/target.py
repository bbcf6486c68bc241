"""What the doctor is asked to look at."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from alignfed.settings import parse_listen
from coordinator.cli.tls import ClientTls

AGENT_PORT = 7300
HTTP_PORT = 9464


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """An address; `guessed` when nobody named it, so that finding nothing there is no problem."""

    address: str
    guessed: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The parts to look at; empty or None where none was named.

    Attributes:
        operator: Operator address of the coordinator.
        tls: How to connect to it; None for plain connections.
        agents, http: Its other two addresses.
        worker_http: A worker's metrics address; empty for none.
        store_url: The store as seen from here; empty for none.
        blob_url: Where its payloads are kept, seen from here; empty for in it.
        data_dir: Data folder of an embedded store.
        data_dir_named: Whether somebody named that folder.
        base_model: Directory of the base model.
        state_dir: State directory of an agent on this machine.
        federations: Those to look at; none for all.
        seconds: How long each answer may take.
    """

    operator: str
    agents: Place
    http: Place
    data_dir: Path
    tls: ClientTls | None = None
    worker_http: str = ""
    store_url: str = ""
    blob_url: str = ""
    data_dir_named: bool = False
    base_model: Path | None = None
    state_dir: Path | None = None
    federations: tuple[str, ...] = ()
    seconds: float = 10.0


def beside(operator: str, named: str, port: int) -> Place:
    """Return the named address, or the usual port on the operator address's machine.

    Raises:
        RequestInvalid: An address is malformed.
    """
    if named:
        parse_listen(named)
        return Place(address=named)
    host, _ = parse_listen(operator)
    return Place(address=f"[{host}]:{port}" if ":" in host else f"{host}:{port}", guessed=True)
