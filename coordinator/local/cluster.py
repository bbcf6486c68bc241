"""A whole federation's processes on one machine: store, coordinator, worker, agents."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from alignfed.errors import LocalProcessFailed
from alignfed.logs.setup import TEXT
from alignfed.settings import ENV_PREFIX
from coordinator.backends.embedded import EmbeddedValkey
from coordinator.local.health import OperatorHealth
from coordinator.local.processes import Supervisor, log_tail, python_program
from coordinator.local.run_record import AgentSpec, RunFolder

READY_SECONDS = 60.0
"""A coordinator is ready within two seconds; a laden machine may take far longer to load Python."""

COORDINATOR, WORKER = "coordinator", "worker"
_COORDINATOR_STAGE, _WORKER_STAGE, _AGENT_STAGE = 1, 2, 3
ALIGNFED = "from coordinator.cli.main import main; main()"
"""Runs an `alignfed` command, as a statement of Python."""
_AGENT = "from edge_agent.cli import main; main(prog_name='alignfed-agent')"
_ANSWER_SECONDS = 0.5


class Cluster:
    """Starts the processes of one run under a supervisor, on free loopback ports.

    Args:
        supervisor: Owns the processes.
        folder: Where logs and states go.
        store_url: The store to use.
    """

    def __init__(self, supervisor: Supervisor, folder: RunFolder, store_url: str) -> None:
        self._supervisor = supervisor
        self._folder = folder
        self._store_url = store_url
        agents, operators, coordinator_metrics, worker_metrics = free_ports(4)
        self.agent_address = f"127.0.0.1:{agents}"
        self.operator_address = f"127.0.0.1:{operators}"
        self.metrics = {COORDINATOR: f"127.0.0.1:{coordinator_metrics}", WORKER: f"127.0.0.1:{worker_metrics}"}

    def start_coordinator(self) -> None:
        """Start the coordinator and wait until it serves.

        Raises:
            LocalProcessFailed: It ended, or did not get ready in time.
        """
        self._start(
            COORDINATOR,
            _COORDINATOR_STAGE,
            [
                "--agent-listen",
                self.agent_address,
                "--operator-listen",
                self.operator_address,
                "--drain-seconds",
                "2",
                "--insecure",
            ],
        )
        wait_until_serving(self.operator_address, self._supervisor, log=self._folder.log(COORDINATOR))

    def start_worker(self, base_model: Path) -> None:
        """Start the worker. It loads the base model when it first leads the federation.

        It computes in one thread, as agents do: threads that wait for each other on cores which agents keep busy are
        slower than one.
        """
        self._start(WORKER, _WORKER_STAGE, ["--base-model", str(base_model), "--threads", "1"])

    def start_agents(self, federation: str, base_model: Path, agents: Sequence[AgentSpec]) -> None:
        """Start the fleet; each agent trains in one thread and gives way to coordinator and worker."""
        for agent in agents:
            arguments = {
                "--coordinator": self.agent_address,
                "--federation": federation,
                "--agent-id": agent.agent_id,
                "--data": agent.data,
                "--base-model": str(base_model),
                "--state-dir": str(self._folder.state(agent.agent_id)),
                "--status-file": str(self._folder.status(agent.agent_id)),
                "--slowdown": f"{agent.slowdown:g}",
                "--tier": tier_of(agent.slowdown),
                "--threads": "1",
                "--nice": "10",
                "--log-format": log_format(),
            }
            if self._folder.version_keys.exists():
                arguments["--version-key"] = str(self._folder.version_keys)
            words = [word for pair in arguments.items() for word in pair]
            log = self._folder.log(agent.agent_id)
            program = python_program(agent.agent_id, _AGENT, ["run", *words], stage=_AGENT_STAGE, log=log)
            self._supervisor.start(program)

    def _start(self, command: str, stage: int, arguments: Sequence[str]) -> None:
        signing = ["--signing-key-file", str(self._folder.signing_key)] if self._folder.signing_key.exists() else []
        # the URL may hold a password: the environment hides it from the process list
        program = python_program(
            command,
            ALIGNFED,
            [command, *arguments, *signing, "--metrics-listen", self.metrics[command], "--log-format", log_format()],
            stage=stage,
            log=self._folder.log(command),
        )
        environment = {**program.environment, "ALIGNFED_STORE_URL": self._store_url}
        self._supervisor.start(dataclasses.replace(program, environment=environment))


def log_format() -> str:
    """Return the form of the processes' logs: readable for people in their files, unless another one is wished for."""
    return os.environ.get(f"{ENV_PREFIX}_LOG_FORMAT") or TEXT


@contextlib.contextmanager
def store_of(folder: RunFolder, store_url: str) -> Iterator[tuple[str, list[int]]]:
    """Yield the URL of the run's store, embedded unless one is named, and the ids of its processes here.

    Raises:
        StoreUnreachable, StoreUnsafe: The embedded store does not start, or the run is in use already.
    """
    if store_url:
        yield store_url, []
        return
    with EmbeddedValkey(folder.store) as store:
        yield store.url, [store.pid]


def tier_of(slowdown: float) -> str:
    """Return the speed class that an agent reports."""
    return "fast" if slowdown < 2 else "medium" if slowdown < 4 else "slow"


def free_ports(count: int) -> list[int]:
    """Return `count` different loopback ports that are free now."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


def wait_until_serving(address: str, supervisor: Supervisor, *, log: Path, seconds: float = READY_SECONDS) -> None:
    """Wait until a coordinator says that it serves.

    Args:
        address: Its operator address.
        supervisor: Owns its process.
        log: Its log file, for the message.
        seconds: How long to wait.

    Raises:
        LocalProcessFailed: A process ended, or the time is over.
    """
    deadline = time.monotonic() + seconds
    with OperatorHealth(address) as health:
        while not health.is_serving(wait_seconds=_ANSWER_SECONDS):
            supervisor.check()
            if time.monotonic() > deadline:
                raise LocalProcessFailed(
                    f"the coordinator at {address} did not get ready within {seconds:.0f} s. The end of {log}:\n"
                    f"{log_tail(log)}"
                )
