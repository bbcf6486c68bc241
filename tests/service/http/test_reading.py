"""The JSON behind the page: what it says is what the store says, cheaply, and bounded however large a fleet is."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import pytest

from coordinator.backends.embedded import EmbeddedValkey
from coordinator.backends.memory import MemoryStore
from coordinator.backends.urls import open_store
from coordinator.fairness import gini, jain_index
from coordinator.service.http.history import VERSIONS_SHOWN, History
from coordinator.service.http.snapshots import LIFETIME_SECONDS
from tests.service.http.conftest import Port, SettableClock, StartPort
from tests.support.plausible_federation import History as Past
from tests.support.plausible_federation import seed_plausible
from tests.support.stores import new_agent, publish, seed_federation, submit
from tests.support.watched_store import WatchedStore


async def get(port: Port, path: str, *, status: int = 200) -> Any:
    async with port.client.get(f"{port.url}api/v1/{path}") as response:
        assert response.status == status, await response.text()
        return await response.json()


async def test_a_federation_is_shown_as_it_is(port: Port, store: WatchedStore, federation: str) -> None:
    view = await get(port, f"federations/{federation}")
    head = await store.versions.head(federation)
    assert (view["name"], view["head"], view["paused"]) == ("fleet-one", head.id.number, False)
    depth = await store.deltas.depth(federation)
    assert view["queue"] == dataclasses.asdict(depth)
    assert depth.dead == 1

    agents = await store.agents.list(federation)
    served = await store.agents.contributions(federation)
    active = [it for it in agents if not it.revoked and view["as_of"] - it.last_seen_at <= 86_400]
    merged = [float(served[it.agent_id].merged) if it.agent_id in served else 0.0 for it in active]
    assert view["agents"]["registered"] == len(agents) == 24
    assert view["agents"]["active"] == len(active) == view["fairness"]["agents"]
    assert view["agents"]["revoked"] == 1
    assert view["fairness"]["merged"]["jain"] == jain_index(merged)
    assert view["fairness"]["merged"]["gini"] == gini(merged)
    assert view["fairness"]["merged"]["lorenz"][0] == [0, 0]
    assert view["fairness"]["merged"]["lorenz"][-1] == [1, 1]
    assert view["fairness"]["unserved"] == merged.count(0.0) >= 1
    assert sum(tier["agents"] for tier in view["tiers"]) == len(active)
    assert sum(tier["weight_share"] for tier in view["tiers"]) == pytest.approx(1)

    versions = await store.versions.list(federation, before=None, limit=100)
    deltas = [delta for version in versions if version.merge for delta in version.merge.deltas]
    assert [version["number"] for version in view["versions"]] == [version.id.number for version in reversed(versions)]
    by_name = {bucket["staleness"]: bucket["deltas"] for bucket in view["staleness"]}
    assert sum(by_name.values()) == len(deltas)
    assert by_name["2-3"] == sum(delta.staleness_versions in (2, 3) for delta in deltas) > 0
    newest = view["versions"][-1]
    assert versions[0].merge is not None
    assert newest["loss"] == versions[0].merge.calibration_loss_after
    assert newest["deltas"] == len(versions[0].merge.deltas)


async def test_rollbacks_leave_what_they_abandon_beside_the_line_of_the_head(port: Port, federation: str) -> None:
    versions = {it["number"]: it for it in (await get(port, f"federations/{federation}"))["versions"]}
    assert (versions[19]["kind"], versions[19]["parent"], versions[19]["lane"]) == ("rollback", 14, 0)
    assert all(versions[number]["abandoned"] and versions[number]["lane"] == 1 for number in (15, 16, 17, 18, 29, 30))
    assert {versions[number]["lane"] for number in (0, 14, 20, 28, 31, 40)} == {0}


async def test_federations_are_listed(port: Port, store: WatchedStore, federation: str) -> None:
    answer = await get(port, "federations")
    assert answer["federations"] == [{"name": federation, "head": 40, "paused": False, "queued": 4, "dead": 1}]
    assert answer["more"] == 0


async def test_a_store_without_federations_is_no_error(start_port: StartPort) -> None:
    port = await start_port(MemoryStore())
    assert (await get(port, "federations"))["federations"] == []


async def test_a_federation_with_nothing_but_its_first_version_is_shown(start_port: StartPort) -> None:
    store = MemoryStore()
    plan = await seed_federation(store, agents=())
    port = await start_port(store)
    view = await get(port, f"federations/{plan.federation}")
    assert [version["kind"] for version in view["versions"]] == ["initial"]
    assert view["tiers"] == []
    assert view["fairness"]["merged"] == {"jain": 1.0, "gini": 0.0, "lorenz": [[0, 0], [1, 1]]}


@pytest.mark.parametrize("name", ["nowhere", "UPPER", "a%2Fb", "%3Cimg%3E"])
async def test_an_unknown_federation_is_said_to_be_unknown(port: Port, name: str) -> None:
    for path in (f"federations/{name}", f"federations/{name}/agents"):
        assert (await get(port, path, status=404))["reason"] == "FEDERATION_UNKNOWN"


async def test_agents_are_sorted_filtered_and_cut_into_pages(start_port: StartPort) -> None:
    store = MemoryStore()
    await seed_plausible(store, Past(name="many", now=time.time(), agents=120, versions=12, rolled_back=()))
    port = await start_port(store)
    first = await get(port, "federations/many/agents?sort=-merged")
    counts = [row["merged"] for row in first["agents"]]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > 0
    assert (len(counts), first["found"], first["registered"], first["pages"]) == (50, 120, 120, 3)
    last = await get(port, "federations/many/agents?sort=-merged&page=99")
    assert (last["page"], len(last["agents"])) == (3, 20)
    slow = await get(port, "federations/many/agents?filter=CORTEX&sort=last_seen")
    assert slow["found"] == 60
    assert all(row["tier"] == "slow" for row in slow["agents"])
    seen = [row["last_seen_at"] for row in slow["agents"]]
    assert seen == sorted(seen)
    assert (await get(port, "federations/many/agents?filter=revoked"))["found"] == 1
    assert (await get(port, "federations/many/agents?filter=nobody"))["agents"] == []


@pytest.mark.parametrize(
    "query", ["sort=secret", "page=0", "page=-1", "page=x", f"page={'9' * 30}", f"filter={'x' * 101}"]
)
async def test_a_query_that_makes_no_sense_is_refused_with_advice(port: Port, federation: str, query: str) -> None:
    assert (await get(port, f"federations/{federation}/agents?{query}", status=400))["reason"] == "REQUEST_INVALID"


async def test_an_agents_lag_is_the_staleness_of_its_newest_merged_delta(
    port: Port, store: WatchedStore, federation: str
) -> None:
    rows = (await get(port, f"federations/{federation}/agents"))["agents"]
    versions = await store.versions.list(federation, before=None, limit=100)
    for row in rows:
        of_agent = [
            (version.id.number, delta.staleness_versions)
            for version in versions
            if version.merge
            for delta in version.merge.deltas
            if delta.agent_id == row["agent_id"]
        ]
        newest = max(of_agent, key=lambda found: found[0], default=(None, None))
        assert row["merged_in"] == newest[0]
        if newest[0] is not None:
            assert (row["merged_in"], row["lag_versions"]) in of_agent


async def test_many_viewers_cost_the_store_one_reading(
    start_port: StartPort, store: WatchedStore, federation: str, clock: SettableClock
) -> None:
    port = await start_port(store, clock=clock)
    store.calls.clear()
    paths = ["federations", f"federations/{federation}", f"federations/{federation}/agents?sort=-weight"]
    await asyncio.gather(*(get(port, path) for path in paths * 20))
    assert store.calls["agents.list"] == store.calls["agents.contributions"] == store.calls["federations.names"] == 1
    before = sum(store.calls.values())
    clock.seconds += LIFETIME_SECONDS - 0.1
    await asyncio.gather(*(get(port, path) for path in paths * 20))
    assert sum(store.calls.values()) == before
    clock.seconds += 0.2
    await get(port, paths[1])
    assert store.calls["agents.list"] == 2
    assert store.calls["federations.get"] == 1


async def test_a_version_is_read_once(store: WatchedStore) -> None:
    plan = await seed_federation(store)
    name = plan.federation
    for _ in range(60):
        await publish(store, name)
    history = History(store.versions, name)
    assert len(await history.up_to(await store.versions.head(name))) == 61
    store.calls.clear()
    assert len(await history.up_to(await store.versions.head(name))) == 61
    assert store.calls["versions.list"] == 0
    await publish(store, name)
    known = await history.up_to(await store.versions.head(name))
    assert [version.id.number for version in known] == list(range(61, -1, -1))
    assert store.calls["versions.list"] == 1


async def test_a_rollback_is_seen_in_the_versions_it_abandons(store: WatchedStore) -> None:
    plan = await seed_federation(store)
    name = plan.federation
    for _ in range(5):
        await publish(store, name)
    history = History(store.versions, name)
    await history.up_to(await store.versions.head(name))
    await store.versions.roll_back(name, 2, at=time.time())
    known = await history.up_to(await store.versions.head(name))
    assert [version.id.number for version in known if version.abandoned] == [5, 4, 3]


async def test_a_store_that_lost_its_newest_writes_is_read_anew() -> None:
    histories = []
    for kept in (5, 3):
        store = MemoryStore()
        plan = await seed_federation(store, adapter_blob_id="first-adapter")
        for _ in range(kept):
            await publish(store, plan.federation)
        histories.append((store, plan.federation))
    (old, name), (new, new_name) = histories
    history = History(old.versions, name)
    await history.up_to(await old.versions.head(name))
    history._versions, history._federation = new.versions, new_name
    for _ in range(4):
        await publish(new, new_name)
    records = await new.versions.list(new_name, before=None, limit=100)
    known = await history.up_to(await new.versions.head(new_name))
    assert [version.id for version in known] == [record.id for record in records]


async def test_the_page_looks_back_a_bounded_way(start_port: StartPort) -> None:
    store = MemoryStore()
    plan = await seed_federation(store)
    for _ in range(VERSIONS_SHOWN + 20):
        await publish(store, plan.federation)
    port = await start_port(store)
    view = await get(port, f"federations/{plan.federation}")
    assert len(view["versions"]) == VERSIONS_SHOWN
    assert view["versions"][-1]["number"] == VERSIONS_SHOWN + 20


async def test_a_thousand_agents_are_answered_quickly_and_in_little(start_port: StartPort) -> None:
    store = MemoryStore()
    past = Past(name="large", now=time.time(), agents=1000, versions=200, buffer_size=8, rolled_back=((60, 50),))
    await seed_plausible(store, past)
    port = await start_port(store)
    began = time.perf_counter()
    async with port.client.get(f"{port.url}api/v1/federations/large") as response:
        body = await response.read()
        sent = response.content_length
    async with port.client.get(f"{port.url}api/v1/federations/large/agents?sort=-weight") as response:
        page = await response.read()
    seconds = time.perf_counter() - began
    assert json.loads(page)["registered"] == 1000
    assert len(body) < 100_000
    assert sent is None or sent < 30_000
    assert len(page) < 20_000
    assert seconds < 3.0
    began = time.perf_counter()
    for text in ("fast", "slow", "-99", "revoked", ""):
        await get(port, f"federations/large/agents?sort=lag&filter={text}")
    assert time.perf_counter() - began < 1.0


async def test_a_store_that_is_away_is_said_to_be_away_and_comes_back(
    start_port: StartPort, store: WatchedStore, federation: str, clock: SettableClock
) -> None:
    port = await start_port(store, clock=clock)
    store.go_away()
    assert (await get(port, f"federations/{federation}", status=503))["reason"] == "STORE_UNREACHABLE"
    store.come_back()
    await get(port, f"federations/{federation}")


async def test_words_of_an_agent_stay_words(start_port: StartPort) -> None:
    store = MemoryStore()
    plan = await seed_federation(store)
    evil = '<img src=x onerror="alert(1)">'
    agent = dataclasses.replace(new_agent("agent-1"), tier=evil, device="</script><script>alert(2)</script>")
    await store.agents.register(plan.federation, agent)
    port = await start_port(store)
    async with port.client.get(f"{port.url}api/v1/federations/{plan.federation}/agents") as response:
        assert response.content_type == "application/json"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert (await response.json())["agents"][0]["tier"] == evil


async def test_a_real_store_says_the_same_as_memory(start_port: StartPort, tmp_path: Path) -> None:
    now = time.time()
    past = Past(name="same", now=now, versions=12, rolled_back=((7, 4),))
    memory = MemoryStore()
    await seed_plausible(memory, past)
    with EmbeddedValkey(tmp_path / "valkey") as server:
        real = open_store(server.url)
        try:
            await seed_plausible(real, past)
            answers = []
            for store in (memory, real):
                port = await start_port(store)
                view = await get(port, "federations/same")
                agents = (await get(port, "federations/same/agents"))["agents"]
                answers.append(_rounded([_comparable(view), agents]))
            assert answers[0] == answers[1]
            await submit(real, "same", agent_id="fast-001")
        finally:
            await real.close()


def _comparable(view: dict[str, Any]) -> dict[str, Any]:
    """Drop what differs between two fillings: when they were read, and the digests of made-up payloads."""
    for version in view["versions"]:
        del version["digest"], version["epoch"]
    return {**view, "as_of": None}


def _rounded(value: Any) -> Any:
    """Round what was summed: stores add weights up in different orders and precisions."""
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return {key: _rounded(one) for key, one in value.items()} if isinstance(value, dict) else value
