"""The processes that drive a fleet, seen from the one that started them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from alignfed.errors import LocalProcessFailed
from bench.fleet.crowd import LINE_BYTES
from bench.fleet.figures import Figures, summed
from coordinator.local.processes import Supervisor, python_program

START_SECONDS = 60.0
ANSWER_SECONDS = 180.0
"""A process on a machine whose processors are all taken answers late, but it answers."""
_CROWD = "import asyncio, sys; from bench.fleet.crowd import main; asyncio.run(main(sys.argv[1], int(sys.argv[2])))"
_STAGE = 3
LONGEST_PARENT = 70


class Crowds:
    """Gives orders to all processes at once. Made by `crowds_running`.

    Args:
        supervisor: Owns the processes.
        lines: A connection to each, in their order.
    """

    def __init__(
        self, supervisor: Supervisor, lines: Sequence[tuple[asyncio.StreamReader, asyncio.StreamWriter]]
    ) -> None:
        self._supervisor = supervisor
        self._lines = lines

    async def order(self, name: str, **details: Any) -> list[dict[str, Any]]:
        """Give every process an order and return their answers.

        Raises:
            LocalProcessFailed: One has ended, or does not answer.
        """
        line = json.dumps({"order": name, **details}).encode() + b"\n"
        return await asyncio.gather(*(self._ask(reader, writer, line) for reader, writer in self._lines))

    async def counts(self) -> tuple[Counter[str], int]:
        """Return what all agents have counted so far, and the newest version that any of them knows."""
        answers = await self.order("counts")
        total: Counter[str] = Counter()
        for answer in answers:
            total.update(answer["counts"])
        return total, max(answer["head"] for answer in answers)

    async def figures(self) -> tuple[Figures, float]:
        """Return all agents' figures so far, and how long the busiest process ran, or would have, in seconds."""
        answers = await self.order("figures")
        figures = summed(Figures.from_plain(answer["figures"]) for answer in answers)
        return figures, max(answer["busy_seconds"] for answer in answers)

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: bytes) -> dict[str, Any]:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                writer.write(line)
                await writer.drain()
                answer = await reader.readline()
        except (OSError, TimeoutError) as error:
            self._supervisor.check()
            raise LocalProcessFailed("a process that drives the fleet does not answer: use fewer agents") from error
        if not answer:
            self._supervisor.check()
            raise LocalProcessFailed("a process that drives the fleet has closed its connection")
        found: dict[str, Any] = json.loads(answer)
        return found


@contextlib.asynccontextmanager
async def crowds_running(supervisor: Supervisor, logs: Path, *, processes: int) -> AsyncIterator[Crowds]:
    """Start so many processes and wait until each has called.

    Raises:
        LocalProcessFailed: One does not start.
    """
    lines: dict[int, tuple[asyncio.StreamReader, asyncio.StreamWriter]] = {}
    called = asyncio.Event()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines[json.loads(await reader.readline())["index"]] = (reader, writer)
        called.set()

    with tempfile.TemporaryDirectory(prefix="alignfed-fleet-", dir=_short_parent()) as folder:
        socket = f"{folder}/orders"
        server = await asyncio.start_unix_server(take, socket, limit=LINE_BYTES)
        names = [f"crowd-{index}" for index in range(processes)]
        try:
            for index, name in enumerate(names):
                program = python_program(name, _CROWD, [socket, str(index)], stage=_STAGE, log=logs / f"{name}.log")
                supervisor.start(program)
            await _all_called(supervisor, called, lines, processes)
            yield Crowds(supervisor, [lines[index] for index in range(processes)])
        finally:
            for _, writer in lines.values():
                writer.close()
            server.close()
            supervisor.stop(names)


def _short_parent() -> str:
    """Return where sockets may lie: the kernel allows 107 bytes for the path of one."""
    usual = tempfile.gettempdir()
    return usual if len(usual) <= LONGEST_PARENT else "/tmp"  # noqa: S108 (a private folder is made in it)


async def _all_called(
    supervisor: Supervisor, called: asyncio.Event, lines: Mapping[int, object], processes: int
) -> None:
    try:
        async with asyncio.timeout(START_SECONDS):
            while len(lines) < processes:
                called.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(1.0):
                        await called.wait()
                supervisor.check()
    except TimeoutError as error:
        raise LocalProcessFailed(
            f"processes that drive the fleet did not start within {START_SECONDS:.0f} s"
        ) from error
