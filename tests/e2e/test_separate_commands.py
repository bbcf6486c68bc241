"""Coordinator, worker, operator and agents as commands of their own, as on separate machines."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import urllib.request
from contextlib import ExitStack
from pathlib import Path

import pytest
from peft import PeftModel
from transformers import AutoModelForCausalLM

from coordinator.cli.operator_client import OperatorClient
from coordinator.local.cluster import free_ports
from tests.e2e.processes import RunningCommand, running
from tests.support.tiny_federation import write_rows
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

DELTAS_EACH = 2
PLAN = """
federation = "demo"
[base_model]
name = "{model}"
[lora]
rank = 2
[training]
local_steps = 1
sequence_length = 32
[buffer]
size = 2
[calibration]
data = "calibration.jsonl"
fit_rows = 2
judge_rows = 2
sequence_length = 32
"""


def alignfed(folder: Path, operator: str, *arguments: str) -> str:
    """Run an operator command and return what it prints."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name("alignfed")), *arguments, "--operator", operator],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def start_agent(stack: ExitStack, folder: Path, coordinator: str, name: str) -> RunningCommand:
    write_rows(folder / f"{name}.jsonl", secret=name)
    command = [
        "alignfed-agent", "run", "--coordinator", coordinator, "--federation", "demo", "--agent-id", name,
        "--data", f"{name}.jsonl", "--state-dir", f"state-{name}", "--max-deltas", str(DELTAS_EACH), "--threads", "1",
    ]  # fmt: skip
    return stack.enter_context(running(command, folder, name=name))


def merged_deltas(metrics: str) -> float:
    """Return how many deltas the worker's staleness histogram has counted at merge."""
    with urllib.request.urlopen(f"http://{metrics}/metrics", timeout=10) as response:
        text = response.read().decode()
    found = re.search(r'alignfed_delta_staleness_versions_count\{[^}]*stage="merge"[^}]*\} ([0-9.]+)', text)
    return float(found[1]) if found else 0.0


def test_a_federation_from_the_first_command_to_the_exported_adapter(
    stack: ExitStack, tmp_path: Path, tiny_model_dir: Path
) -> None:
    agents, operators, metrics = (f"127.0.0.1:{port}" for port in free_ports(3))
    listen = ["--agent-listen", agents, "--operator-listen", operators, "--metrics-listen", "", "--drain-seconds", "1"]
    coordinator = stack.enter_context(running(["alignfed", "coordinator", *listen], tmp_path, name="coordinator"))
    coordinator.wait_for("serving agents_port")
    worker = stack.enter_context(
        running(["alignfed", "worker", "--metrics-listen", metrics, "--threads", "1"], tmp_path, name="worker")
    )

    write_rows(tmp_path / "calibration.jsonl", count=6, secret="server")
    (tmp_path / "federation.toml").write_text(PLAN.format(model=tiny_model_dir), "utf-8")
    assert "created demo at version 0" in alignfed(tmp_path, operators, "federations", "create", "federation.toml")

    for agent in [start_agent(stack, tmp_path, agents, name) for name in ("one", "two")]:
        assert agent.end() == 0, agent.output
    with OperatorClient(operators) as client:
        wait_until(lambda: client.federation("demo").queued == 0, what="every delta is merged", timeout_seconds=60)
        assert sum(view.contribution.merged for view in client.agents("demo")) == 2 * DELTAS_EACH
    assert merged_deltas(metrics) == 2 * DELTAS_EACH

    [status] = json.loads(alignfed(tmp_path, operators, "status", "demo", "--json"))
    assert status["head"]["number"] >= 1
    alignfed(tmp_path, operators, "export", "demo", "adapter")
    PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model_dir), tmp_path / "adapter")

    assert worker.end(signal.SIGTERM) == 0, worker.output
    assert (tmp_path / ".alignfed/store/url").exists()
    assert coordinator.end(signal.SIGTERM) == 0, coordinator.output
    assert not (tmp_path / ".alignfed/store/url").exists()
