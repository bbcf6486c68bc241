"""The comparison of encodings: sums, shares and differences by hand, and runs that survive a broken file."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch

from alignfed.codec import Factors, decode, encode, manifest_of
from alignfed.plan import Encoding, TensorSpec
from bench.encodings.forms import FORMS, large_manifest, payload_bytes
from bench.encodings.report import rows_of, table
from bench.encodings.runs import EncodedRun, read_runs
from bench.simulator.wire import Wire, WireForm

TENSORS = (TensorSpec(name="m.lora_A.weight", shape=(2, 10)),)


def run(form: str, seed: int, final: float, *, recipe: str = "fedbuff") -> EncodedRun:
    return EncodedRun(
        federation="f",
        regime="stress",
        recipe=recipe,
        form=form,
        seed=seed,
        base_loss=4.0,
        final_loss=final,
        merges=9,
        gated=0,
        relative_error=0.25,
        code="c",
    )


def test_a_row_compares_with_fp32_of_the_same_seed() -> None:
    runs = [run("fp32", 0, 3.0), run("fp32", 1, 2.0), run("bf16", 0, 3.5), run("bf16", 1, 2.1), run("int8", 7, 9.0)]
    exact, rounded = rows_of(runs, TENSORS)
    assert (exact.form, exact.difference, exact.gain_ratio, exact.payload_bytes) == ("fp32", 0.0, 1.0, 80 + 80)
    assert rounded.differences == pytest.approx((0.1, 0.5))
    assert rounded.difference == pytest.approx(0.3)
    assert rounded.gain_ratio == pytest.approx((4.0 - 2.8) / (4.0 - 2.5))
    lines = table([exact, rounded]).splitlines()
    assert len(lines) == 4
    assert "| +0.3000 | +0.1000 to +0.5000 | 80% |" in lines[-1]


def test_a_large_delta_has_the_elements_and_bytes_of_its_shapes() -> None:
    elements = sum(math.prod(spec.shape) for spec in large_manifest())
    assert elements == 32 * 16 * 81_920
    sizes = {name: payload_bytes(form, large_manifest()) / elements for name, form in FORMS.items()}
    assert sizes["fp32"] == pytest.approx(4, abs=0.01)
    assert sizes["bf16"] == pytest.approx(2, abs=0.01)
    assert sizes["int8-groups"] == pytest.approx(1 + 4 / 256, abs=0.01)
    assert sizes["topk 10 %"] == pytest.approx(0.6, abs=0.01)
    assert sizes["int8"] > sizes["int8-groups"]


def test_a_line_that_was_cut_off_is_no_run(tmp_path: Path) -> None:
    file = tmp_path / "runs.jsonl"
    assert read_runs(file) == []
    whole = json.dumps(dataclasses.asdict(run("bf16", 0, 3.0)))
    file.write_text(f"{whole}\n{whole[:40]}")
    assert read_runs(file) == [run("bf16", 0, 3.0)]


def delta(seed: int) -> Factors:
    return {"m.lora_A.weight": torch.randn(2, 10, generator=torch.Generator().manual_seed(seed))}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_the_wire_carries_what_the_codec_makes_of_a_delta(form: WireForm) -> None:
    wire = Wire(form, measures=True)
    first = wire.carry("agent-1", lambda: delta(0))
    payload = encode(delta(0), form.encoding, topk_ratio=form.topk_ratio)
    wanted = decode(payload, manifest_of(first), form.encoding, topk_ratio=form.topk_ratio)
    assert all(torch.equal(first[name], wanted[name]) for name in wanted)
    assert (wire.relative_errors[0] == 0) == (form.encoding is Encoding.FP32)


def test_feedback_sends_what_was_left_out_and_no_agent_sends_anothers() -> None:
    wire = Wire(WireForm(encoding=Encoding.TOPK, topk_ratio=0.05, feedback=True))
    owed = delta(0)["m.lora_A.weight"].clone()
    owed -= wire.carry("agent-1", lambda: delta(0))["m.lora_A.weight"]
    other = wire.carry("agent-2", lambda: delta(0))["m.lora_A.weight"]
    second = wire.carry("agent-1", lambda: {"m.lora_A.weight": torch.zeros(2, 10)})["m.lora_A.weight"]
    assert torch.equal(owed + other, delta(0)["m.lora_A.weight"])
    place = int(owed.abs().argmax())
    assert second.flatten()[place] == owed.flatten()[place].bfloat16().float()
    assert int((second != 0).sum()) == 1


def test_a_delta_that_is_not_finite_is_left_to_the_server() -> None:
    wire = Wire(WireForm(encoding=Encoding.INT8_GROUPS))
    arrived = wire.carry("agent-1", lambda: {"m.lora_A.weight": torch.full((2, 10), math.nan)})
    assert bool(arrived["m.lora_A.weight"].isnan().all())
