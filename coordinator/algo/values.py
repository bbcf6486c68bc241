"""What goes into an aggregation and what comes out of it: frozen values and the one port the method needs."""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Callable, Mapping
from typing import Protocol

import torch

from alignfed.codec import Factors
from coordinator.algo.factors import norm
from coordinator.domain import GroupRecord, MergedDelta, VersionId

Load = Callable[[], Factors]
"""Brings a delta's factors into memory: in fp32, or in bf16 as they were sent, see `in_fp32`. May be called several
times; what it returns is read only."""

ServerState = Mapping[str, torch.Tensor]
"""What the server remembers between merges, by path: `momentum/<tensor>`, `cache/<agent id>/<tensor>`,
`staleness/<agent id>`. Kept with a version and handed to the merge that starts from it. Never changed in place."""


class MergeSpace(enum.StrEnum):
    """What is added up: the factors, or their products, which are factored again afterwards."""

    FACTOR = "factor"
    PRODUCT = "product"


class CalibrationProbe(Protocol):
    """The frozen base model on the calibration set. Deterministic: the same factors give the same floats.

    Fit rows and judge rows are disjoint. All losses are means over tokens, in nats.
    """

    def judge_loss(self, factors: Factors) -> float:
        """Return the loss of an adapter on the judge rows."""
        ...

    def fit_loss_and_gradient(self, factors: Factors) -> tuple[float, Factors]:
        """Return the loss of an adapter on the fit rows, and its gradient by the factors."""
        ...

    def features(self, factors: Factors) -> torch.Tensor:
        """Return the features that the language model's head sees on the fit rows, `(tokens, hidden)` fp32."""
        ...

    def feature_gap_and_gradient(self, factors: Factors, target: torch.Tensor) -> tuple[float, Factors]:
        """Return the mean over tokens of `||features(factors) - target||^2`, and its gradient by the factors."""
        ...

    def module_inputs(self, factors: Factors) -> Mapping[str, torch.Tensor]:
        """Return what each LoRA module gets on tokens spread over the fit rows, `(tokens, in)` fp32 by module name.

        A few hundred tokens at most, the same ones for every adapter.
        """
        ...


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DeltaInput:
    """One buffered delta: `load` gives local minus base-version factors.

    `rank` is the number of leading LoRA components that the agent trained, None for all. The factors have the adapter's
    full shapes whatever it is: the other components of the delta are zero. `norm` is the Frobenius norm of what `load`
    gives, None where nobody has taken it yet. A merge scales it down to `max_norm`, before and after alignment.
    """

    delta_id: str
    agent_id: str
    base: VersionId
    staleness_versions: int
    examples: int
    load: Load
    rank: int | None = None
    norm: float | None = None
    max_norm: float = math.inf


def in_fp32(load: Load) -> Factors:
    """Load a delta and return it in fp32: what computes with matrices does not mix dtypes, as sums of vectors do."""
    return {name: tensor.float() for name, tensor in load().items()}


def norm_of(delta: DeltaInput) -> float:
    """Return a delta's Frobenius norm, taken now if it is not known; infinite when it is not finite."""
    return norm(delta.load()) if delta.norm is None else delta.norm


Gauge = Mapping[str, torch.Tensor]
"""A re-factoring: the regular matrix R `(r, r)` of each LoRA module, by module name, in `B R, R^-1 A`."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AggregationInput:
    """Everything one merge depends on.

    Attributes:
        head: Factors of the current global version.
        deltas: The buffer, in any order.
        merged_by_agent: Deltas merged so far of every registered agent that is not revoked, zeros included.
        base_factors: Factors of a retained version. Asked only by recipes that need them, only for stale groups.
        server_learning_rate: Step size applied to the merged delta.
        probe: The calibration set; None when the federation has none.
        version_number: Number of the version to be made.
        refactored: Bases whose factors have another gauge than the head's, with the logged re-factoring from base to
            head, or None when it was not logged and must be estimated. Bases that are absent share the head's gauge.
        state: What the server remembers from the merge that made the head; empty at first.
    """

    head: Factors
    deltas: tuple[DeltaInput, ...]
    merged_by_agent: Mapping[str, int]
    base_factors: Callable[[VersionId], Factors]
    server_learning_rate: float
    probe: CalibrationProbe | None
    version_number: int
    refactored: Mapping[VersionId, Gauge | None] = dataclasses.field(default_factory=dict)
    state: ServerState = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Aggregated:
    """The candidate for the next version, and the account of how it came about.

    Attributes:
        adapter: The candidate's factors.
        deltas: What became of each delta, in merge order: groups freshest first, by delta id within a group.
        groups: What became of each version group, freshest first.
        at_step_scale: Gives the candidate of a shorter step, by merging again: `at_step_scale(0.5)` is bit for bit what
            half the server learning rate gives with the same coefficients. `at_step_scale(1.0)` is `adapter`.
        fit_losses: Loss on the fit rows before each pass over them that fitted coefficients or trained the candidate;
            empty when there was none.
        state: What the server is to remember with the new version, the same at every step scale.
        space: The space that was merged in; the moving average is taken in it too.
        robust: Name of the robust mean that stands for the deltas of a cohort; empty for a weighted sum.
        unrecorded: What made the candidate beside the weighted sum of its deltas, in words; empty when a record of the
            coefficients re-derives it.
    """

    adapter: Factors
    deltas: tuple[MergedDelta, ...]
    groups: tuple[GroupRecord, ...]
    at_step_scale: Callable[[float], Factors]
    fit_losses: tuple[float, ...] = ()
    state: ServerState = dataclasses.field(default_factory=dict)
    space: MergeSpace = MergeSpace.FACTOR
    robust: str = ""
    unrecorded: tuple[str, ...] = ()
