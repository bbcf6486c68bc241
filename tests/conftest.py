"""Fixtures that several kinds of test share."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support.leaks import leaks_noted

# The same examples for everybody, however busy the machine: a change must not fail for what only chance brought up.
# `make test PYTEST=--hypothesis-profile=default` draws new ones.
settings.register_profile("same", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("same")


@pytest.fixture(scope="session", autouse=True)
def ctrl_c_is_heard() -> None:
    """Commands under test hear Ctrl-C: a shell's background jobs, and what they start, ignore it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def tiny_model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the tiny language model."""
    from tests.support.tiny_model import make_tiny_model

    return make_tiny_model(tmp_path_factory.mktemp("tiny-model"))


@pytest.fixture(scope="session")
def known_leaks() -> set[str]:
    """What earlier tests left behind on servers that tests share: a leak fails the test that made it, and no other."""
    return set()


@pytest.fixture(autouse=True)
def leaks_found(monkeypatch: pytest.MonkeyPatch, known_leaks: set[str]) -> Iterator[set[str]]:
    """Fail any test that leaves a key without an owner or a lifetime in a Redis store that it opened."""
    with leaks_noted(monkeypatch) as found:
        yield found
    fresh = found - known_leaks
    known_leaks |= found
    assert not fresh, f"this test left what nothing owns: {sorted(fresh)}"


@pytest.fixture
def one_thread() -> Iterator[None]:
    """One thread for torch: tensors of a tiny model only lose by being shared out."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
