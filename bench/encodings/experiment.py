"""The comparison from options to figures."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from alignfed.codec import manifest_of
from alignfed.errors import RequestInvalid
from bench.encodings.forms import EXACT, FORMS
from bench.encodings.report import Row, rows_of, table
from bench.encodings.runs import Comparison, carry_out
from bench.federation.regimes import get_regime
from bench.federation.tiny_federation import tiny_federation
from coordinator.algo.recipes import get_recipe
from coordinator.worker.adapter import initial_adapter

DEFAULT_RECIPES = ("alignfed", "fedbuff")
"""The default, which fits how much of each delta to take, and plain averaging of a buffer, which takes all of it."""


def compare(
    *,
    regime: str,
    recipes: Sequence[str],
    forms: Sequence[str],
    seeds: int,
    out: Path,
    cache_dir: Path,
    say: Callable[[str], None],
) -> tuple[list[Row], str]:
    """Carry out what is left of the comparison, write `encodings.json` into `out`, and return rows and table.

    Raises:
        RequestInvalid: There is no such encoding.
        PlanInvalid: There is no such regime or recipe.
    """
    unknown = set(forms) - FORMS.keys()
    if unknown:
        raise RequestInvalid(f"{min(unknown)!r} is no encoding here: name one of {', '.join(FORMS)}")
    comparison = Comparison(
        regime=get_regime(regime),
        recipes=tuple(get_recipe(name).name for name in recipes or DEFAULT_RECIPES),
        seeds=tuple(range(seeds)),
        forms=tuple(form for form in FORMS if not forms or form in forms or form == EXACT),
    )
    federation = tiny_federation(cache_dir, say=say)
    out.mkdir(parents=True, exist_ok=True)
    runs = carry_out(comparison, federation, out / "runs.jsonl", say=say)
    codes = {run.code for run in runs}
    if len(codes) > 1:
        say(f"note: {len(codes)} versions of the code made these results; use another --out to run all again")
    tensors = manifest_of(initial_adapter(federation.model_dir, federation.lora, seed=0))
    rows = rows_of(runs, tensors)
    figures = {
        "federation": federation.digest,
        "regime": dataclasses.asdict(comparison.regime),
        "rows": [dataclasses.asdict(row) for row in rows],
        "runs": [dataclasses.asdict(run) for run in runs],
    }
    (out / "encodings.json").write_text(json.dumps(figures, indent=2) + "\n", "utf-8")
    return rows, table(rows)
