"""What the runs say, as figures and as a table."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from alignfed.plan import TensorSpec
from bench.encodings.forms import EXACT, FORMS, large_manifest, payload_bytes
from bench.encodings.runs import EncodedRun, mean


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One form under one recipe.

    Attributes:
        recipe: Its name.
        form: A key of `FORMS`.
        payload_bytes: Of a delta of the federation that was simulated.
        large_payload_bytes: Of a delta of Llama-3-8B at rank 16.
        relative_error: Of one delta alone, mean over deltas and seeds.
        final_loss: Mean over seeds, in nats per token.
        gain_ratio: Share of what fp32 gains on the base model, means over seeds; 1 is all of it.
        differences: Final loss minus that of fp32 with the same seed, ascending.
    """

    recipe: str
    form: str
    payload_bytes: int
    large_payload_bytes: int
    relative_error: float
    final_loss: float
    gain_ratio: float
    differences: tuple[float, ...]

    @property
    def difference(self) -> float:
        """Mean over seeds."""
        return mean(self.differences)


def rows_of(runs: Sequence[EncodedRun], tensors: Sequence[TensorSpec]) -> list[Row]:
    """Return a row for each recipe and form that ran with the same seeds as fp32, in order of appearance.

    Args:
        runs: Of one federation and regime, each case once.
        tensors: The manifest of the federation that was simulated.
    """
    exact = {(run.recipe, run.seed): run for run in runs if run.form == EXACT}
    grouped: dict[tuple[str, str], list[EncodedRun]] = {}
    for run in runs:
        if (run.recipe, run.seed) in exact:
            grouped.setdefault((run.recipe, run.form), []).append(run)
    return [_row(recipe, form, group, exact, tensors) for (recipe, form), group in grouped.items()]


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table."""
    lines = [
        "| recipe | encoding | seeds | bytes | of fp32 | 8B, MB | error of one | loss | minus fp32 | range | gain |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|:-:|--:|",
    ]
    whole = {row.recipe: row.large_payload_bytes for row in rows if row.form == EXACT}
    for row in rows:
        share = row.large_payload_bytes / whole[row.recipe]
        low, high = row.differences[0], row.differences[-1]
        lines.append(
            f"| {row.recipe} | {row.form} | {len(row.differences)} | {row.payload_bytes:,} | {share:.3f} "
            f"| {row.large_payload_bytes / 1e6:.1f} "
            f"| {row.relative_error:.4f} | {row.final_loss:.4f} | {row.difference:+.4f} "
            f"| {low:+.4f} to {high:+.4f} | {row.gain_ratio:.0%} |"
        )
    return "\n".join(lines)


def _row(
    recipe: str,
    form: str,
    group: Sequence[EncodedRun],
    exact: dict[tuple[str, int], EncodedRun],
    tensors: Sequence[TensorSpec],
) -> Row:
    rivals = [exact[recipe, run.seed] for run in group]
    final = mean([run.final_loss for run in group])
    base = mean([run.base_loss for run in group])
    differences = sorted(run.final_loss - rival.final_loss for run, rival in zip(group, rivals, strict=True))
    return Row(
        recipe=recipe,
        form=form,
        payload_bytes=payload_bytes(FORMS[form], tensors),
        large_payload_bytes=payload_bytes(FORMS[form], large_manifest()),
        relative_error=mean([run.relative_error for run in group]),
        final_loss=final,
        gain_ratio=(base - final) / (base - mean([rival.final_loss for rival in rivals])),
        differences=tuple(differences),
    )
