"""Trying again: what is worth another try, how often, and that stopping always wins."""

from __future__ import annotations

import dataclasses
import random
import threading
from collections.abc import Callable

import pytest

from alignfed.errors import (
    AgentRevoked,
    AlignFedError,
    ChunkChecksumMismatch,
    CoordinatorUnreachable,
    HeadMoved,
    ManifestMismatch,
    NonFinite,
    QueueFull,
    UnknownAgent,
)
from alignfed.plan import BaseModel, FederationPlan, Lora, Training
from edge_agent.domain import Capabilities, HeadStatus, Registration
from edge_agent.stopping import Interrupted
from edge_agent.wire.link import TRANSFER_TRIES, Link
from tests.support.prepared_deltas import BASE

PLAN = FederationPlan(federation="fed", base_model=BaseModel(name="m"))


class AtOnce(random.Random):
    """Jitter that is always zero."""

    def uniform(self, _a: float, _b: float) -> float:  # type: ignore[override]  # never by name
        return 0.0


class Registry:
    """Registers whoever comes, with the plan it is told to give."""

    def __init__(self, *plans: FederationPlan) -> None:
        self.plans = list(plans) or [PLAN]
        self.registered = 0

    def register(self, capabilities: Capabilities) -> Registration:
        assert capabilities.tier == "fast"
        plan = self.plans[min(self.registered, len(self.plans) - 1)]
        self.registered += 1
        return Registration(plan=plan, status=HeadStatus(head=BASE, oldest_retained=0))


def link_to(
    registry: Registry, *, stop: threading.Event | None = None, rng: random.Random | None = None
) -> tuple[Link, list[str]]:
    retried: list[str] = []
    link = Link(
        client=registry,
        capabilities=Capabilities(tier="fast"),
        stop=stop or threading.Event(),
        on_retry=lambda error: retried.append(error.reason),
        rng=rng or AtOnce(),
    )
    return link, retried


def failing(*errors: AlignFedError) -> Callable[[], str]:
    """Return an operation that fails with each error in turn and then succeeds."""
    left = list(errors)

    def operation() -> str:
        if left:
            raise left.pop(0)
        return "done"

    return operation


def test_what_is_temporary_is_tried_again_and_counted() -> None:
    link, retried = link_to(Registry())
    errors = [CoordinatorUnreachable("a"), QueueFull("b"), HeadMoved("c"), ChunkChecksumMismatch("d")]
    assert link.call(failing(*errors)) == "done"
    assert retried == [error.reason for error in errors]


def test_a_permanent_rejection_is_not() -> None:
    link, retried = link_to(Registry())
    for error in (AgentRevoked("x"), NonFinite("y")):
        with pytest.raises(type(error)):
            link.call(failing(error))
    assert retried == []


def test_a_transfer_that_is_always_damaged_is_given_up() -> None:
    link, retried = link_to(Registry())
    with pytest.raises(ChunkChecksumMismatch):
        link.call(failing(*[ChunkChecksumMismatch("x")] * TRANSFER_TRIES))
    assert len(retried) == TRANSFER_TRIES - 1


def test_an_agent_that_was_forgotten_registers_again_once() -> None:
    registry = Registry()
    link, _ = link_to(registry)
    link.register()
    assert link.call(failing(UnknownAgent("who?"))) == "done"
    assert registry.registered == 2
    with pytest.raises(UnknownAgent):
        link.call(failing(UnknownAgent("who?"), UnknownAgent("who?")))


def test_new_hyper_parameters_are_adopted_and_a_new_adapter_shape_is_not() -> None:
    faster = dataclasses.replace(PLAN, training=Training(learning_rate=1.0))
    wider = dataclasses.replace(PLAN, lora=Lora(rank=99))
    link, _ = link_to(Registry(PLAN, faster, wider))
    link.register()
    link.register()
    assert link.plan is faster
    with pytest.raises(ManifestMismatch, match="restart the agent"):
        link.register()


def test_stopping_ends_a_wait_at_once_and_starts_nothing_new() -> None:
    stop = threading.Event()
    link, _ = link_to(Registry(), stop=stop, rng=random.Random(0))
    unreachable = CoordinatorUnreachable("x", retry_after_seconds=3600)
    timer = threading.Timer(0.05, stop.set)
    timer.start()
    with pytest.raises(Interrupted):
        link.call(failing(unreachable))
    timer.join()
    with pytest.raises(Interrupted):
        link.call(lambda: pytest.fail("nothing may be called any more"))
    with pytest.raises(Interrupted):
        link.pause(0)


def test_a_failure_caused_by_stopping_is_no_failure() -> None:
    stop = threading.Event()
    link, retried = link_to(Registry(), stop=stop)

    def cancelled() -> None:
        stop.set()
        raise CoordinatorUnreachable("broken off")

    with pytest.raises(Interrupted):
        link.call(cancelled)
    assert retried == []
