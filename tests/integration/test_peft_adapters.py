"""Adapters to and from PEFT on a real (tiny) language model, and what is refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from transformers import AutoModelForCausalLM, AutoTokenizer

from alignfed.codec import Factors, manifest_of
from alignfed.errors import AlignFedError, ManifestMismatch, NonFinite, PlanInvalid, RankMismatch
from alignfed.plan import Lora
from coordinator.worker.adapter import adapter_from_peft, initial_adapter, resolve_target_modules, write_peft
from coordinator.worker.calibration import CalibrationModel, CalibrationRow
from tests.support.adapters import LORA, trained_adapter

ROWS = (CalibrationRow(prompt="", answer="some text"), CalibrationRow(prompt="one plus one is ", answer="two"))


@pytest.fixture(scope="module")
def model(tiny_model_dir: Path) -> CalibrationModel:
    return CalibrationModel(tiny_model_dir, LORA, sequence_length=64, threads=1, autocast=False)


def test_fresh_adapter_leaves_the_model_unchanged(model: CalibrationModel, tiny_model_dir: Path) -> None:
    fresh = initial_adapter(tiny_model_dir, LORA, seed=3)
    zero = {name: torch.zeros_like(tensor) for name, tensor in fresh.items()}
    assert model.loss(fresh, ROWS) == model.loss(zero, ROWS)
    assert model.loss(trained_adapter(tiny_model_dir), ROWS) != model.loss(zero, ROWS)


def test_fresh_adapter_is_pefts(tiny_model_dir: Path) -> None:
    fresh = initial_adapter(tiny_model_dir, LORA, seed=3)
    config = LoraConfig(r=4, lora_alpha=12, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    peft_model = get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_model_dir), config)
    wanted = get_peft_model_state_dict(peft_model)
    assert manifest_of(fresh) == manifest_of(wanted)
    for name, tensor in fresh.items():
        bound = float(wanted[name].abs().max())
        assert float(tensor.abs().max()) == pytest.approx(bound, rel=0.1), name
    again = initial_adapter(tiny_model_dir, LORA, seed=3)
    other = initial_adapter(tiny_model_dir, LORA, seed=4)
    name = next(iter(fresh))
    assert torch.equal(fresh[name], again[name])
    assert not torch.equal(fresh[name], other[name])


def test_all_linear_is_resolved_to_the_same_tensors(tiny_model_dir: Path) -> None:
    lora = Lora(rank=2, target_modules=("all-linear",))
    names = resolve_target_modules(tiny_model_dir, lora)
    assert names == ("down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj")
    resolved = dataclasses.replace(lora, target_modules=names)
    assert manifest_of(initial_adapter(tiny_model_dir, resolved, seed=0)) == manifest_of(
        initial_adapter(tiny_model_dir, lora, seed=0)
    )
    assert resolve_target_modules(tiny_model_dir, LORA) == ("q_proj", "v_proj")


def test_an_exported_adapter_loads_in_peft_and_generates(
    model: CalibrationModel, tiny_model_dir: Path, tmp_path: Path
) -> None:
    factors = trained_adapter(tiny_model_dir)
    write_peft(tmp_path / "out", factors, LORA, base_model_name=str(tiny_model_dir))
    base = AutoModelForCausalLM.from_pretrained(tiny_model_dir)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model_dir)
    prompt = tokenizer("Hello", return_tensors="pt")
    plain = base(**prompt).logits
    loaded = PeftModel.from_pretrained(base, tmp_path / "out").eval()
    assert not torch.allclose(loaded(**prompt).logits, plain, atol=1e-3)
    answer = loaded.generate(**prompt, max_new_tokens=5, min_new_tokens=5, do_sample=False)
    assert answer.shape[1] == prompt["input_ids"].shape[1] + 5
    assert isinstance(tokenizer.decode(answer[0]), str)
    row = tokenizer("a plain text", return_tensors="pt")["input_ids"]
    row = torch.cat([row, torch.tensor([[tokenizer.eos_token_id]])], dim=1)
    wanted = float(loaded(input_ids=row, labels=row).loss)
    assert model.loss(factors, [CalibrationRow(prompt="", answer="a plain text")]) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("targets", [("q_proj", "v_proj"), ("all-linear",)])
def test_written_adapters_are_read_back(tiny_model_dir: Path, tmp_path: Path, targets: tuple[str, ...]) -> None:
    lora = dataclasses.replace(LORA, target_modules=targets, dropout=0.05)
    factors = trained_adapter(tiny_model_dir, lora=lora)
    write_peft(tmp_path, factors, lora, base_model_name="base")
    found, found_lora = adapter_from_peft(tmp_path)
    assert found_lora == lora
    assert found.keys() == factors.keys()
    assert all(torch.equal(found[name], factors[name]) for name in factors)


def test_an_adapter_on_some_layers_keeps_to_them(tiny_model_dir: Path, tmp_path: Path) -> None:
    config = LoraConfig(r=4, target_modules=["q_proj"], layers_to_transform=[1], task_type="CAUSAL_LM")
    get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_model_dir), config).save_pretrained(tmp_path)
    factors, lora = adapter_from_peft(tmp_path)
    assert lora.target_modules == ("model.layers.1.self_attn.q_proj",)
    assert manifest_of(initial_adapter(tiny_model_dir, lora, seed=0)) == manifest_of(factors)


@pytest.mark.parametrize(
    "change",
    [
        {"use_dora": True},
        {"use_rslora": True},
        {"bias": "all"},
        {"modules_to_save": ["lm_head"]},
        {"rank_pattern": {"q_proj": 2}},
        {"alpha_pattern": {"q_proj": 2}},
        {"init_lora_weights": "pissa"},
        {"peft_type": "ADALORA"},
        {"trained_in_some_new_way": {"a": 1}},
        {"r": None},
    ],
)
def test_adapters_that_are_no_plain_lora_are_refused(
    tiny_model_dir: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    write_peft(tmp_path, trained_adapter(tiny_model_dir), LORA, base_model_name="base")
    file = tmp_path / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(PlanInvalid, match="LoRA"):
        adapter_from_peft(tmp_path)


def spoiled(factors: Factors, how: str) -> Factors:
    name = min(factors)
    if how == "rank":
        return {key: tensor[:2] if "lora_A" in key else tensor[:, :2] for key, tensor in factors.items()}
    if how == "nan":
        return factors | {name: torch.full_like(factors[name], float("nan"))}
    if how == "unpaired":
        return {key: tensor for key, tensor in factors.items() if key != name}
    return factors | {"base_model.model.lm_head.weight": torch.zeros(2, 2)}


@pytest.mark.parametrize(
    ("how", "error"),
    [("rank", RankMismatch), ("nan", NonFinite), ("unpaired", ManifestMismatch), ("foreign", ManifestMismatch)],
)
def test_damaged_adapters_are_refused(
    tiny_model_dir: Path, tmp_path: Path, how: str, error: type[AlignFedError]
) -> None:
    factors = trained_adapter(tiny_model_dir)
    write_peft(tmp_path, factors, LORA, base_model_name="base")
    contiguous = {name: tensor.contiguous() for name, tensor in spoiled(factors, how).items()}
    safetensors.torch.save_file(contiguous, tmp_path / "adapter_model.safetensors")
    with pytest.raises(error):
        adapter_from_peft(tmp_path)


def test_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PlanInvalid, match=r"adapter_config\.json"):
        adapter_from_peft(tmp_path)
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 4, "lora_alpha": 8}')
    with pytest.raises(PlanInvalid, match=r"adapter_model\.safetensors"):
        adapter_from_peft(tmp_path)
