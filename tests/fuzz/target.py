"""What a fuzz target is, and how one input is judged."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Sequence

from alignfed.errors import ERRORS_BY_REASON, AlignFedError

Mutate = Callable[[bytes, random.Random], bytes]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A piece of code that reads what others wrote.

    Attributes:
        name: Of its module.
        seeds: Valid inputs to start from; made once.
        mutate: Spoils one input, knowing its structure.
        check: Reads one input. It raises an error of `alignfed.errors`, or returns a word for how reading ended after
            asserting that what was accepted is whole.
        seconds: Processor time that one input may take.
    """

    name: str
    seeds: Callable[[], Sequence[bytes]]
    mutate: Mutate
    check: Callable[[bytes], str]
    seconds: float = 1.0


def outcome_of(target: Target, data: bytes) -> str:
    """Return how reading `data` ended: the reason of a typed error, or what the target says.

    Raises:
        Exception: Whatever else came out of it: a defect.
    """
    try:
        return target.check(data)
    except AlignFedError as error:
        if ERRORS_BY_REASON.get(error.reason) is not type(error) or not error.message:
            raise AssertionError(f"{type(error).__name__} is no leaf of the tree of errors, or says nothing") from error
        return error.reason
