"""Deltas that nobody trained, made by the agent's own code."""

from __future__ import annotations

import torch

from alignfed.codec import Factors
from alignfed.plan import FederationPlan
from edge_agent.domain import GlobalVersion, PreparedDelta
from edge_agent.training.delta import BaseAdapter, prepare_delta
from edge_agent.training.trainer import TrainingResult


def delta_with(factors: Factors, plan: FederationPlan, *, base: GlobalVersion) -> PreparedDelta:
    """Return a delta of these factors, as if one example had been trained on for one step from `base`."""
    zeros = {name: torch.zeros_like(factor) for name, factor in factors.items()}
    result = TrainingResult(adapter=factors, examples=1, steps=1, mean_loss=1.0)
    return prepare_delta(result, BaseAdapter(version=base, factors=zeros), plan, sequence=0)
