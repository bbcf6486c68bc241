"""Create the federation of the cluster, once: base model, private data for its agents, calibration set, plan.

Then see that agents have tokens to join with (join_tokens.py).

Without anything in the folder /own it is the demo's: the packaged SmolLM2-135M-Instruct, and Python's own source
packages as private domains. /own may hold

    model/             a directory as `save_pretrained` writes it
    data/              one JSON Lines file, text file or folder of text files per domain
    federation.toml    a plan (`alignfed init` writes one)

Running it again renews tokens and changes nothing else: a federation does not change once it is created.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import sys
from pathlib import Path

from join_tokens import see_to_tokens  # beside this file

from alignfed.errors import FederationExists
from coordinator.cli.operator_client import OperatorClient
from coordinator.cli.resolution import resolve
from coordinator.cli.tls import client_tls
from coordinator.local.run_record import RunFolder, RunRecord, read_record
from coordinator.local.setup import RunOptions, plan_of, set_up

OWN = Path("/own")
KEPT = Path("/var/lib/alignfed")
VERSIONS = 64
"""How many newest versions can be exported."""


def say(line: str) -> None:
    """Print a line of progress."""
    print(line, flush=True)  # noqa: T201 - what `docker logs` shows


def check_readable() -> None:
    """End with advice when the user's files cannot be read: they belong to somebody else here."""
    for path in OWN.rglob("*"):
        if not os.access(path, os.R_OK | (os.X_OK if path.is_dir() else 0)):
            sys.exit(f"{path} cannot be read in a container: chmod -R a+rX the folder that is mounted as {OWN}")


def own_model() -> Path | None:
    """Copy the user's model to where workers and agents read it, and return its directory there; None without one."""
    source, target = OWN / "model", KEPT / "models" / "own"
    if not source.is_dir() or not any(source.iterdir()):
        return None
    if not target.exists():
        say("copying the model")
        draft = target.with_name(".copying")
        shutil.rmtree(draft, ignore_errors=True)
        shutil.copytree(source, draft)
        draft.rename(target)
    return target


def options() -> RunOptions:
    """Return what is to be prepared: as many shares of data as there are agents, but at least one per domain."""
    folder = OWN / "data"
    data = tuple(sorted(path for path in folder.iterdir() if path.name[0] != ".")) if folder.is_dir() else ()
    plan = OWN / "federation.toml"
    return RunOptions(
        versions=VERSIONS,
        agents=max(int(os.environ["ALIGNFED_AGENTS"]), len(data), 4),
        data=data,
        model=own_model(),
        federation=os.environ["ALIGNFED_FEDERATION"],
        plan_file=plan if plan.exists() else None,
        store_url="the cluster's",  # only whether it is the embedded one is kept
        cache_dir=KEPT,
        fast=bool(os.environ.get("ALIGNFED_FAST")),
    )


def admin() -> OperatorClient:
    """Return a client of the coordinators that may create federations and let agents in."""
    ca, certificate, key = (Path(os.environ[f"ALIGNFED_TLS_{name}"]) for name in ("CA", "CERTIFICATE", "KEY"))
    return OperatorClient(os.environ["ALIGNFED_OPERATOR"], tls=client_tls(ca, certificate, key))


def create(record: RunRecord, client: OperatorClient) -> None:
    """Publish version 0, unless there is one."""
    if record.federation in client.federations():
        say(f"federation {record.federation} is there")
        return
    file = plan_of(record, versions=VERSIONS)
    # whatever a plan of the user's calls the model: in the cluster it is a folder of the volume
    base = dataclasses.replace(file.plan.base_model, name=record.base_model)
    file = dataclasses.replace(file, plan=dataclasses.replace(file.plan, base_model=base))
    new = resolve(file, base_model=Path(record.base_model))
    try:
        client.create_federation(new.plan, new.adapter, new.calibration)
    except FederationExists:
        say(f"federation {record.federation} is there")
    else:
        say(f"federation {record.federation} is created: {len(record.agents)} shares of private data")


def main() -> None:
    """Prepare what is not prepared yet."""
    check_readable()
    folder = RunFolder(KEPT / "federation")
    record = read_record(folder) if folder.record.exists() else set_up(options(), folder, say=say)
    with admin() as client:
        create(record, client)
        see_to_tokens(client, record.federation, say=say)


if __name__ == "__main__":
    main()
