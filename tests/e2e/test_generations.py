"""Programs of the generation in the field beside today's: whole agents and coordinators, out of the project's history.

The generation in the field is the commit that last made the golden contract what it is.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tarfile
from contextlib import ExitStack
from pathlib import Path

import pytest

from coordinator.cli.operator_client import OperatorClient
from coordinator.local.cluster import free_ports
from tests.e2e.processes import RunningCommand, running
from tests.e2e.test_separate_commands import PLAN
from tests.support.golden_descriptor import GOLDEN
from tests.support.tiny_federation import write_rows
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
DELTAS = 2
MERGE_SECONDS = 60.0
COMMANDS = {
    "alignfed": ["python", "-c", "from coordinator.cli.main import main; main()"],
    "alignfed-agent": ["python", "-m", "edge_agent"],
}


@pytest.fixture(scope="module")
def yesterday(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source of the generation in the field; skips where the project has no history to take it from."""
    folder = tmp_path_factory.mktemp("yesterday")
    asked = ["git", "log", "-1", "--format=%H", "--", str(GOLDEN)]
    commit = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
    if not commit:
        pytest.skip("the project's history is not here: no earlier programs to run")
    archive = folder / "source.tar"
    made = ["git", "archive", "-o", str(archive), commit, "proto", "coordinator", "edge_agent"]
    if subprocess.run(made, cwd=ROOT, capture_output=True, check=False).returncode:
        pytest.skip(f"the project's history is cut off before {commit}: no earlier programs to run")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    which = (
        "import alignfed, coordinator, edge_agent as it; print(alignfed.__file__, coordinator.__file__, it.__file__)"
    )
    found = subprocess.check_output([sys.executable, "-c", which], cwd=folder, env=programs_of(folder), text=True)
    assert all(Path(file).is_relative_to(folder) for file in found.split()), found
    return folder


def programs_of(folder: Path) -> dict[str, str]:
    """Return the setting with which Python takes a source's packages, not the installed ones."""
    return {"PYTHONPATH": f"{folder}:{folder / 'proto'}"}


@pytest.mark.parametrize("old", ["agents", "coordinator and worker"])
def test_programs_of_two_generations_make_versions_together(
    old: str, yesterday: Path, tmp_path: Path, tiny_model_dir: Path
) -> None:
    agents, operators = (f"127.0.0.1:{port}" for port in free_ports(2))
    with ExitStack() as stack:

        def start(name: str, command: str, *arguments: str) -> RunningCommand:
            is_old = (command == "alignfed-agent") == (old == "agents")
            full = [*(COMMANDS[command] if is_old else [command]), *arguments]
            settings = programs_of(yesterday) if is_old else {}
            return stack.enter_context(running(full, tmp_path, name=name, settings=settings))

        listen = ["--agent-listen", agents, "--operator-listen", operators, "--metrics-listen", ""]
        coordinator = start("coordinator", "alignfed", "coordinator", *listen, "--drain-seconds", "1")
        coordinator.wait_for("serving agents_port")
        worker = start("worker", "alignfed", "worker", "--metrics-listen", "", "--threads", "1")
        worker.wait_for("worker .* started")

        write_rows(tmp_path / "calibration.jsonl", count=6, secret="server")
        (tmp_path / "federation.toml").write_text(PLAN.format(model=tiny_model_dir), "utf-8")
        start("create", "alignfed", "federations", "create", "federation.toml", "--operator", operators).end()

        taking_part = []
        for name in ("one", "two"):
            write_rows(tmp_path / f"{name}.jsonl", secret=name)
            taking_part.append(
                start(
                    name, "alignfed-agent", "run", "--coordinator", agents, "--federation", "demo", "--agent-id", name,
                    "--data", f"{name}.jsonl", "--state-dir", f"state-{name}", "--max-deltas", str(DELTAS),
                    "--threads", "1",
                )
            )  # fmt: skip
        for agent in taking_part:
            assert agent.end() == 0, agent.output
        with OperatorClient(operators) as client:
            wait_until(
                lambda: client.federation("demo").queued == 0,
                what="every delta is merged",
                timeout_seconds=MERGE_SECONDS,
            )
            assert sum(view.contribution.merged for view in client.agents("demo")) == len(taking_part) * DELTAS
            assert client.federation("demo").head.id.number >= 1
        for server in (worker, coordinator):
            assert server.end(signal.SIGTERM) == 0, server.output
