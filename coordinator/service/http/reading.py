"""What everybody may see: federations, and their fleets."""

from __future__ import annotations

import json

from aiohttp import web

from alignfed.errors import StoreUnreachable
from coordinator.ports import Clock, Store
from coordinator.service.http.answers import API, json_body
from coordinator.service.http.fleet import select, selection_of
from coordinator.service.http.snapshots import Snapshots


class Pages:
    """Federations, once the store is open.

    Args:
        clock: Time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._store: Store | None = None
        self._snapshots: Snapshots | None = None

    def open(self, store: Store) -> None:
        """Show what is in `store` from now on."""
        self._store = store
        self._snapshots = Snapshots(store, self._clock)

    @property
    def snapshots(self) -> Snapshots:
        """Federations as read last.

        Raises:
            StoreUnreachable: The process is still waiting for its store.
        """
        if self._snapshots is None:
            raise StoreUnreachable("the coordinator is starting and waits for its store: try again soon")
        return self._snapshots

    async def set_paused(self, federation: str, paused: bool) -> None:
        """Stop or start merging.

        Raises:
            UnknownFederation: It does not exist.
            StoreUnreachable: The store does not answer.
        """
        await self.snapshots.get(federation)
        assert self._store is not None
        await self._store.federations.set_paused(federation, paused)
        self.snapshots.forget(federation)

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Add the reading half of the interface."""
        router.add_get(f"{API}/federations", self.federations)
        router.add_get(f"{API}/federations/{{federation}}", self.federation)
        router.add_get(f"{API}/federations/{{federation}}/agents", self.agents)

    async def federations(self, _request: web.Request) -> web.Response:
        """List the federations in brief."""
        return json_body(await self.snapshots.overview())

    async def federation(self, request: web.Request) -> web.Response:
        """Show one federation."""
        return json_body((await self.snapshots.get(request.match_info["federation"])).body)

    async def agents(self, request: web.Request) -> web.Response:
        """Show one page of the fleet."""
        wanted = selection_of(request.query)
        snapshot = await self.snapshots.get(request.match_info["federation"])
        answer = {"as_of": snapshot.as_of, **select(snapshot.rows, wanted)}
        return json_body(json.dumps(answer, allow_nan=False).encode())
