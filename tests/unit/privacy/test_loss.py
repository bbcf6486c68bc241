"""The accountant: closed forms, dp-accounting's own figures, and what must never hold."""

from __future__ import annotations

import math

import dp_accounting
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alignfed.privacy.loss import SampledSteps, gaussian_epsilon, sampled_epsilon


def normal_cdf(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2))


def gaussian_delta(sigma: float, epsilon: float) -> float:
    """Balle and Wang 2018, Thm. 8, for sensitivity 1."""
    return normal_cdf(0.5 / sigma - epsilon * sigma) - math.exp(epsilon) * normal_cdf(-0.5 / sigma - epsilon * sigma)


@settings(max_examples=30)
@given(st.floats(0.5, 20), st.integers(1, 200), st.sampled_from([1e-3, 1e-5, 1e-7]))
def test_gaussians_in_a_row_have_the_closed_form(noise_multiplier: float, times: int, delta: float) -> None:
    epsilon = gaussian_epsilon(noise_multiplier=noise_multiplier, times=times, delta=delta)
    if epsilon:
        assert gaussian_delta(noise_multiplier / math.sqrt(times), epsilon) == pytest.approx(delta, rel=1e-3)
    else:
        assert gaussian_delta(noise_multiplier / math.sqrt(times), 0.0) <= delta


def test_gaussians_in_a_row_are_what_composing_them_one_by_one_gives() -> None:
    composed = dp_accounting.pld.PLDAccountant().compose(dp_accounting.GaussianDpEvent(4.0), 16).get_epsilon(1e-5)
    assert gaussian_epsilon(noise_multiplier=4.0, times=16, delta=1e-5) == pytest.approx(composed, rel=1e-4)
    assert composed == pytest.approx(4.3772, abs=1e-3)


def sampled_renyi(ratio: float, sigma: float, order: int) -> float:
    """Mironov, Talwar and Zhang 2019, section 3.3, for whole orders, term by term."""
    terms = (
        math.comb(order, k) * (1 - ratio) ** (order - k) * ratio**k * math.exp((k * k - k) / (2 * sigma**2))
        for k in range(order + 1)
    )
    return math.log(math.fsum(terms)) / (order - 1)


def test_sampled_steps_cost_what_the_formulas_say() -> None:
    # The MNIST tutorial of TensorFlow Privacy: 60,000 rows in batches of 256, noise 1.1, 60 passes, delta 1e-5.
    ratio, sigma, steps, delta = 256 / 60_000, 1.1, 60 * 60_000 // 256, 1e-5
    renyi = {order: steps * sampled_renyi(ratio, sigma, order) for order in range(2, 33)}
    classic = min(value + math.log(1 / delta) / (order - 1) for order, value in renyi.items())
    assert classic == pytest.approx(3.01, abs=0.03), "what the tutorial tells, by the conversion of its time"
    sharper = min(  # Canonne, Kamath and Steinke 2020, Prop. 12
        value + math.log1p(-1 / order) - (math.log(delta) + math.log(order)) / (order - 1)
        for order, value in renyi.items()
    )
    spent = SampledSteps(sampling_ratio=ratio, noise_multiplier=sigma, steps=steps)
    assert sampled_epsilon([spent], delta=delta) == pytest.approx(sharper, rel=0.01)


def test_without_sampling_it_bounds_the_closed_form_from_above() -> None:
    steps = SampledSteps(sampling_ratio=1.0, noise_multiplier=4.0, steps=16)
    bound = sampled_epsilon([steps], delta=1e-5)
    exact = gaussian_epsilon(noise_multiplier=4.0, times=16, delta=1e-5)
    assert exact < bound < 1.15 * exact


def test_steps_add_up_however_they_are_written_down_and_never_come_back() -> None:
    whole = SampledSteps(sampling_ratio=0.1, noise_multiplier=1.0, steps=30)
    half = SampledSteps(sampling_ratio=0.1, noise_multiplier=1.0, steps=15)
    other = SampledSteps(sampling_ratio=0.3, noise_multiplier=2.0, steps=1)
    assert sampled_epsilon([half, half], delta=1e-5) == pytest.approx(sampled_epsilon([whole], delta=1e-5))
    assert sampled_epsilon([half, other, half], delta=1e-5) > sampled_epsilon([whole], delta=1e-5)


def test_nothing_costs_nothing_and_no_noise_costs_everything() -> None:
    assert sampled_epsilon([], delta=1e-5) == 0
    assert gaussian_epsilon(noise_multiplier=1.0, times=0, delta=1e-5) == 0
    assert gaussian_epsilon(noise_multiplier=0.0, times=1, delta=1e-5) == math.inf
    silent = SampledSteps(sampling_ratio=0.1, noise_multiplier=0.0, steps=1)
    assert sampled_epsilon([silent], delta=1e-5) == math.inf
