"""Places in the code that fail on purpose when told to, so that tests can break a process at an exact point.

    ALIGNFED_FAILPOINTS="store.versions.commit.before=crash@3; outbox.payload.write.after=delay(0.5)"

The setting is a list of `PLACE=ACTION[@HITS]`, separated by `;`. `alignfed failpoints` lists every place.

    crash            the process kills itself with SIGKILL: nothing is flushed, nothing is tidied up
    delay(SECONDS)   it waits there; in an event loop only the task that came by waits
    error            what is used there is broken: `store.` and `merge.` places raise StoreUnreachable, `rpc.` places
                     CoordinatorUnreachable, every other place (they are about files) OSError of a full disk
    error(REASON)    any temporary error of `alignfed.errors`, such as error(STORE_FULL)
    @3  @2-5  @3+    only at the third time the process comes by, at the second to fifth, from the third on

Without the setting nothing is armed, and passing a place costs the look at one variable. Before it acts, a place writes
one line to stderr, unbuffered, so that whoever set it sees that it was reached. Hits are counted per process.
"""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import os
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import NoReturn

from alignfed.errors import ERRORS_BY_REASON, CoordinatorUnreachable, RequestInvalid, StoreUnreachable, Unavailable

VARIABLE = "ALIGNFED_FAILPOINTS"
BEFORE, AFTER = "before", "after"

_PLACE = re.compile(r"[a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_]*)+")
_ACTION = re.compile(r"(?P<verb>[a-z]+)(?:\((?P<argument>[^()]*)\))?")
_HITS = re.compile(r"(?P<first>[0-9]{1,9})(?:(?P<open>\+)|-(?P<last>[0-9]{1,9}))?")
_SECONDS = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,6})?")
_FORM = (
    f"write {VARIABLE}='PLACE=ACTION;PLACE=ACTION@HITS' with an ACTION of crash, delay(0.5), error or "
    "error(STORE_FULL), and HITS such as 3, 2-5 or 3+; `alignfed failpoints` lists the places"
)
_SHOWN = 8
_STDERR = 2
_KILLED = 128 + signal.SIGKILL
_OFF: AbstractContextManager[None] = nullcontext()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """What a place does: `verb` is `crash`, `delay` or `error`; `seconds` belongs to delay, `reason` to error."""

    verb: str
    seconds: float = 0.0
    reason: str = ""

    def __str__(self) -> str:
        argument = f"{self.seconds:f}".rstrip("0").rstrip(".") if self.verb == "delay" else self.reason
        return f"{self.verb}({argument})" if argument else self.verb


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One `PLACE=ACTION[@HITS]`: acts at the `first` to `last` hit, counted from 1; `last` None for no end."""

    place: str
    action: Action
    first: int = 1
    last: int | None = None

    def __str__(self) -> str:
        if (self.first, self.last) == (1, None):
            return f"{self.place}={self.action}"
        end = "+" if self.last is None else f"-{self.last}" if self.last != self.first else ""
        return f"{self.place}={self.action}@{self.first}{end}"

    def acts_at(self, hit: int) -> bool:
        """Whether it acts at the hit of that number."""
        return self.first <= hit and (self.last is None or hit <= self.last)


class Failpoints:
    """Counts hits of the places that have rules, and acts; safe for several threads.

    Args:
        rules: Of several rules for a place the first that acts at a hit does.
    """

    def __init__(self, rules: tuple[Rule, ...]) -> None:
        self.rules = rules
        self._lock = threading.Lock()
        self._hits: Counter[str] = Counter()
        self._rules: dict[str, list[Rule]] = {}
        for rule in rules:
            self._rules.setdefault(rule.place, []).append(rule)

    def next_action(self, place: str) -> Action | None:
        """Count a hit and return the action that is due, after telling of it on stderr."""
        rules = self._rules.get(place)
        if rules is None:
            return None
        with self._lock:
            self._hits[place] += 1
            hit = self._hits[place]
        action = next((rule.action for rule in rules if rule.acts_at(hit)), None)
        if action is not None:
            _tell(f"failpoint {place} hit {hit} pid {os.getpid()}: {action}")
        return action


_armed: Failpoints | None = None
"""What this process was told at its start: of the process, as its environment is, and never set by an import."""


def parse(setting: str) -> tuple[Rule, ...]:
    """Return the rules of a setting, in its order; empty parts are skipped.

    Raises:
        RequestInvalid: It is malformed; the message says what to write.
    """
    return tuple(_rule(part.strip()) for part in setting.split(";") if part.strip())


def arm_from(environment: Mapping[str, str]) -> tuple[Rule, ...]:
    """Arm this process as `ALIGNFED_FAILPOINTS` says; without it nothing changes. Called once, by a program's start.

    Returns:
        The rules that are armed now through this call.

    Raises:
        RequestInvalid: The setting is malformed.
    """
    global _armed
    rules = parse(environment.get(VARIABLE, ""))
    if rules:
        _armed = Failpoints(rules)
        _tell(f"failpoints are armed, this process fails on purpose: {_brief(rules)}")
    return rules


@contextmanager
def armed(setting: str) -> Iterator[None]:
    """Arm this process while the block runs, for tests; what was armed before is armed again afterwards.

    Raises:
        RequestInvalid: The setting is malformed.
    """
    global _armed
    before, _armed = _armed, Failpoints(parse(setting))
    try:
        yield
    finally:
        _armed = before


def are_armed() -> bool:
    """Whether any place of this process may act."""
    return _armed is not None


def hit(place: str) -> None:
    """Pass a place; `place` is a literal, because the listing is read from the code.

    Raises:
        Unavailable, OSError: The place was told to fail with an error.
    """
    if _armed is None:
        return
    action = _armed.next_action(place)
    if action is None:
        return
    if action.verb == "delay":
        time.sleep(action.seconds)
    else:
        _fail(action, place)


async def hit_async(place: str) -> None:
    """Pass a place of an event loop: as `hit`, and a delay lets other tasks run."""
    if _armed is None:
        return
    action = _armed.next_action(place)
    if action is None:
        return
    if action.verb == "delay":
        await asyncio.sleep(action.seconds)
    else:
        _fail(action, place)


def around(place: str) -> AbstractContextManager[None]:
    """Return a block with the places `PLACE.before` and `PLACE.after`; the latter is passed unless the block raises."""
    return _OFF if _armed is None else _around(place)


@contextmanager
def _around(place: str) -> Iterator[None]:
    hit(f"{place}.{BEFORE}")
    yield
    hit(f"{place}.{AFTER}")


def _fail(action: Action, place: str) -> NoReturn:
    if action.verb == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
        os._exit(_KILLED)  # never reached where SIGKILL is what it is on Linux
    message = f"the failpoint {place} breaks this on purpose: unset {VARIABLE} to run without"
    if action.reason:
        raise ERRORS_BY_REASON[action.reason](message)
    kind = place.partition(".")[0]
    if kind in ("store", "merge"):
        raise StoreUnreachable(message)
    if kind == "rpc":
        raise CoordinatorUnreachable(message)
    raise OSError(errno.ENOSPC, message)


def _brief(rules: tuple[Rule, ...]) -> str:
    more = f"; and {len(rules) - _SHOWN} more" if len(rules) > _SHOWN else ""
    return "; ".join(map(str, rules[:_SHOWN])) + more


def _tell(line: str) -> None:
    """Write one line past every buffer: the process may be gone in the next moment, and nobody must miss it."""
    with suppress(OSError):  # stderr is closed or full: the place acts all the same
        os.write(_STDERR, f"{line}\n".encode())


def _rule(part: str) -> Rule:
    place, equals, rest = (word.strip() for word in part.partition("="))
    verb, at, hits = (word.strip() for word in rest.partition("@"))
    if not equals or not _PLACE.fullmatch(place):
        raise RequestInvalid(f"failpoint {part!r} names no place: {_FORM}")
    first, last = _range(hits, part) if at else (1, None)
    return Rule(place=place, action=_action(verb, part), first=first, last=last)


def _action(text: str, part: str) -> Action:
    found = _ACTION.fullmatch(text)
    verb, argument = (found["verb"], found["argument"]) if found else ("", None)
    if verb == "crash" and argument is None:
        return Action(verb=verb)
    if verb == "delay" and argument is not None and _SECONDS.fullmatch(argument.strip()):
        return Action(verb=verb, seconds=float(argument))
    if verb == "error" and argument is None:
        return Action(verb=verb)
    if verb == "error" and issubclass(ERRORS_BY_REASON.get(str(argument), object), Unavailable):
        return Action(verb=verb, reason=str(argument))
    raise RequestInvalid(f"failpoint {part!r} names no action: {_FORM}")


def _range(text: str, part: str) -> tuple[int, int | None]:
    found = _HITS.fullmatch(text)
    if found is not None:
        first = int(found["first"])
        last = None if found["open"] else int(found["last"] or first)
        if first >= 1 and (last is None or last >= first):
            return first, last
    raise RequestInvalid(f"failpoint {part!r} names no hits, which count from 1: {_FORM}")
