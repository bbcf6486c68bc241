"""100,000 hostile messages over the wire against a coordinator process: it goes on serving, bounded and unharmed.

`ALIGNFED_HOSTILE_MESSAGES` is how many, `ALIGNFED_HOSTILE_SEED` what they follow from.
"""

from __future__ import annotations

import os
import random
import re
import signal
import urllib.request
from pathlib import Path

import pytest

from coordinator.backends.embedded import EmbeddedValkey
from coordinator.backends.urls import open_store
from coordinator.local.cluster import free_ports
from tests.e2e.processes import running
from tests.fuzz.reader import peak_bytes, reset_peak_bytes
from tests.support.hostile_campaign import ATTACKERS, HEALTHY, attacked
from tests.support.owners import unowned
from tests.support.raw_client import RawClient, WireDelta, wire_plan
from tests.support.stores import seed_federation

MESSAGES = int(os.environ.get("ALIGNFED_HOSTILE_MESSAGES", "100000"))
SEED = int(os.environ.get("ALIGNFED_HOSTILE_SEED", "0")) or random.SystemRandom().randrange(1, 2**32)
MEMORY_BYTES = 256 << 20
"""How far the process may grow at its peak: a header of 2 MB that names a million tensors unfolds while it is read."""
NEVER = ("UNKNOWN", "INTERNAL", "none", "unanswered", "reset")

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900 + MESSAGES // 20)]


async def test_a_coordinator_process_outlives_hostile_messages(tmp_path: Path) -> None:
    agents, operators, figures = free_ports(3)
    with EmbeddedValkey(tmp_path / "store") as valkey:
        store = open_store(valkey.url)
        plan = await seed_federation(store, wire_plan(columns=200), agents=(*ATTACKERS, HEALTHY))
        command = ["alignfed", "coordinator", f"--store-url={valkey.url}", f"--agent-listen=127.0.0.1:{agents}"]
        command += [f"--operator-listen=127.0.0.1:{operators}", f"--metrics-listen=127.0.0.1:{figures}"]
        with running([*command, "--log-format=text"], tmp_path, name="coordinator") as coordinator:
            coordinator.wait_for("serving agents_port")
            pid = coordinator.process.pid
            base = (await store.versions.head(plan.federation)).id
            await submit_one(agents, operators, WireDelta.of(plan, base, agent_id=HEALTHY))  # all is loaded
            before = reset_peak_bytes(pid)
            ports = {"agent_port": agents, "operator_port": operators}
            campaign = await attacked(messages=MESSAGES, seed=SEED, **ports, store=store, plan=plan)
            grown = peak_bytes(pid) - before
            said = f"{campaign}\nmemory of the coordinator +{grown / 2**20:.0f} MiB"
            print(said)  # noqa: T201 (the run's figures)

            assert coordinator.process.poll() is None, coordinator.output[-2000:]
            assert not campaign.untyped, campaign.untyped[:5]
            assert not set(campaign.served) & set(NEVER), said
            assert len(campaign.served) > 5, said
            assert grown < MEMORY_BYTES, said
            assert not codes_served(figures) & {"UNKNOWN", "INTERNAL"}
            await submit_one(agents, operators, WireDelta.of(plan, base, agent_id=HEALTHY, seed=1))
            for delta_id in (*campaign.submitted, *campaign.accepted):
                assert await store.deltas.receipt(plan.federation, delta_id), f"the receipt of {delta_id} is lost"
            assert coordinator.end(signal.SIGTERM) == 0
            strange = [line for line in coordinator.output.splitlines()[40:] if " INFO " not in line]
            assert len(strange) < 50, strange[:20]  # a hostile client must not fill the log either
            assert not [line for line in strange if re.search(r"(?i)traceback|error", line)], strange[:20]
        await store.blobs.sweep(plan.federation, unclaimed_before=float("inf"))
        assert await unowned(store) == set()
        await store.close()


async def submit_one(agent_port: int, operator_port: int, delta: WireDelta) -> None:
    client = RawClient(agent_port=agent_port, operator_port=operator_port)
    try:
        await client.submit(delta.messages(), timeout=60)
    finally:
        await client.close()


def codes_served(port: int) -> set[str]:
    """Return the status codes that the process counts for calls it served."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as response:
        text = response.read().decode()
    return set(re.findall(r'alignfed_rpc_server_duration_seconds_count\{[^}]*code="([A-Z_]+)"', text))
