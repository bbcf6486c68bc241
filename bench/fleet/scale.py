"""Paper sums: what a fleet of any size needs, from what one of each costs. Pure arithmetic, no measurement.

Every sum is linear in its unit costs; nothing here knows of contention, so what it says is the least that is needed.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from alignfed.errors import RequestInvalid
from alignfed.plain import PlainValueError, from_plain

MEGA, GIGA = 1e6, 1e9
BUSY_RATIO = 0.6
"""How full a process is planned to be: above that, what waits in line grows faster than what is served."""
NEWS_SECONDS = 2.0
"""Within so long after it is published a coordinator shall have told all its agents of a version."""
SHARD_BYTES = 48 * GIGA
"""Payload of one store shard of 64 GB: the rest is for copies while it writes its file anew."""
SHARD_BYTES_PER_SECOND = 200 * MEGA
"""Payload that one store process takes with its append-only file flushed every second: an assumption for sums, some
half of what the goal of `alignfed bench speed` asks of uploads on one machine."""
LINK_BITS_PER_SECOND = 25 * GIGA
"""One machine's network."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class UnitCosts:
    """What one of each costs: milliseconds of one processor, KiB and bytes of memory.

    Attributes:
        watch_event_ms: Coordinator, to tell one agent that watches of one version.
        long_poll_ms: Coordinator, one long poll, from its arrival to its answer.
        delta_ms: Coordinator, all that one small delta takes: a poll, two or three questions, and the upload.
        upload_ms_per_mb, download_ms_per_mb: Coordinator, for each megabyte beyond that.
        agent_kib: Coordinator's memory for an agent that keeps a connection and a watch or poll open.
        store_bytes_per_agent: Store's memory for one agent's record.
        store_bytes_per_delta: Store's memory for a delta's record and receipt, its payload not included.
        merge_ms_per_agent: Worker, for each agent that ever registered, at every merge: it reads the record of each.
        merge_ms: Worker, one small delta.
        merge_ms_per_mb: Worker, for each megabyte beyond that.
    """

    watch_event_ms: float = 0.24
    long_poll_ms: float = 0.65
    delta_ms: float = 10.0
    upload_ms_per_mb: float = 6.8
    download_ms_per_mb: float = 1.0
    agent_kib: float = 45.0
    store_bytes_per_agent: float = 3_500.0
    store_bytes_per_delta: float = 2_000.0
    merge_ms_per_agent: float = 0.1
    merge_ms: float = 1.5
    merge_ms_per_mb: float = 11.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A fleet on paper.

    Attributes:
        agents: How many.
        cycle_seconds: Mean time between two deltas of an agent: training, waiting, sending.
        delta_bytes: A delta on the wire.
        adapter_bytes: A version on the wire (fp32), downloaded once before each training.
        version_seconds: Time between versions: a merge takes all deltas that come in it.
        watching_ratio: Share of agents that watch; the others keep a long poll open.
        poll_seconds: Longest wait of a long poll.
        kept_merges: Merges whose raw deltas the store keeps (`retention.delta_versions`).
        kept_versions: Versions whose adapters it keeps (`retention.versions`).
        kept_receipts: Deltas whose records and receipts it keeps.
    """

    agents: int
    cycle_seconds: float = 600.0
    delta_bytes: float = 0.92 * MEGA
    adapter_bytes: float = 1.84 * MEGA
    version_seconds: float = 30.0
    watching_ratio: float = 1.0
    poll_seconds: float = 60.0
    kept_merges: int = 0
    kept_versions: int = 64
    kept_receipts: int = 1_000_000


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a plan needs. `breaks` says, per resource, how much of what one of it can give the fleet takes."""

    plan: Plan
    deltas_per_second: float
    deltas_per_merge: float
    told_per_second: float
    coordinator_cores: float
    coordinators: int
    coordinator_bytes: float
    upload_bytes_per_second: float
    download_bytes_per_second: float
    store_bytes: float
    shards: int
    worker_load: float
    cpu_seconds_per_version: float
    moved_bytes_per_version: float
    breaks: dict[str, float]

    @property
    def first(self) -> str:
        """The resource that is used most: the first to give way as the fleet grows."""
        return max(self.breaks, key=lambda name: self.breaks[name])


def needs(plan: Plan, costs: UnitCosts) -> Needs:
    """Return what a fleet needs."""
    deltas = plan.agents / plan.cycle_seconds
    watching, polling = plan.agents * plan.watching_ratio, plan.agents * (1 - plan.watching_ratio)
    answered = polling / min(plan.version_seconds, plan.poll_seconds)
    told_ms = (watching * costs.watch_event_ms / plan.version_seconds) + answered * costs.long_poll_ms
    uploaded, downloaded = deltas * plan.delta_bytes, deltas * plan.adapter_bytes
    milliseconds = (
        told_ms
        + deltas * costs.delta_ms
        + uploaded / MEGA * costs.upload_ms_per_mb
        + downloaded / MEGA * costs.download_ms_per_mb
    )
    cores = milliseconds / 1000
    news_seconds = (watching * costs.watch_event_ms + polling * costs.long_poll_ms) / 1000
    merged_at_once = deltas * plan.version_seconds
    store_bytes = (
        plan.agents * costs.store_bytes_per_agent
        + plan.kept_receipts * costs.store_bytes_per_delta
        + merged_at_once * (1 + plan.kept_merges) * plan.delta_bytes
        + plan.kept_versions * plan.adapter_bytes
    )
    delta_merge_ms = costs.merge_ms + plan.delta_bytes / MEGA * costs.merge_ms_per_mb
    worker = (deltas * delta_merge_ms + plan.agents * costs.merge_ms_per_agent / plan.version_seconds) / 1000
    return Needs(
        plan=plan,
        deltas_per_second=deltas,
        deltas_per_merge=merged_at_once,
        told_per_second=watching / plan.version_seconds + answered,
        coordinator_cores=cores,
        coordinators=max(1, math.ceil(cores / BUSY_RATIO), math.ceil(news_seconds / NEWS_SECONDS)),
        coordinator_bytes=plan.agents * costs.agent_kib * 1024,
        upload_bytes_per_second=uploaded,
        download_bytes_per_second=downloaded,
        store_bytes=store_bytes,
        shards=max(1, math.ceil(store_bytes / SHARD_BYTES), math.ceil(uploaded / SHARD_BYTES_PER_SECOND)),
        worker_load=worker,
        cpu_seconds_per_version=(cores + worker) * plan.version_seconds,
        moved_bytes_per_version=(uploaded + downloaded) * plan.version_seconds,
        breaks={
            "one coordinator process": cores / BUSY_RATIO,
            f"telling all within {NEWS_SECONDS:g} s": news_seconds / NEWS_SECONDS,
            "the one worker that merges": worker / BUSY_RATIO,
            "one shard's memory": store_bytes / SHARD_BYTES,
            "one shard's writes": uploaded / SHARD_BYTES_PER_SECOND,
            "one machine's network": 8 * max(uploaded, downloaded) / LINK_BITS_PER_SECOND,
        },
    )


def breaking_points(plan: Plan, costs: UnitCosts) -> dict[str, int]:
    """Return, for one of each resource, the number of agents at which it is full, fewest first.

    Everything but what is kept whatever the fleet's size grows with the number of agents, so that is found by halving.
    """
    found = {}
    for name in needs(plan, costs).breaks:
        low, high = 0, 1 << 40
        while high - low > 1:
            middle = (low + high) // 2
            if needs(dataclasses.replace(plan, agents=middle), costs).breaks[name] <= 1:
                low = middle
            else:
                high = middle
        found[name] = low
    return dict(sorted(found.items(), key=lambda item: item[1]))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Regional:
    """The same fleet in regions, each with a coordinator, a store and a worker whose merges are the centre's deltas."""

    regions: int
    region: Needs
    centre: Needs


def regional(plan: Plan, costs: UnitCosts, *, agents_per_region: int) -> Regional:
    """Return what a fleet needs whose regions merge before they send.

    To the centre a region is one agent that sends one delta per version of its own, and downloads once for all its
    agents.
    """
    regions = max(1, math.ceil(plan.agents / agents_per_region))
    region = dataclasses.replace(plan, agents=min(plan.agents, agents_per_region))
    centre = dataclasses.replace(plan, agents=regions, cycle_seconds=plan.version_seconds)
    return Regional(regions=regions, region=needs(region, costs), centre=needs(centre, costs))


def sums(sizes: Sequence[int], *, values: Mapping[str, Any], agents_per_region: int) -> str:
    """Return the sums of fleets of several sizes in Markdown: as they are, where each part ends, and in regions.

    Args:
        sizes: Numbers of agents.
        values: `costs` as of `UnitCosts` and `plan` as of `Plan`, either of them in part; what they leave out is usual.
        agents_per_region: Of the regions.

    Raises:
        RequestInvalid: A value is unknown or has the wrong type.
    """
    try:
        costs = from_plain(UnitCosts, values.get("costs", {}))
        plans = [from_plain(Plan, {**values.get("plan", {}), "agents": agents}) for agents in sizes]
    except PlainValueError as error:
        raise RequestInvalid(f"these are no unit costs: {error}") from error
    split = [regional(plan, costs, agents_per_region=agents_per_region) for plan in plans]
    ends = breaking_points(plans[0], costs)
    return "\n".join(
        [
            f"One delta per agent every {plans[0].cycle_seconds:g} s of {_bytes(plans[0].delta_bytes)}, a version "
            f"every {plans[0].version_seconds:g} s of {_bytes(plans[0].adapter_bytes)}:",
            "",
            table([needs(plan, costs) for plan in plans]),
            "",
            "One of each is full at:",
            "",
            "| | agents |",
            "|---|---|",
            *(f"| {name} | {agents:,} |" for name, agents in ends.items()),
            "",
            f"The centre, when regions of {agents_per_region:,} agents merge first (a region is an agent here):",
            "",
            table([it.centre for it in split]),
            "",
            "Each region:",
            "",
            table([split[-1].region]),
        ]
    )


def table(columns: Sequence[Needs]) -> str:
    """Return the sums of several fleets as a Markdown table, a column for each."""
    rows = [
        ("agents", [f"{it.plan.agents:,}" for it in columns]),
        ("deltas a second", [f"{it.deltas_per_second:,.3g}" for it in columns]),
        ("deltas of one merge", [f"{it.deltas_per_merge:,.0f}" for it in columns]),
        ("told of versions a second", [f"{it.told_per_second:,.0f}" for it in columns]),
        ("coordinator processors", [f"{it.coordinator_cores:,.2f}" for it in columns]),
        ("coordinator processes", [f"{it.coordinators:,}" for it in columns]),
        ("coordinators' memory for agents", [_bytes(it.coordinator_bytes) for it in columns]),
        ("uploaded a second", [_bytes(it.upload_bytes_per_second) for it in columns]),
        ("downloaded a second", [_bytes(it.download_bytes_per_second) for it in columns]),
        ("store memory", [_bytes(it.store_bytes) for it in columns]),
        ("store shards", [f"{it.shards:,}" for it in columns]),
        ("worker processors", [f"{it.worker_load:,.2f}" for it in columns]),
        ("processor seconds per version", [f"{it.cpu_seconds_per_version:,.1f}" for it in columns]),
        ("bytes moved per version", [_bytes(it.moved_bytes_per_version) for it in columns]),
        ("fullest", [f"{it.first} ({it.breaks[it.first]:,.2f}x)" for it in columns]),
    ]
    head = f"| | {' | '.join(values for values in rows[0][1])} |"
    rule = "|---|" + "---|" * len(columns)
    return "\n".join([head, rule, *(f"| {name} | {' | '.join(values)} |" for name, values in rows[1:])])


def _bytes(count: float) -> str:
    for unit, size in (("TB", 1e12), ("GB", GIGA), ("MB", MEGA)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count / 1e3:.3g} kB"
