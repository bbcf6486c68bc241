"""Adam with explicit state, for plain floats and for tensors alike."""

from __future__ import annotations

import dataclasses
from typing import Generic, TypeVar

import torch

T = TypeVar("T", float, torch.Tensor)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Adam:
    """Settings. `betas` are the decays of the two moments."""

    learning_rate: float
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Moments(Generic[T]):
    """State of one parameter after `steps` steps: the decayed means of its gradient and of the gradient's square."""

    mean: T
    square: T
    steps: int = 0


def adam_step(parameter: T, gradient: T, moments: Moments[T], settings: Adam) -> tuple[T, Moments[T]]:
    """Return the parameter after one step against `gradient`, and the new state.

    Source: Kingma and Ba 2015, Algorithm 1 (bias-corrected).
    """
    fast, slow = settings.betas
    steps = moments.steps + 1
    mean: T = fast * moments.mean + (1 - fast) * gradient
    square: T = slow * moments.square + (1 - slow) * gradient * gradient
    direction: T = (mean / (1 - fast**steps)) / ((square / (1 - slow**steps)) ** 0.5 + settings.epsilon)
    return parameter - settings.learning_rate * direction, Moments(mean=mean, square=square, steps=steps)
