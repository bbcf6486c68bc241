"""Small adapters, deltas and analytic calibration probes for the method's tests."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import torch
from hypothesis import settings

from alignfed.codec import Factors
from coordinator.algo.values import AggregationInput, CalibrationProbe, DeltaInput
from coordinator.domain import VersionId

quick = settings(deadline=None, max_examples=25)
"""Properties are cheap but machines may be busy: a slow example is no failure."""

MODULES = ("layers.0.q", "layers.1.v")
RANK = 2
INPUTS = 5
OUTPUTS = 4


def make_factors(seed: int, *, scale: float = 1.0, modules: Sequence[str] = MODULES) -> Factors:
    """Random LoRA factors: A `(2, 5)` and B `(4, 2)` per module."""
    generator = torch.Generator().manual_seed(seed)
    factors: Factors = {}
    for module in modules:
        factors[f"{module}.lora_A.weight"] = scale * torch.randn(RANK, INPUTS, generator=generator)
        factors[f"{module}.lora_B.weight"] = scale * torch.randn(OUTPUTS, RANK, generator=generator)
    return factors


def version(number: int, *, epoch: int = 1) -> VersionId:
    return VersionId(epoch=epoch, number=number, digest=f"{number:064x}")


def make_delta(
    seed: int,
    *,
    staleness: int = 0,
    agent: str | None = None,
    examples: int = 8,
    factors: Factors | None = None,
    head: int = 10,
) -> DeltaInput:
    loaded = make_factors(seed, scale=0.1) if factors is None else factors
    return DeltaInput(
        delta_id=f"delta-{seed:04d}",
        agent_id=agent or f"agent-{seed:04d}",
        base=version(head - staleness),
        staleness_versions=staleness,
        examples=examples,
        load=lambda: loaded,
    )


def no_base(base: VersionId) -> Factors:
    raise AssertionError(f"version {base.number} was asked for")


def make_input(
    deltas: Sequence[DeltaInput],
    *,
    head: Factors | None = None,
    merged: Mapping[str, int] | None = None,
    base_factors: Callable[[VersionId], Factors] = no_base,
    eta: float = 1.0,
    probe: CalibrationProbe | None = None,
) -> AggregationInput:
    return AggregationInput(
        head=make_factors(999) if head is None else head,
        deltas=tuple(deltas),
        merged_by_agent={delta.agent_id: 0 for delta in deltas} if merged is None else merged,
        base_factors=base_factors,
        server_learning_rate=eta,
        probe=probe,
        version_number=11,
    )


def flat(factors: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """All elements as one float64 vector, in name order."""
    return torch.cat([factors[name].double().reshape(-1) for name in sorted(factors)])


def product(factors: Mapping[str, torch.Tensor], module: str) -> torch.Tensor:
    return factors[f"{module}.lora_B.weight"].double() @ factors[f"{module}.lora_A.weight"].double()


@dataclasses.dataclass(frozen=True)
class QuadraticProbe:
    """Loss `||theta - best||^2 / 2`; features are the products `B A` through a tanh, one row per output."""

    best: Factors

    def judge_loss(self, factors: Factors) -> float:
        return float((flat(factors) - flat(self.best)).square().sum() / 2)

    def fit_loss_and_gradient(self, factors: Factors) -> tuple[float, Factors]:
        return self.judge_loss(factors), {name: factors[name] - self.best[name] for name in factors}

    def features(self, factors: Factors) -> torch.Tensor:
        return _features(factors)

    def feature_gap_and_gradient(self, factors: Factors, target: torch.Tensor) -> tuple[float, Factors]:
        leaves = {name: tensor.clone().requires_grad_() for name, tensor in factors.items()}
        gap = (_features(leaves) - target).square().sum() / len(target)
        gradients = torch.autograd.grad(gap, list(leaves.values()))
        return float(gap.detach()), dict(zip(leaves, gradients, strict=True))


def _features(factors: Mapping[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([
        torch.tanh(factors[f"{module}.lora_B.weight"] @ factors[f"{module}.lora_A.weight"]) for module in MODULES
    ])  # fmt: skip


@dataclasses.dataclass(frozen=True)
class BrokenProbe(QuadraticProbe):
    """A probe whose losses are NaN, as a diverged model's are."""

    def fit_loss_and_gradient(self, factors: Factors) -> tuple[float, Factors]:
        return float("nan"), {name: torch.full_like(tensor, float("nan")) for name, tensor in factors.items()}

    def feature_gap_and_gradient(self, factors: Factors, target: torch.Tensor) -> tuple[float, Factors]:
        assert len(target) == len(self.features(factors))
        return self.fit_loss_and_gradient(factors)
