"""The encodings that are compared, and how long a delta is in each."""

from __future__ import annotations

from collections.abc import Sequence

from alignfed.layout import LORA_A_SUFFIX, LORA_B_SUFFIX, layout_of
from alignfed.plan import Encoding, TensorSpec
from bench.simulator.wire import WireForm

EXACT = "fp32"
"""What the others are compared with."""

FORMS: dict[str, WireForm] = {
    EXACT: WireForm(encoding=Encoding.FP32),
    "bf16": WireForm(encoding=Encoding.BF16),
    "int8": WireForm(encoding=Encoding.INT8),
    "int8-groups": WireForm(encoding=Encoding.INT8_GROUPS),
    "topk 10 %": WireForm(encoding=Encoding.TOPK, topk_ratio=0.1, feedback=True),
    "topk 10 %, no feedback": WireForm(encoding=Encoding.TOPK, topk_ratio=0.1),
    "topk 1 %": WireForm(encoding=Encoding.TOPK, topk_ratio=0.01, feedback=True),
    "topk 1 %, no feedback": WireForm(encoding=Encoding.TOPK, topk_ratio=0.01),
}

_LARGE_LAYERS, _LARGE_RANK = 32, 16
_LARGE_MODULES = {
    "self_attn.q_proj": (4096, 4096), "self_attn.k_proj": (4096, 1024), "self_attn.v_proj": (4096, 1024),
    "self_attn.o_proj": (4096, 4096), "mlp.gate_proj": (4096, 14336), "mlp.up_proj": (4096, 14336),
    "mlp.down_proj": (14336, 4096),
}  # fmt: skip
"""Inputs and outputs of the linear layers of an 8-billion-parameter Llama."""


def large_manifest() -> tuple[TensorSpec, ...]:
    """Return the manifest of LoRA of rank 16 on every linear layer of Llama-3-8B: 41,943,040 elements."""
    specs = []
    for layer in range(_LARGE_LAYERS):
        for module, (inputs, outputs) in _LARGE_MODULES.items():
            name = f"base_model.model.model.layers.{layer}.{module}"
            specs.append(TensorSpec(name=name + LORA_A_SUFFIX, shape=(_LARGE_RANK, inputs)))
            specs.append(TensorSpec(name=name + LORA_B_SUFFIX, shape=(outputs, _LARGE_RANK)))
    return tuple(specs)


def payload_bytes(form: WireForm, tensors: Sequence[TensorSpec]) -> int:
    """Return the bytes of every payload of a manifest in one form."""
    return layout_of(tensors, form.encoding, topk_ratio=form.topk_ratio).total_bytes
