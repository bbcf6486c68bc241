"""A private federation of real processes: created, trained, told what it cost, and on hold at its end."""

from __future__ import annotations

import json
import re
import urllib.request
from contextlib import ExitStack
from pathlib import Path

import pytest

from coordinator.cli.operator_client import OperatorClient
from coordinator.local.cluster import free_ports
from tests.e2e.processes import running
from tests.e2e.test_separate_commands import alignfed
from tests.support.tiny_federation import write_rows
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

PLAN = """
federation = "demo"
[base_model]
name = "{model}"
[lora]
rank = 2
freeze_a = true
[training]
local_steps = 2
sequence_length = 32
wait_for_version = true
[buffer]
size = 2
timeout_seconds = 30.0
[aggregation]
recipe = "{recipe}"
[calibration]
data = "calibration.jsonl"
fit_rows = 0
judge_rows = 4
sequence_length = 32
[privacy]
noise_multiplier = 2.0
clip_norm = 0.001
delta = 1e-3
max_participations = 2
"""


def privacy_metrics(metrics: str) -> dict[str, float]:
    with urllib.request.urlopen(f"http://{metrics}/metrics", timeout=10) as response:
        text = response.read().decode()
    return {name: float(value) for name, value in re.findall(r"(alignfed_privacy_epsilon\w*)\{.*\} ([0-9.]+)", text)}


def test_a_private_federation_trains_tells_its_loss_and_ends(
    stack: ExitStack, tmp_path: Path, tiny_model_dir: Path
) -> None:
    agents, operators, metrics = (f"127.0.0.1:{port}" for port in free_ports(3))
    listen = ["--agent-listen", agents, "--operator-listen", operators, "--metrics-listen", "", "--drain-seconds", "1"]
    coordinator = stack.enter_context(running(["alignfed", "coordinator", *listen], tmp_path, name="coordinator"))
    coordinator.wait_for("serving agents_port")
    stack.enter_context(
        running(["alignfed", "worker", "--metrics-listen", metrics, "--threads", "1"], tmp_path, name="worker")
    )
    write_rows(tmp_path / "calibration.jsonl", count=6, secret="server")
    (tmp_path / "federation.toml").write_text(PLAN.format(model=tiny_model_dir, recipe="alignfed"), "utf-8")
    with pytest.raises(AssertionError, match="fedbuff or ffa-lora"):
        alignfed(tmp_path, operators, "federations", "create", "federation.toml")
    (tmp_path / "federation.toml").write_text(PLAN.format(model=tiny_model_dir, recipe="ffa-lora"), "utf-8")
    alignfed(tmp_path, operators, "federations", "create", "federation.toml")

    for name, options in (("one", []), ("two", ["--dp-noise-multiplier", "1.0", "--dp-delta", "1e-3"])):
        write_rows(tmp_path / f"{name}.jsonl", secret=name)
        command = [
            "alignfed-agent", "run", "--coordinator", agents, "--federation", "demo", "--agent-id", name,
            "--data", f"{name}.jsonl", "--state-dir", f"state-{name}", "--max-deltas", "3", "--threads", "1",
        ]  # fmt: skip
        stack.enter_context(running([*command, *options], tmp_path, name=name))
    with OperatorClient(operators) as client:
        wait_until(
            lambda: bool(client.federation("demo").head.hold_reason), what="the budget is spent", timeout_seconds=120
        )
        assert {view.agent.agent_id: view.contribution.merged for view in client.agents("demo")} == {"one": 2, "two": 2}
        assert "privacy budget is spent" in client.federation("demo").head.hold_reason
        merge = client.version("demo", client.federation("demo").head.id.number).merge
    assert merge is not None
    assert merge.privacy is not None
    assert merge.privacy.participations == 2
    status = alignfed(tmp_path, operators, "status", "demo")
    assert f"privacy loss      epsilon {merge.privacy.epsilon:.3g} of 8 at delta 0.001" in status
    wait_until(lambda: privacy_metrics(metrics).get("alignfed_privacy_epsilon", 0.0) > 0, what="the metric tells it")
    assert privacy_metrics(metrics) == {
        "alignfed_privacy_epsilon": pytest.approx(merge.privacy.epsilon),
        "alignfed_privacy_epsilon_limit": 8.0,
    }
    spent = json.loads((tmp_path / "state-two" / "privacy.json").read_text("utf-8"))["spent"]
    assert spent[0]["steps"] >= 4, "local privacy goes with it"
