"""Processes that a measurement starts: they end with it, and their processor time can be asked for."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from alignfed.codec import encode
from alignfed.errors import CoordinatorUnreachable, LocalProcessFailed
from alignfed.plan import BaseModel, Calibration, Encoding, FederationPlan, Lora, TensorSpec
from alignfed.screening import NO_SCREENING
from bench.processes import processor_seconds, status_bytes
from bench.speed.identities import Identities
from bench.speed.profiles import profiled
from bench.speed.servers import READY
from coordinator.cli.operator_client import OperatorClient
from coordinator.local.cluster import ALIGNFED, free_ports
from coordinator.local.processes import Program, Supervisor, python_program

START_SECONDS = 60.0
LOOK_SECONDS = 0.05
FEDERATION = "speed"
RANK = 16
_BARE = "import sys; from bench.speed.servers import main; main(sys.argv[1], int(sys.argv[2]))"
_FORGETFUL = "import sys; from bench.speed.forgetful import main; main(sys.argv[1:])"


class Started:
    """One running server: where it listens, and what it has taken of the machine."""

    def __init__(self, port: int, pid: int, *, operators: int = 0) -> None:
        self.port = port
        self.address = f"127.0.0.1:{port}"
        self.operators = f"127.0.0.1:{operators}"
        self._pid = pid

    def resident_bytes(self) -> int:
        """Return the memory that the process holds now."""
        return status_bytes(self._pid, "VmRSS")

    def peak_bytes(self) -> int:
        """Return the most memory that the process has held since it began."""
        return status_bytes(self._pid, "VmHWM")

    def cpu_seconds(self) -> float:
        """Return user and system time of the process, in seconds, to the microsecond."""
        return processor_seconds(self._pid)


@contextlib.contextmanager
def bare_server(supervisor: Supervisor, folder: Path, kind: str) -> Iterator[Started]:
    """Run a server of `bench.speed.servers` while the block runs.

    Raises:
        LocalProcessFailed: It ended, or was not ready in time.
    """
    port, log = free_ports(1)[0], folder / f"{kind}.log"
    log.unlink(missing_ok=True)  # an earlier one's says that it is ready
    supervisor.start(python_program(kind, _BARE, [kind, str(port)], stage=1, log=log))
    try:
        deadline = time.monotonic() + START_SECONDS
        while READY not in log.read_text("utf-8"):
            _wait(supervisor, deadline, kind)
        yield Started(port, supervisor.pids()[kind])
    finally:
        supervisor.stop([kind])


@contextlib.contextmanager
def coordinator_with(
    supervisor: Supervisor, folder: Path, store_url: str, plan: FederationPlan, *, blob_url: str = ""
) -> Iterator[Started]:
    """Run a coordinator on a store, with a federation of `plan` at version 0, while the block runs.

    With `blob_url` it keeps payloads there.

    Raises:
        LocalProcessFailed: It ended, or was not ready in time.
    """
    agents, operators = free_ports(2)
    listen = ["--agent-listen", f"127.0.0.1:{agents}", "--operator-listen", f"127.0.0.1:{operators}"]
    arguments = ["coordinator", *listen, "--metrics-listen", "", "--store-url", store_url, "--drain-seconds", "0"]
    arguments.append("--insecure")  # on loopback: identities are a comparison of their own
    arguments += ["--blob-url", blob_url] if blob_url else []
    name = "coordinator-with-files" if blob_url else "coordinator"
    program = python_program(name, ALIGNFED, arguments, stage=1, log=folder / f"{name}.log")
    with _serving(supervisor, program, OperatorClient(f"127.0.0.1:{operators}"), plan):
        yield Started(agents, supervisor.pids()[name], operators=operators)


@contextlib.contextmanager
def forgetful_coordinator(
    supervisor: Supervisor, folder: Path, plan: FederationPlan, identities: Identities | None = None
) -> Iterator[Started]:
    """Run a coordinator that forgets payloads, with a federation of `plan` at version 0, while the block runs.

    Args:
        supervisor: Runs it.
        folder: For its log.
        plan: Of the federation.
        identities: By which it knows its callers; None for a plain connection that believes everybody.

    Raises:
        LocalProcessFailed: It ended, or was not ready in time.
    """
    agents, operators = free_ports(2)
    name = "forgetful" if identities is None else "forgetful-tls"
    arguments = [str(agents), str(operators), *([] if identities is None else [str(identities.folder)])]
    program = python_program(name, _FORGETFUL, arguments, stage=1, log=folder / f"{name}.log")
    with _serving(
        supervisor,
        program,
        OperatorClient(f"127.0.0.1:{operators}", tls=None if identities is None else identities.admin),
        plan,
    ):
        yield Started(agents, supervisor.pids()[name], operators=operators)


def plan_of(parameters: int) -> FederationPlan:
    """Return a plan whose deltas have `parameters` elements in two factors; no model stands behind it."""
    width = parameters // (2 * RANK)
    return FederationPlan(
        federation=FEDERATION,
        base_model=BaseModel(name="none", digest="0" * 64),
        lora=Lora(rank=RANK, target_modules=("q_proj",)),
        screening=NO_SCREENING,  # the same few payloads are sent again and again
        calibration=Calibration(fit_rows=0, judge_rows=0),
        tensors=(
            TensorSpec(name="layer.q_proj.lora_A.weight", shape=(RANK, width)),
            TensorSpec(name="layer.q_proj.lora_B.weight", shape=(width, RANK)),
        ),
    )


def zero_adapter(plan: FederationPlan) -> bytes:
    """Return the payload of a plan's adapter before anything was trained."""
    return bytes(encode({spec.name: torch.zeros(spec.shape) for spec in plan.tensors}, Encoding.FP32))


@contextlib.contextmanager
def _serving(supervisor: Supervisor, program: Program, client: OperatorClient, plan: FederationPlan) -> Iterator[None]:
    supervisor.start(program)
    try:
        deadline = time.monotonic() + START_SECONDS
        with client:
            while not _created(client, plan):
                _wait(supervisor, deadline, program.name)
        with profiled(program.name, supervisor.pids()[program.name]):
            yield
    finally:
        supervisor.stop([program.name])


def _created(client: OperatorClient, plan: FederationPlan) -> bool:
    try:
        client.create_federation(plan, zero_adapter(plan), b"")
    except CoordinatorUnreachable:
        return False
    return True


def _wait(supervisor: Supervisor, deadline: float, name: str) -> None:
    supervisor.check()
    if time.monotonic() > deadline:
        raise LocalProcessFailed(f"{name} was not ready within {START_SECONDS:.0f} s: is the machine overloaded?")
    time.sleep(LOOK_SECONDS)
