"""A report in words: plain text for the terminal, which is Markdown for a file at the same time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from coordinator.cli.tables import aligned
from coordinator.local.report import DomainLoss, Report

_GIB = 1 << 30


def report_text(report: Report, *, results: Path) -> str:
    """Return the whole report.

    Args:
        report: What to tell.
        results: Folder with the files that the report points at.
    """
    sections = [
        ("Held-out loss per domain, nats per token (lower is better)", _domains(report)),
        ("Agents", _agents(report)),
        ("Fairness over agents (Jain: 1 is even; Gini: 0 is even)", _fairness(report)),
        ("Staleness of merged deltas, in versions", _staleness(report)),
        ("Cost", _cost(report)),
        ("Results", _results(report, results)),
    ]
    title = f"# {report.federation}: version {report.final_version} from {report.deltas_merged} deltas"
    return "\n\n".join([title, *(f"## {name}\n\n{body}" for name, body in sections)]) + "\n"


def verdict(report: Report) -> str:
    """Return one sentence: did the loss go down on every domain?"""
    if not report.worse:
        return "The held-out loss went down on every domain."
    names = ", ".join(f"{domain.domain} ({domain.change:+.4f})" for domain in report.worse)
    return f"The held-out loss did NOT go down on {names}."


def _block(text: str) -> str:
    return f"```\n{text}\n```"


def _domains(report: Report) -> str:
    rows: list[Sequence[object]] = [_domain_row(domain) for domain in report.domains]
    mean_base = sum(domain.base for domain in report.domains) / len(report.domains)
    mean_final = sum(domain.final for domain in report.domains) / len(report.domains)
    tokens = sum(domain.tokens for domain in report.domains)
    mean = DomainLoss(domain="mean", tokens=tokens, base=mean_base, final=mean_final)
    table = aligned(["domain", "tokens", "base", "final", "change", "relative", ""], [*rows, _domain_row(mean)])
    served = "the moving average" if report.serves_average else "the raw head"
    return (
        f"{_block(table)}\n\n{verdict(report)} Final is the served adapter of version {report.final_version}: {served}."
    )


def _domain_row(domain: DomainLoss) -> list[object]:
    relative = f"{domain.change / domain.base:+.1%}" if domain.base else "-"
    mark = "" if domain.improved else "not better"
    return [domain.domain, domain.tokens, domain.base, domain.final, f"{domain.change:+.4f}", relative, mark]


def _agents(report: Report) -> str:
    header = ["agent", "domain", "slowdown", "merged", "rejected", "weight share", "mean staleness"]
    rows = [
        [
            share.agent_id,
            share.domain,
            f"{share.slowdown:g}x",
            share.merged,
            share.rejected,
            f"{share.weight_share:.1%}",
            None if share.mean_staleness_versions is None else f"{share.mean_staleness_versions:.2f}",
        ]
        for share in report.agents
    ]
    return _block(aligned(header, rows))


def _fairness(report: Report) -> str:
    fair = report.fairness
    rows = [["merged deltas", fair.merges_jain, fair.merges_gini], ["weight", fair.weight_jain, fair.weight_gini]]
    return _block(aligned(["of", "Jain", "Gini"], rows))


def _staleness(report: Report) -> str:
    stale = report.staleness
    counts = ", ".join(f"{value}: {count}" for value, count in stale.counts.items()) or "none"
    return f"mean {stale.mean:.2f}, largest {stale.largest}; deltas per staleness: {counts}"


def _cost(report: Report) -> str:
    phases = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in report.cost.seconds.items())
    memory = report.cost.peak_memory_bytes / _GIB
    return f"{phases}; total {report.cost.total_seconds:.0f} s; peak memory of all processes {memory:.1f} GiB"


def _results(report: Report, results: Path) -> str:
    adapter = results / "adapter"
    return "\n".join(
        [
            f"- adapter in PEFT format: {adapter}",
            f"  (loads with `PeftModel.from_pretrained(model, {str(adapter)!r})` on the model in {report.model})",
            f"- merge records: {results / 'merge_records.jsonl'}",
            f"- plots: {results / 'loss_per_version.png'}, {results / 'staleness.png'}, "
            f"{results / 'weight_per_agent.png'}",
            f"- this report: {results / 'report.md'}, {results / 'report.json'}",
        ]
    )
