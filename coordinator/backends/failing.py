"""A store whose every call may fail on purpose: in front of the real one, and only where failpoints are armed."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast, get_type_hints

from alignfed.failpoints import AFTER, BEFORE, are_armed, hit_async
from coordinator.ports import Store

PREFIX = "store"


def store_places() -> list[str]:
    """Return the place of every call of a store, without `.before` and `.after`, sorted.

    Derived from the ports: `store.PORT.METHOD`, and `store.METHOD` for the store's own.
    """
    names = [f"{PREFIX}.{port}.{name}" for port, protocol in _ports().items() for name in _methods(protocol)]
    return sorted([*names, *(f"{PREFIX}.{name}" for name in _methods(Store))])


def failing_if_armed(store: Store) -> Store:
    """Return the store itself, or behind failpoints when this process has any armed."""
    return cast("Store", _Failing(store, PREFIX, Store)) if are_armed() else store


class _Failing:
    """Stands in for a store or one of its ports: every method of its protocol, with a failpoint before and after."""

    def __init__(self, inner: object, place: str, protocol: type) -> None:
        for name, declared in _methods(protocol).items():
            stand_in = _call if inspect.iscoroutinefunction(declared) else _context
            setattr(self, name, stand_in(f"{place}.{name}", getattr(inner, name)))
        for port, port_protocol in _ports(protocol).items():
            setattr(self, port, _Failing(getattr(inner, port), f"{place}.{port}", port_protocol))


def _call(place: str, method: Callable[..., Any]) -> Callable[..., Any]:
    async def call(*arguments: Any, **options: Any) -> Any:
        await hit_async(f"{place}.{BEFORE}")
        answer = await method(*arguments, **options)
        await hit_async(f"{place}.{AFTER}")
        return answer

    return call


def _context(place: str, method: Callable[..., Any]) -> Callable[..., Any]:
    """Return a stand-in for a method that returns an asynchronous context: before it is entered, and once it is."""

    @asynccontextmanager
    async def context(*arguments: Any, **options: Any) -> AsyncIterator[Any]:
        await hit_async(f"{place}.{BEFORE}")
        async with method(*arguments, **options) as entered:
            await hit_async(f"{place}.{AFTER}")
            yield entered

    return context


def _ports(protocol: type = Store) -> dict[str, type]:
    return dict(get_type_hints(protocol))


def _methods(protocol: type) -> dict[str, Callable[..., Any]]:
    return {name: found for name, found in inspect.getmembers(protocol, inspect.isfunction) if name[0] != "_"}
