"""A run's summary for people: a terminal's text, and a report in Markdown with the same figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any


def text(found: Mapping[str, Any]) -> str:
    """Return a summary in lines for a terminal."""
    return "\n".join([*_heads(found), "", *_curve(found), "", *_latencies(found), "", *_ends(found)])


def markdown(found: Mapping[str, Any], *, command: str) -> str:
    """Return the report as a document."""
    blocks = {
        "Throughput": _curve(found),
        "Latencies": _latencies(found),
        "News, account, fairness": _ends(found),
    }
    lines = ["# Fleet report", "", f"`{command}`", "", *_heads(found)]
    for title, block in blocks.items():
        lines += ["", f"## {title}", "", "```", *block, "```"]
    return "\n".join(lines) + "\n"


def _heads(found: Mapping[str, Any]) -> list[str]:
    settings, machine = found["settings"], found["machine"]
    return [
        f"{found['registered']} agents registered, {settings['processes']} processes with {settings['connections']} "
        f"connections each; {settings['download_ratio']:.0%} of bases downloaded, of the others agents only learnt; "
        f"{settings['following_ratio']:.0%} follow the head: {settings['watching_ratio']:.0%} of them watch, the "
        f"others keep a long poll of {settings['poll_seconds']:g} s open.",
        f"{machine['cores']} virtual CPUs shared by the load generator and the deployment.",
    ]


def _curve(found: Mapping[str, Any]) -> list[str]:
    header = ("rate", "offered/s", "acked/s", "merged/s", "versions/s", "polls/s", "told/s", "queued")
    loads = list(found["stretches"][0]["loads"])
    rows = [(*header, *loads, "driver")]
    for step in found["stretches"]:
        per_second = step["per_second"]
        told = per_second["watch_events"] + per_second["long_polls"]
        row = [
            f"{step['factor']:g}x",
            f"{step['offered_per_second']:.1f}",
            f"{step['acknowledged_per_second']:.1f}",
            f"{step['merged_per_second']:.1f}",
            f"{step['versions_per_second']:.2f}",
            f"{per_second['polls']:.1f}",
            f"{told:.1f}",
            str(step["queued"]),
        ]
        loads_now = [f"{step['loads'][name]:.2f}/{step['fullness'][name]:.2f}" for name in loads]
        rows.append((*row, *loads_now, f"{step['generator_load']:.2f}"))
    lines = _aligned(rows)
    lines.append("processes: processor time per second / the same with the time in line for one; driver: the latter")
    if found["knee"] is not None:
        knee = found["knee"]
        at = found["stretches"][knee["index"]]
        lines.append(f"knee at {at['factor']:g}x, {at['acknowledged_per_second']:.1f} deltas/s: after it {knee['why']}")
        lines.append(f"full then: {knee['limit']}")
    elif len(found["stretches"]) > 1:
        lines.append("no knee within these steps")
    return lines


def _latencies(found: Mapping[str, Any]) -> list[str]:
    rows: list[Sequence[str]] = [("rate", "what", "p50 ms", "p95 ms", "p99 ms")]
    for step in found["stretches"]:
        for what, values in step["durations"].items():
            row = [f"{step['factor']:g}x", what.replace("_", " ")]
            rows.append((*row, *(_ms(values[name]) for name in ("p50", "p95", "p99"))))
    return [
        *_aligned(rows),
        "without the agents' own network; own lag is how late the driving processes' loops are: the uncertainty",
    ]


def _ends(found: Mapping[str, Any]) -> list[str]:
    account, news, costs = found["account"], found["news"], found["costs"]
    medians = news["medians"]
    lines = [
        f"news of {news['versions']} versions, medians: after the worker made it p50 {_s(medians['p50'])}, "
        f"p99 {_s(medians['p99'])}, last agent {_s(medians['last'])} (worst {_s(news['worst_last'])})",
        f"    after the first agent knew p50 {_s(medians['fanned_p50'])}, p99 {_s(medians['fanned_p99'])}, "
        f"last {_s(medians['fanned_last'])}",
        f"{account['acknowledged']} deltas acknowledged: {account['merged']} merged, {account['rejected']} rejected, "
        f"{account['queued']} queued; lost {account['lost']}, doubled {account['doubled']}; "
        f"{account['unanswered']} sent without an answer",
        *_spread(found),
        "refusals (answers, not failures): " + _counts(found["refusals"]),
        "calls without an answer: " + _counts(found["failures"]),
        "staleness of merged deltas in versions: " + _staleness(found["staleness_versions"]),
        *_aligned(
            [
                ("tier", "agents", "share", "merges", "of all", "Jain", "Gini"),
                *(
                    (
                        name,
                        str(it["agents"]),
                        f"{it['agent_share']:.2f}",
                        str(it["merged"]),
                        f"{it['merged_share']:.2f}",
                        f"{it['jain']:.3f}",
                        f"{it['gini']:.3f}",
                    )
                    for name, it in found["sharing"].items()
                ),
            ]
        ),
    ]
    if costs["coordinator_kib_per_agent"] is not None:
        lines.append(
            f"coordinator: {_plain(costs['coordinator_cpu_seconds_per_thousand_polls'])} s of processor time per "
            f"thousand polls with all that came beside them, {_plain(costs['coordinator_cpu_ms_per_answer'])} ms per "
            f"answer of any kind, {costs['coordinator_kib_per_agent']:.1f} KiB per connected agent; worker: "
            f"{_plain(costs['worker_cpu_ms_per_merged_delta'])} ms per merged delta"
        )
    return lines


def _spread(found: Mapping[str, Any]) -> list[str]:
    """Return who led what and who took how much, where there is something to be spread."""
    lines = []
    if len(found["federations"]) > 1:
        rows = [("federation", "led by", "versions", "acked", "merged", "lost", "doubled")]
        for it in found["federations"]:
            account = it["account"]
            counts = (it["versions"], *(account[name] for name in ("acknowledged", "merged", "lost", "doubled")))
            rows.append((it["federation"], it["leader"] or "nobody", *map(str, counts)))
        lines += _aligned(rows)
    if len(found["accepted_by"]) > 1:
        lines.append("deltas accepted, by coordinator: " + _counts(found["accepted_by"]))
    return lines


def _staleness(counts: Mapping[str, int]) -> str:
    """Return quantiles: a run of many versions has too many values to list."""
    each = [int(versions) for versions, count in counts.items() for _ in range(count)]
    if not each:
        return "none"
    p50, p95 = (each[math.ceil(fraction * len(each)) - 1] for fraction in (0.5, 0.95))
    return f"p50 {p50}, p95 {p95}, most {each[-1]}"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{1000 * seconds:.1f}"


def _s(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.2f} s"


def _plain(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
