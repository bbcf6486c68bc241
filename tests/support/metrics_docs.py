"""Writes docs/metrics.md from the registries of the three kinds of process (`make docs`)."""

from __future__ import annotations

from pathlib import Path

from tests.support.metric_labels import BY_METRIC, LABELS
from tests.support.metric_names import Metric, metrics_by_process

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"

INTRODUCTION = """# Metrics

Generated from the processes' registries; a test keeps it true. Each process serves its own at `/metrics`: the
coordinator on port 9464, the worker on 9465, an agent where `--metrics-listen` says. The first two listen on loopback
unless told otherwise.

- Names begin with `alignfed_`, units are base units, counters end in `_total`. Figures of the process itself
  (`process_*`: CPU, memory, open files) come with them.
- Labels have closed sets of values. An agent, a delta or a version is never a label: exact figures per agent are
  behind `alignfed agents`.
- Figures of a federation as a whole (backlog, head, fairness) come from the one worker that holds its lease, and
  vanish from it when it loses the lease. Their contributions are those of an agent's whole life.
- A histogram is exposed as `_bucket` (label `le`), `_count` and `_sum`. One whose values may be below zero has no
  `_sum`, because a sum that falls would look like a restart: query its buckets.
- A figure that has no value is absent, not 0. The exceptions say so.
"""

SECTIONS = {
    ("agent", "coordinator", "worker"): "Every process",
    ("coordinator", "worker"): "Coordinator and worker",
    ("coordinator",): "Coordinator",
    ("worker",): "Worker",
    ("agent",): "Agent",
}

UNITS = {
    "_timestamp_seconds": "Unix seconds",
    "_seconds": "seconds",
    "_bytes": "bytes",
    "_ratio": "ratio",
    "_versions": "versions",
    "_deltas": "deltas",
    "_agents": "agents",
    "_info": "always 1",
}
"""By how a name ends, a counter's without its `_total`; the first that fits."""

UNITS_BY_NAME = {
    "alignfed_agent_base_version": "version number",
    "alignfed_agent_privacy_epsilon": "epsilon",
    "alignfed_agent_retries_total": "calls",
    "alignfed_agent_training_loss": "nats per token",
    "alignfed_alignment_loss_delta": "the objective's",
    "alignfed_calibration_loss": "nats per token",
    "alignfed_calibration_loss_change": "nats per token",
    "alignfed_dead_letters_total": "deltas",
    "alignfed_delta_redeliveries_total": "deltas",
    "alignfed_deltas_clipped_total": "deltas",
    "alignfed_deltas_rejected_total": "deltas",
    "alignfed_federation_held": "0 or 1",
    "alignfed_federation_paused": "0 or 1",
    "alignfed_gate_retries_total": "merges",
    "alignfed_global_version": "version number",
    "alignfed_lease_epoch": "fencing token",
    "alignfed_lease_lost_total": "leases",
    "alignfed_merges_total": "merges",
    "alignfed_privacy_epsilon": "epsilon",
    "alignfed_privacy_epsilon_limit": "epsilon",
    "alignfed_retention_let_go_total": "records, payloads",
    "alignfed_paced_answers_total": "answers",
    "alignfed_store_connected": "0 or 1",
    "alignfed_uploads_averted_total": "uploads",
    "alignfed_uploads_in_progress": "uploads",
    "alignfed_uploads_total": "uploads",
    "alignfed_version_group_size": "deltas",
}
"""Of metrics whose name has no unit in it, because it would say nothing more."""


def page() -> str:
    """Return the whole page."""
    processes: dict[Metric, list[str]] = {}
    for process, metrics in metrics_by_process().items():
        for metric in metrics:
            processes.setdefault(metric, []).append(process)
    sections = [INTRODUCTION]
    for where, title in SECTIONS.items():
        here = sorted((m for m, found in processes.items() if tuple(sorted(found)) == where), key=lambda m: m.name)
        sections.append(_section(title, here))
    sections.append(_labels())
    return "\n".join(sections)


def unit_of(metric: Metric) -> str:
    """Return a metric's unit in words.

    Raises:
        KeyError: Neither its name nor `UNITS_BY_NAME` says it.
    """
    stem = metric.name.removesuffix("_total")
    named = (unit for ending, unit in UNITS.items() if stem.endswith(ending))
    return UNITS_BY_NAME.get(metric.name) or next(named, None) or UNITS_BY_NAME[metric.name]


def _section(title: str, metrics: list[Metric]) -> str:
    rows = [f"| {_name(m)} | {m.kind} | {unit_of(m)} | {_meaning(m)} |" for m in metrics]
    return "\n".join([f"## {title}\n", "| name | type | unit | meaning |", "|---|---|---|---|", *rows, ""])


def _name(metric: Metric) -> str:
    labels = f"{{{', '.join(metric.labels)}}}" if metric.labels else ""
    return f"`{metric.name}{labels}`"


def _meaning(metric: Metric) -> str:
    text = metric.meaning.replace("|", "\\|")
    bounds = ", ".join(f"{bound:g}" for bound in metric.buckets[:-1])  # the last is infinity
    return f"{text} Buckets: {bounds}." if bounds else text


def _labels() -> str:
    rows = [f"| `{name}` | | {values.meaning} |" for name, values in LABELS.items()]
    rows += [f"| `{name}` | `{metric}` | {values.meaning} |" for (metric, name), values in BY_METRIC.items()]
    return "\n".join(["## Values of labels\n", "| label | of | values |", "|---|---|---|", *sorted(rows), ""])


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
