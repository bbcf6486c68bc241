"""Real agents behind a link that flaps: cuts, resets, refusals, slow and sliced phases; and one that is away for long.

    python -m tests.chaos flapping-link --count 500 --seed 3     # phases
    python -m tests.chaos offline --count 60                     # versions

Everything an agent has made must be merged exactly once or be refused with a reason, and an upload that broke off must
go on where it was: `sent_ratio` is the bytes that went up, polls included, over the bytes of all payloads.
"""

from __future__ import annotations

import dataclasses
import random
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from alignfed.layout import layout_of
from alignfed.plan import Buffer, FederationPlan, Limits, Retention, TensorSpec
from tests.chaos.faults.flows import Faults, Flow
from tests.chaos.faults.pauses import pause
from tests.chaos.faults.proxy import FaultProxy
from tests.chaos.harness.fleet import Fleet
from tests.chaos.harness.journals import MADE, read_events
from tests.chaos.harness.plan import federation_plan
from tests.chaos.harness.settling import come_to_rest
from tests.chaos.verdict.aftermath import read_agents, read_log
from tests.chaos.verdict.evidence import gather
from tests.chaos.verdict.oracle import Evidence, judge
from tests.chaos.verdict.outcome import Outcome

AGENTS = ("agent-1", "agent-2")
WIDTH = 131_072
"""Columns of the adapted module: a delta has twice as many elements, half a mebibyte in bf16."""
CHUNK_BYTES = 16 * 1024
DELTA_SECONDS = 0.3
CALM_SECONDS = (0.3, 1.0)
KINDS = ("cut", "one_way", "reset", "refuse", "slow", "sliced", "broken")
TOO_OLD = "BASE_VERSION_TOO_OLD"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """How a link misbehaves: so many phases of these kinds, none longer than so many seconds."""

    phases: int
    kinds: Sequence[str] = KINDS
    longest_seconds: float = 3.0


def run_flapping(folder: Path, link: Link, *, seed: int) -> Outcome:
    """Run agents behind the link until it has flapped enough, let everything come to rest, and judge."""
    began = time.monotonic()
    chance = random.Random(f"flapping {seed}")
    flapped: Counter[str] = Counter()
    with Fleet(folder, _plan(folder)) as fleet:
        fleet.add_coordinators(1)
        fleet.create_federation()
        fleet.add_workers(1)
        with FaultProxy(_port(fleet), seed=seed) as proxy:
            for name in AGENTS:
                fleet.add_agent(name, seconds=DELTA_SECONDS, coordinator=proxy.address)
            for name in AGENTS:
                fleet.wait_ready(name)
            for _ in range(link.phases):
                kind = chance.choice(link.kinds)
                flapped[kind] += 1
                _spoil(proxy, kind, chance, longest_seconds=link.longest_seconds)
                proxy.heal()
                pause(chance.uniform(*CALM_SECONDS))
                fleet.tend()
            come_to_rest(fleet, AGENTS, coordinator=proxy.address)
            traffic = proxy.traffic
        further = {
            "phases": f"{link.phases} ({' '.join(f'{kind}={count}' for kind, count in sorted(flapped.items()))})",
            "connections": traffic.connections,
            "resets": traffic.resets,
            "sent_ratio": f"{traffic.up_bytes / (_made(folder).total() * _payload_bytes(fleet.plan)):.2f}",
        }
        return _outcome("flapping", fleet, seed=seed, seconds=time.monotonic() - began, further=further)


def run_offline(folder: Path, *, away_versions: int, seed: int) -> Outcome:
    """Keep one agent away while the others move the head so many versions on, more than are kept; then let it back.

    It goes on training from the version it holds until its outbox is full. What it made is too old by then: refused
    with that reason; and it pulls, and what it makes then is merged.
    """
    began = time.monotonic()
    retention = Retention(versions=max(1, away_versions // 2), delta_versions=1)
    away = AGENTS[0]
    with Fleet(folder, _plan(folder, retention)) as fleet:
        fleet.add_coordinators(1)
        fleet.create_federation()
        fleet.add_workers(1)
        with FaultProxy(_port(fleet), seed=seed) as proxy:
            fleet.add_agent(away, seconds=DELTA_SECONDS, coordinator=proxy.address)
            fleet.add_agent(AGENTS[1], seconds=DELTA_SECONDS)
            fleet.tend_until(
                lambda: _messages(folder, away, "delta is merged") > 0, what=f"a delta of {away} is merged"
            )
            with proxy.refusing():
                left_at = _head_of(folder)
                fleet.tend_until(
                    lambda: _head_of(folder) >= left_at + away_versions and _pending(folder, away) >= 2,
                    what=f"the head moves {away_versions} versions on without {away}",
                )
            merged = _messages(folder, away, "delta is merged")
            fleet.tend_until(lambda: TOO_OLD in _refusals(folder), what=f"{away} hears that its deltas are too old")
            fleet.tend_until(
                lambda: _messages(folder, away, "delta is merged") > merged, what=f"{away} takes part again"
            )
            come_to_rest(fleet, AGENTS, coordinator=proxy.address)
        reasons = Counter(_refusals(folder))
        further = {"away_versions": away_versions, "too_old": reasons[TOO_OLD], "refused": reasons.total()}
        return _outcome("offline", fleet, seed=seed, seconds=time.monotonic() - began, further=further)


def _spoil(proxy: FaultProxy, kind: str, chance: random.Random, *, longest_seconds: float) -> None:
    """Let one phase pass; whoever calls heals the proxy."""
    seconds = chance.uniform(0.2, longest_seconds)
    slow = Flow(bytes_per_second=chance.uniform(1e5, 1e6), latency_seconds=0.05, jitter_seconds=0.05)
    match kind:
        case "cut":
            with proxy.cut():
                pause(seconds)
        case "one_way":
            held_back = Flow(held=True)
            proxy.set(Faults(up=held_back) if chance.random() < 0.5 else Faults(down=held_back))
            pause(seconds)
        case "reset":
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                proxy.reset()
                pause(chance.uniform(0.02, 0.3))
        case "refuse":
            with proxy.refusing():
                pause(seconds)
        case "slow":
            proxy.set(Faults.both(slow))
            pause(seconds)
        case "sliced":
            proxy.set(Faults.both(Flow(slice_bytes=chance.randint(50, 1500))))
            pause(seconds)
        case "broken":  # no connection lives long enough for one delta
            proxy.set(Faults(up=Flow(reset_after_bytes=chance.randint(100_000, 400_000), bytes_per_second=4e5)))
            proxy.reset()
            pause(2 * seconds)
        case _:
            raise ValueError(f"a link never flaps by {kind!r}")


def _plan(folder: Path, retention: Retention | None = None) -> FederationPlan:
    plan = federation_plan(folder, buffer=Buffer(size=2, timeout_seconds=0.5), retention=retention)
    tensors = (
        TensorSpec(name="layer.q_proj.lora_A.weight", shape=(1, WIDTH)),
        TensorSpec(name="layer.q_proj.lora_B.weight", shape=(WIDTH, 1)),
    )
    limits = Limits(chunk_bytes=CHUNK_BYTES, max_queue_deltas=plan.limits.max_queue_deltas)
    return dataclasses.replace(plan, tensors=tensors, limits=limits).validate()


def _payload_bytes(plan: FederationPlan) -> int:
    return layout_of(plan.tensors, plan.delta_encoding).total_bytes


def _port(fleet: Fleet) -> int:
    return int(fleet.address.rpartition(":")[2])


def _made(folder: Path) -> Counter[str]:
    """Return the ids of all deltas that agents have made."""
    found: Counter[str] = Counter()
    for name in AGENTS:
        found += read_events(folder / "agents" / name / "events.log").get(MADE, Counter())
    return found


def _messages(folder: Path, name: str, message: str) -> int:
    return sum(line["message"] == message for line in read_log(folder / "processes" / f"{name}.log"))


def _refusals(folder: Path) -> list[str]:
    return list(read_agents(folder, AGENTS).refused.values())


def _pending(folder: Path, name: str) -> int:
    return len(list((folder / "agents" / name / "outbox" / "pending").glob("*")))


def _head_of(folder: Path) -> int:
    """Return the newest version that the worker says it has published."""
    published = [line for line in read_log(folder / "processes" / "worker-1.log") if "outcome" in line]
    return max((line["version"] for line in published if line["message"] == "version published"), default=0)


def _outcome(scenario: str, fleet: Fleet, *, seed: int, seconds: float, further: dict[str, object]) -> Outcome:
    states = [fleet.folder / "agents" / name for name in AGENTS]
    evidence = gather(fleet.store.url, fleet.plan.federation, agents=states, derive_every=0)
    return Outcome(
        scenario=scenario,
        seed=seed,
        tally=fleet.tally,
        verdict=judge(evidence),
        seconds=seconds,
        further=further,
        faults=(*fleet.accidents, *_unaccounted(fleet.folder, evidence)),
    )


def _unaccounted(folder: Path, evidence: Evidence) -> list[str]:
    """Say which deltas were made and are neither merged nor refused with a reason."""
    merged = {delta_id for version in evidence.versions for delta_id in version.delta_ids}
    refused = {delta_id for delta_id, reason in read_agents(folder, AGENTS).refused.items() if reason}
    missing = _made(folder).keys() - merged - refused
    return [f"{len(missing)} deltas were made and are neither merged nor refused"] if missing else []
