"""A coordinator that knows its callers, and clients with certificates of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from alignfed.plan import FederationPlan
from coordinator.authority.certificates import Issued
from tests.service.conftest import Running, Start
from tests.support.identities import Deployment
from tests.support.raw_client import RawClient

Connect = Callable[..., RawClient]


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    """Two authorities and what they signed."""
    return Deployment(tmp_path / "identities")


@pytest.fixture
async def secure(start: Start, deployment: Deployment, plan: FederationPlan) -> Running:
    """A coordinator with identities, and a federation `fed` with agent-1 and agent-2 registered."""
    del plan
    return await start(**deployment.settings())


@pytest.fixture
async def connect(secure: Running, deployment: Deployment) -> AsyncIterator[Connect]:
    """Connect as somebody: `agent` and `operator` are certificates to show, None for none."""
    clients: list[RawClient] = []

    def open_client(agent: Issued | None = None, operator: Issued | None = None, **ports: Any) -> RawClient:
        client = RawClient(
            agent_port=ports.get("agent_port", secure.server.agent_port),
            operator_port=ports.get("operator_port", secure.server.operator_port),
            agent=deployment.credentials(agent),
            operator=deployment.credentials(operator),
        )
        clients.append(client)
        return client

    yield open_client
    for client in clients:
        await client.close()


Called = Callable[[RawClient], Awaitable[Any]]
