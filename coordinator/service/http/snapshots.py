"""Federations as the page shows them, read from the store once per few seconds, however many people look."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from coordinator.backends import refusals
from coordinator.domain import FederationRecord
from coordinator.ports import Clock, Store
from coordinator.service.bounds import store_silent, within
from coordinator.service.caches.single_flight import SingleFlight
from coordinator.service.http.fleet import AgentRow, agent_rows
from coordinator.service.http.history import History
from coordinator.service.http.views import Reading, federation_view

ValueT = TypeVar("ValueT")

LIFETIME_SECONDS = 3.0
"""How long an answer is given again: the page asks every five seconds."""
REST_PER_WORK = 20.0
"""A reading that takes long lives longer: the page takes at most a twentieth of the process's time."""
FEDERATIONS_SHOWN = 50
"""Federations listed; the store is asked twice for each."""
_STORE_SECONDS = 15.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One federation at one moment: `body` is its JSON, `rows` the fleet at the same time."""

    as_of: float
    body: bytes
    rows: tuple[AgentRow, ...]


class Snapshots:
    """Reads federations on demand; nobody looking means nothing is read.

    Args:
        store: Where they are.
        clock: Time.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._names: _Kept[list[str]] = _Kept(clock)
        self._overviews: _Kept[bytes] = _Kept(clock)
        self._snapshots: _Kept[Snapshot] = _Kept(clock)
        self._histories: dict[str, History] = {}
        self._records: dict[str, FederationRecord] = {}

    async def overview(self) -> bytes:
        """Return the federations in brief, as JSON.

        Raises:
            StoreUnreachable: The store does not answer.
        """
        return await self._overviews.get("all", self._read_overview)

    async def get(self, federation: str) -> Snapshot:
        """Return one federation.

        Raises:
            UnknownFederation: It does not exist.
            StoreUnreachable: The store does not answer.
        """
        if federation not in await self._names.get("all", self._read_names):  # guessing names reads nothing else
            raise refusals.federation_unknown(federation)
        return await self._snapshots.get(federation, lambda: self._read(federation))

    def forget(self, federation: str) -> None:
        """Read a federation again the next time: it was just changed from here."""
        self._snapshots.forget(federation)
        self._overviews.forget("all")

    async def _read_names(self) -> list[str]:
        async with within(_STORE_SECONDS, lambda: store_silent(_STORE_SECONDS)):
            return await self._store.federations.names()

    async def _read_overview(self) -> bytes:
        names = await self._names.get("all", self._read_names)
        rows = []
        async with within(_STORE_SECONDS, lambda: store_silent(_STORE_SECONDS)):
            for name in names[:FEDERATIONS_SHOWN]:
                head = await self._store.versions.head(name)
                depth = await self._store.deltas.depth(name)
                row = {"name": name, "head": head.id.number, "paused": head.paused}
                rows.append({**row, "queued": depth.queued, "dead": depth.dead})
        answer = {"as_of": self._clock.now(), "federations": rows, "more": max(0, len(names) - FEDERATIONS_SHOWN)}
        return json.dumps(answer, allow_nan=False).encode()

    async def _read(self, federation: str) -> Snapshot:
        async with within(_STORE_SECONDS, lambda: store_silent(_STORE_SECONDS)):
            record = self._records.get(federation)
            if record is None:
                record = self._records[federation] = await self._store.federations.get(federation)
            head = await self._store.versions.head(federation)
            reading = Reading(
                as_of=self._clock.now(),
                record=record,
                head=head,
                depth=await self._store.deltas.depth(federation),
                agents=await self._store.agents.list(federation),
                contributions=await self._store.agents.contributions(federation),
                versions=await self._history(federation).up_to(head),
            )
        rows = agent_rows(reading.agents, reading.contributions, reading.versions, now=reading.as_of)
        body = json.dumps(federation_view(reading), allow_nan=False).encode()
        return Snapshot(as_of=reading.as_of, body=body, rows=rows)

    def _history(self, federation: str) -> History:
        return self._histories.setdefault(federation, History(self._store.versions, federation))


class _Kept(Generic[ValueT]):
    """Answers by key that live for a while; whoever asks while one is being read waits for it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._values: dict[str, tuple[float, ValueT]] = {}
        self._flight: SingleFlight[str, ValueT] = SingleFlight()

    async def get(self, key: str, read: Callable[[], Coroutine[Any, Any, ValueT]]) -> ValueT:
        """Return the answer for `key`, reading it when there is none that is young enough."""
        until, value = self._values.get(key, (0.0, None))
        if value is not None and self._clock.monotonic() < until:
            return value
        return await self._flight.run(key, lambda: self._read(key, read))

    async def _read(self, key: str, read: Callable[[], Coroutine[Any, Any, ValueT]]) -> ValueT:
        began = self._clock.monotonic()
        value = await read()
        ended = self._clock.monotonic()
        self._values[key] = (ended + max(LIFETIME_SECONDS, REST_PER_WORK * (ended - began)), value)
        return value

    def forget(self, key: str) -> None:
        """Read again the next time."""
        self._values.pop(key, None)
