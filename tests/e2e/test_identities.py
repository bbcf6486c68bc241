"""A deployment that knows its callers, by its commands alone: authorities, tokens, agents that join, one shut out."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from coordinator.cli.operator_client import OperatorClient
from coordinator.cli.tls import ClientTls
from coordinator.local.cluster import free_ports
from tests.e2e.processes import RunningCommand, running
from tests.e2e.test_separate_commands import PLAN
from tests.support.tiny_federation import write_rows
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


class Desk:
    """An operator's machine: its commands, run in a folder that holds the authorities."""

    def __init__(self, folder: Path, address: str) -> None:
        self.folder = folder
        self.address = address
        self.tls = ClientTls(
            ca=folder / "ids/root.pem",
            certificate=folder / "ids/operators/admin.pem",
            key=folder / "ids/operators/admin-key.pem",
        )

    def run(self, *arguments: str, as_operator: str = "admin", fails: bool = False) -> str:
        """Run an `alignfed` command and return what it prints; on its error stream when it must fail."""
        shown = [f"ids/operators/{as_operator}{end}.pem" for end in ("", "-key")]
        options = ["--operator", self.address, "--tls-ca", "ids/root.pem"]
        options += ["--tls-certificate", shown[0], "--tls-key", shown[1]]
        command = [str(Path(sys.executable).with_name("alignfed")), *arguments]
        done = subprocess.run(
            command if arguments[0] == "ca" else [*command, *options],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert (done.returncode != 0) is fails, done.stderr + done.stdout
        return done.stderr if fails else done.stdout


def start_agent(stack: ExitStack, folder: Path, name: str, token: str, *further: str) -> RunningCommand:
    write_rows(folder / f"{name}.jsonl", secret=name)
    command = [
        "alignfed-agent", "run", "--join-token-file", token, "--data", f"{name}.jsonl",
        "--state-dir", f"state-{name}", "--threads", "1", *further,
    ]  # fmt: skip
    return stack.enter_context(running(command, folder, name=name))


def test_agents_join_take_part_and_can_be_shut_out(stack: ExitStack, tmp_path: Path, tiny_model_dir: Path) -> None:
    agents, operators, door = (f"127.0.0.1:{port}" for port in free_ports(3))
    desk = Desk(tmp_path, operators)
    desk.run("ca", "init", "ids", "--host", "127.0.0.1")
    listen = ["--agent-listen", agents, "--operator-listen", operators, "--join-listen", door, "--metrics-listen", ""]
    coordinator = stack.enter_context(
        running(
            ["alignfed", "coordinator", "--identity-dir", "ids", *listen, "--drain-seconds", "1"],
            tmp_path,
            name="coordinator",
        )
    )
    coordinator.wait_for("serving agents_port")
    stack.enter_context(
        running(["alignfed", "worker", "--metrics-listen", "", "--threads", "1"], tmp_path, name="worker")
    )

    write_rows(tmp_path / "calibration.jsonl", count=6, secret="server")
    (tmp_path / "federation.toml").write_text(PLAN.format(model=tiny_model_dir), "utf-8")
    desk.run("ca", "operator", "ids", "vera", "--role", "viewer")
    assert "ROLE_INSUFFICIENT" in desk.run("federations", "create", "federation.toml", as_operator="vera", fails=True)
    assert "created demo at version 0" in desk.run("federations", "create", "federation.toml")

    places = ["--join", door, "--coordinator", agents]
    desk.run("enroll", "lab-*", "--uses", "2", "--federation", "demo", "--output", "lab.join", *places)
    enough = start_agent(stack, tmp_path, "one", "lab.join", "--max-deltas", "2", "--agent-id", "lab-1")
    endless = start_agent(stack, tmp_path, "two", "lab.join", "--agent-id", "lab-2")
    assert enough.end() == 0, enough.output
    uninvited = start_agent(stack, tmp_path, "three", "lab.join", "--agent-id", "lab-3")
    assert uninvited.end() == 1
    assert "JOIN_TOKEN_INVALID" in uninvited.output

    with OperatorClient(operators, tls=desk.tls) as client:

        def merged(agent_id: str) -> int:
            return sum(it.contribution.merged for it in client.agents("demo") if it.agent.agent_id == agent_id)

        wait_until(lambda: merged("lab-1") == 2, what="the first agent's deltas are merged", timeout_seconds=90)
        assert endless.process.poll() is None
        assert "lab-2 is shut out" in desk.run("revoke", "lab-2")
        assert endless.end() == 1, endless.output
        assert "REVOKED" in endless.output
        (revoked,) = [it.agent.agent_id for it in client.agents("demo") if it.agent.revoked]
        assert revoked == "lab-2"
    assert "lab.join" not in desk.run("tokens", "list")

    back = start_agent(stack, tmp_path, "one", "lab.join", "--max-deltas", "1")  # by its identity: the token is used up
    assert back.end() == 0, back.output
