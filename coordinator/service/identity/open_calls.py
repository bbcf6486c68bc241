"""Calls that run, by caller, so that those of a caller who is shut out end in their midst."""

from __future__ import annotations

import asyncio
import dataclasses
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from alignfed.errors import AlignFedError


@dataclasses.dataclass(slots=True, eq=False)
class _Call:
    """One call: who makes it, where, and why it was cut, once it was."""

    principals: frozenset[str]
    federation: str
    task: asyncio.Task[object]
    cut: AlignFedError | None = None


class OpenCalls:
    """Knows the calls in progress of one process. Belongs to its event loop."""

    def __init__(self) -> None:
        self._calls: defaultdict[str, set[_Call]] = defaultdict(set)

    def __len__(self) -> int:
        return len(set().union(*self._calls.values()))

    @contextmanager
    def call(self, principals: frozenset[str], federation: str) -> Iterator[None]:
        """Be known as a call of `principals` while the body runs, in the current task.

        Raises:
            AlignFedError: The call was cut; what `cut` was given.
        """
        task = asyncio.current_task()
        assert task is not None
        cancelling = task.cancelling()
        call = _Call(principals, federation, task)
        for principal in principals:
            self._calls[principal].add(call)
        try:
            yield
        except asyncio.CancelledError:
            if call.cut is not None and task.uncancel() <= cancelling:
                raise call.cut from None
            raise
        finally:
            for principal in principals:
                self._calls[principal].discard(call)
                if not self._calls[principal]:
                    del self._calls[principal]

    def cut(self, principal: str, error: Callable[[], AlignFedError], *, federation: str | None = None) -> int:
        """End the calls of a principal, in one federation or in all, and return how many there were."""
        calls = [
            call
            for call in self._calls.get(principal, ())
            if call.cut is None and federation in (None, call.federation)
        ]
        for call in calls:
            call.cut = error()
            call.task.cancel()
        return len(calls)
