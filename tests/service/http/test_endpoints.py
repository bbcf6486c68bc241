"""The HTTP port: metrics as before, probes, the page's files, and headers that let nothing else in."""

from __future__ import annotations

import asyncio
import gzip
import signal
import socket
import sys
from pathlib import Path

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from alignfed.errors import RequestInvalid
from coordinator.service.http import server as http_server
from coordinator.service.http.server import http_served
from coordinator.service.http.settings import HttpConfig
from tests.service.conftest import Start
from tests.service.http.conftest import Port, StartPort
from tests.support.waiting import eventually
from tests.support.watched_store import WatchedStore

PAGE = Path(http_server.__file__).parent / "page"


async def test_metrics_are_text_for_whoever_asks_for_nothing_else(port: Port) -> None:
    async with port.client.get(port.url / "metrics") as response:
        assert response.content_type == "text/plain"
        text = await response.text()
    assert text.encode() == generate_latest(port.registry)
    assert "alignfed_things" in {family.name for family in parse_text(text)}


async def test_metrics_are_openmetrics_and_compressed_for_a_scraper(port: Port) -> None:
    headers = {"Accept": "application/openmetrics-text; version=1.0.0, text/plain;q=0.5", "Accept-Encoding": "gzip"}
    async with (
        aiohttp.ClientSession(auto_decompress=False) as client,
        client.get(port.url / "metrics", headers=headers) as response,
    ):
        assert response.headers["Content-Encoding"] == "gzip"
        assert response.content_type == "application/openmetrics-text"
        text = gzip.decompress(await response.read()).decode()
    assert text.endswith("# EOF\n")
    assert [family.name for family in parse_openmetrics(text)] == ["alignfed_things"]


async def test_metrics_can_be_asked_for_by_name(port: Port) -> None:
    async with port.client.get(port.url / "metrics", params={"name[]": "alignfed_others"}) as response:
        assert await response.text() == ""


async def test_the_process_is_alive_before_its_store_answers_but_not_ready(start_port: StartPort) -> None:
    port = await start_port(None)
    async with port.client.get(port.url / "healthz") as response:
        assert response.status == 200
    async with port.client.get(port.url / "readyz") as response:
        assert response.status == 503
    async with port.client.get(port.url / "api/v1/federations") as response:
        assert response.status == 503
        assert (await response.json())["reason"] == "STORE_UNREACHABLE"


async def test_readiness_follows_a_coordinator_through_its_drain(
    start: Start, start_port: StartPort, store: WatchedStore
) -> None:
    port = await start_port(None)
    running = await start(drain_notice_seconds=1.0)
    port.server.attach(store, is_serving=lambda: running.server.serving)

    async def ready() -> int:
        async with port.client.get(port.url / "readyz") as response:
            return response.status

    assert await ready() == 200
    draining = asyncio.create_task(running.server.drain())
    await asyncio.sleep(0)  # lets the drain begin; its notice lasts a second
    assert await ready() == 503
    assert not draining.done(), "load balancers are to learn of the drain before connections close"
    await draining
    assert await ready() == 503
    async with port.client.get(port.url / "healthz") as response:
        assert response.status == 200


PROCESS = """
import asyncio, logging, sys
from coordinator.service.config import ServiceConfig
from coordinator.service.process import run
logging.basicConfig(level=logging.INFO, stream=sys.stdout)
config = ServiceConfig(agent_listen="127.0.0.1:0", operator_listen="127.0.0.1:0", drain_notice_seconds=1.5)
asyncio.run(run(config, "memory://", "127.0.0.1:0"))
"""


async def test_a_real_process_is_ready_until_it_is_told_to_stop_and_alive_until_it_ends() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROCESS, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    assert process.stdout is not None
    lines: list[str] = []
    try:
        async with asyncio.timeout(30):
            async for line in process.stdout:
                lines.append(line.decode())
                if "agents_port=" in lines[-1]:
                    break
        port = next(int(line.rsplit(" ", 1)[1]) for line in lines if "status page on port" in line)
        async with aiohttp.ClientSession() as client:

            async def status(path: str) -> int:
                async with client.get(f"http://127.0.0.1:{port}/{path}") as response:
                    return response.status

            assert (await status("healthz"), await status("readyz"), await status("metrics")) == (200, 200, 200)
            process.send_signal(signal.SIGTERM)

            async def unready() -> bool:
                return await status("readyz") == 503

            await eventually(unready, what="the process says that it drains", timeout_seconds=1.4)
            assert await status("healthz") == 200
        async with asyncio.timeout(15):
            rest = (await process.stdout.read()).decode()
            assert await process.wait() == 0, "".join(lines) + rest
        assert "Traceback" not in rest
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize("path", ["", "page/app.js", "metrics", "readyz", "api/v1/federations", "nowhere"])
async def test_every_answer_forbids_what_the_page_does_not_need(port: Port, path: str) -> None:
    async with port.client.get(port.url / path) as response:
        policy = dict(part.strip().split(" ", 1) for part in response.headers["Content-Security-Policy"].split(";"))
        assert policy["default-src"] == "'none'"
        assert policy["frame-ancestors"] == "'none'"
        assert {policy[kind] for kind in ("script-src", "style-src", "img-src", "connect-src")} == {"'self'"}
        assert "unsafe" not in response.headers["Content-Security-Policy"]
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Referrer-Policy"] == "no-referrer"
        assert "aiohttp" not in response.headers["Server"]
        assert "Access-Control-Allow-Origin" not in response.headers


async def test_the_page_and_its_files_come_from_the_package(port: Port) -> None:
    types = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml", ".html": "text/html"}
    for file in PAGE.iterdir():
        async with port.client.get(port.url / "page" / file.name) as response:
            assert await response.read() == file.read_bytes()
            assert response.content_type == types[file.suffix]
            tag = response.headers["ETag"]
        async with port.client.get(port.url / "page" / file.name, headers={"If-None-Match": tag}) as response:
            assert response.status == 304
    async with port.client.get(port.url) as response:
        assert "AlignFed" in await response.text()
    async with port.client.get(f"{port.url}page/..%2fserver.py") as response:
        assert response.status == 404


def test_nothing_in_the_page_is_inline_or_parsed_from_data_or_from_elsewhere() -> None:
    for file in PAGE.iterdir():
        text = file.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
        for forbidden in (
            "innerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "http://",
            "https://",
            "style=",
        ):
            assert forbidden not in text, f"{file.name} has {forbidden}"


async def test_a_taken_address_is_a_clear_error(port: Port) -> None:
    taken = HttpConfig(listen=f"127.0.0.1:{port.server.port}")
    with pytest.raises(RequestInvalid, match="set another metrics-listen address"):
        async with http_served(CollectorRegistry(), taken):
            pass


async def test_an_address_that_is_none_is_a_clear_error() -> None:
    with pytest.raises(RequestInvalid, match="host:port"):
        async with http_served(CollectorRegistry(), HttpConfig(listen="nowhere")):
            pass


async def test_no_address_serves_nothing() -> None:
    async with http_served(CollectorRegistry(), HttpConfig(listen="")) as server:
        assert server is None


async def test_the_port_is_free_again_afterwards() -> None:
    async with http_served(CollectorRegistry(), HttpConfig(listen="127.0.0.1:0")) as server:
        assert server is not None
        port = server.port
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", port))
