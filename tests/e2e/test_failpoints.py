"""Every failpoint that is listed is one that a federation passes: real commands, each told to name what it passes."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from alignfed.errors import DeadLetterNotFound, DeltaNotFound
from alignfed.failpoints import VARIABLE
from coordinator.cli.failpoint_places import AGENT, COMMAND, COORDINATOR, WORKER, places
from coordinator.cli.operator_client import OperatorClient
from coordinator.domain import JoinGrant
from coordinator.local.cluster import free_ports
from tests.e2e.processes import RunningCommand, running
from tests.support.tiny_federation import write_rows
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

PASSED = re.compile(r"^failpoint (\S+) hit 1 ", re.MULTILINE)
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
size = 1
[calibration]
data = "rows.jsonl"
fit_rows = 2
judge_rows = 2
sequence_length = 32
"""
NOT_PASSED = {
    "outbox.clean.": "an agent that was killed",
    "outbox.drop.": "an outbox that is full",
    "outbox.prune.": "more rejections than are kept",
    "outbox.put.residual.": "a federation whose deltas are sparse",
    "outbox.reject.": "a delta that is rejected",
    "outbox.reopen.": "a coordinator that has lost a delta",
    "outbox.residual.": "a federation whose deltas are sparse",
    "outbox.return.": "a sparse delta that is rejected",
    "store.agents.get.": "a coordinator that was not there when the agent registered",
    "store.backups.": "backup and restore",
    "store.blobs.delete.": "an upload that breaks a rule",
    "privacy.charge.": "an agent that trains with noise",
    "rpc.renew_certificate.": "an agent that has joined, and whose certificate ends",
    "store.identities.granted.": "a machine that joins",
    "store.identities.redeem.": "a machine that joins",
    "store.deltas.bury.": "a delta that kills the worker",
    "store.deltas.disown.": "a payload that the store has lost",
    "store.deltas.forgive_attempt.": "a merge that was fenced",
    "store.deltas.drop_dead.after": "a dead letter",
    "store.deltas.place.": "a delta that waits when it is asked about",
    "store.deltas.reject.": "a delta that is rejected",
    "store.deltas.requeue_dead.after": "a dead letter",
}
"""Places that a quiet federation does not pass, by the start of their names, and what it takes to pass them. Tests of
the outbox pass its own (tests/unit/edge_agent/test_outbox_failpoints.py), those of the store every call's (tests/unit/
test_failing_store.py)."""


def passed(*commands: RunningCommand) -> set[str]:
    return {place for command in commands for place in PASSED.findall(command.output)}


def test_a_federation_passes_every_place_that_is_listed(tmp_path: Path, tiny_model_dir: Path) -> None:
    listed = {place.place: place.processes for place in places()}
    settings = {VARIABLE: "; ".join(f"{place}=delay(0)@1" for place in listed)}
    agents, operators = (f"127.0.0.1:{port}" for port in free_ports(2))
    with ExitStack() as stack:

        def start(name: str, *command: str) -> RunningCommand:
            return stack.enter_context(running([*command], tmp_path, name=name, settings=settings))

        listen = ["--agent-listen", agents, "--operator-listen", operators, "--metrics-listen", ""]
        coordinator = start("coordinator", "alignfed", "coordinator", *listen, "--drain-seconds", "1")
        coordinator.wait_for("serving agents_port")
        worker = start("worker", "alignfed", "worker", "--metrics-listen", "", "--threads", "1")
        write_rows(tmp_path / "rows.jsonl")
        (tmp_path / "federation.toml").write_text(PLAN.format(model=tiny_model_dir), "utf-8")
        create = start("create", "alignfed", "federations", "create", "federation.toml", "--operator", operators)
        assert create.end() == 0, create.output

        run = ["alignfed-agent", "run", "--coordinator", agents, "--federation", "demo", "--data", "rows.jsonl"]
        agent = start("agent", *run, "--agent-id", "one", "--threads", "1")
        agent.wait_for(r"failpoint outbox\.discard\.delete\.after")
        worker.wait_for(r"failpoint store\.leases\.renew\.after")
        assert agent.end(signal.SIGTERM) == 0, agent.output
        with OperatorClient(operators) as client:
            wait_until(lambda: client.federation("demo").queued == 0, what="every delta is merged", timeout_seconds=60)
            operate(client)
        export = start("export", "alignfed", "export", "demo", "adapter", "--operator", operators)
        assert export.end() == 0, export.output
        assert worker.end(signal.SIGTERM) == 0, worker.output
        assert coordinator.end(signal.SIGTERM) == 0, coordinator.output

        by_process = {AGENT: passed(agent), COMMAND: passed(create, export)}
        by_process |= {COORDINATOR: passed(coordinator), WORKER: passed(worker)}
    for process, found in by_process.items():
        wrong = sorted(place for place in found if process not in listed[place])
        assert not wrong, f"the {process} passes {wrong}, and they are not listed as its own"
    missing = listed.keys() - set.union(*by_process.values())
    excused = {place for place in listed if place.startswith(tuple(NOT_PASSED))}
    assert missing == excused, "pass the place here, or say in NOT_PASSED what it takes"


def operate(client: OperatorClient) -> None:
    """Ask a coordinator for everything that operators ask for."""
    client.versions("demo")
    merge = client.version("demo", 1).merge
    assert merge is not None
    client.delta("demo", merge.deltas[0].delta_id)
    for ask in (client.requeue_dead_letter, client.drop_dead_letter):
        with pytest.raises(DeadLetterNotFound):
            ask("demo", "no-such-delta")
    with pytest.raises(DeltaNotFound):
        client.delta("demo", "no-such-delta")
    client.dead_letters("demo")
    client.agents("demo")
    client.inspect()
    client.pause("demo")
    client.resume("demo")
    client.roll_back("demo", client.federation("demo").head.id.number)  # the only version that is surely still retained
    client.revoke_agent("demo", "one")
    now = time.time()
    client.create_join_grant(
        JoinGrant(
            token_id="ab" * 12,
            secret_sha256="0" * 64,
            agent="two",
            federations=("demo",),
            uses=1,
            created_at=now,
            expires_at=now + 60,
        )
    )
    assert [state.grant.agent for state in client.join_grants()] == ["two"]
    client.withdraw_join_grant("ab" * 12)
    client.revoke_identity("agent:two")


def test_the_command_lists_them_and_refuses_others(tmp_path: Path) -> None:
    program = str(Path(sys.executable).with_name("alignfed"))
    for setting, expected in (("store.check.before=crash", 0), ("store.nothing.before=crash", 2), ("nonsense", 2)):
        done = subprocess.run(
            [program, "failpoints"],
            cwd=tmp_path,
            env={VARIABLE: setting},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == expected, done.stderr
        assert (expected == 0) == ("store.versions.commit.before" in done.stdout)
        assert (expected == 2) == ("alignfed failpoints" in done.stderr)
