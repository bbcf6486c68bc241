"""LoRA modules inside an adapter: which A belongs to which B, and linear maps on their rank space."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch

from alignfed.codec import Factors
from alignfed.errors import AggregationInvalid

_A_SUFFIX = ".lora_A.weight"
_B_SUFFIX = ".lora_B.weight"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RankMap:
    """A linear map on one module's rank space: `A <- left @ A`, `B <- B @ right`, both `(r, r)` fp32."""

    left: torch.Tensor
    right: torch.Tensor


def modules_of(factors: Mapping[str, torch.Tensor]) -> tuple[str, ...]:
    """Return the names of the LoRA modules, sorted: tensor names without `.lora_A.weight` or `.lora_B.weight`.

    Raises:
        AggregationInvalid: A tensor is neither factor, lacks its partner, or the two ranks differ.
    """
    modules = sorted({name.removesuffix(_A_SUFFIX).removesuffix(_B_SUFFIX) for name in factors})
    for module in modules:
        a, b = factors.get(module + _A_SUFFIX), factors.get(module + _B_SUFFIX)
        if a is None or b is None or a.dim() != 2 or b.dim() != 2 or a.shape[0] != b.shape[1]:
            raise AggregationInvalid(
                f"{module} is no LoRA pair of A (r, in) and B (out, r): alignment needs plain LoRA factors"
            )
    return tuple(modules)


def a_of(factors: Mapping[str, torch.Tensor], module: str) -> torch.Tensor:
    """Return the module's A, `(r, in)`."""
    return factors[module + _A_SUFFIX]


def b_of(factors: Mapping[str, torch.Tensor], module: str) -> torch.Tensor:
    """Return the module's B, `(out, r)`."""
    return factors[module + _B_SUFFIX]


def apply_maps(factors: Factors, maps: Mapping[str, RankMap]) -> Factors:
    """Return new factors with each module's rank space mapped; `maps` has one map per module."""
    mapped: Factors = {}
    for module, rank_map in maps.items():
        mapped[module + _A_SUFFIX] = rank_map.left @ a_of(factors, module)
        mapped[module + _B_SUFFIX] = b_of(factors, module) @ rank_map.right
    return {name: mapped[name] for name in factors}  # the order of tensors decides the order of sums
