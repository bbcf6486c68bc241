"""Changing something from the page: only with a token, only by the signed-in browser itself, and never for ever."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from click.testing import CliRunner
from prometheus_client import CollectorRegistry

from alignfed.errors import RequestInvalid
from coordinator.cli.main import alignfed
from coordinator.service.http.server import http_served
from coordinator.service.http.sessions import (
    MAX_SESSIONS,
    SESSION_SECONDS,
    WAIT_SECONDS,
    WRONG_TOKENS,
    Sessions,
)
from coordinator.service.http.settings import HttpConfig, read_token
from tests.service.http.conftest import TOKEN, Port, SettableClock, StartPort
from tests.support.watched_store import WatchedStore

CSRF = "X-AlignFed-CSRF"


@pytest.fixture
async def port(start_port: StartPort, store: WatchedStore, federation: str, clock: SettableClock) -> Port:
    """A port that can be signed in to."""
    return await start_port(store, token=TOKEN, clock=clock)


async def ask(
    port: Port, method: str, path: str, *, status: int, client: aiohttp.ClientSession | None = None, **options: Any
) -> Any:
    async with (client or port.client).request(method, f"{port.url}api/v1/{path}", **options) as response:
        assert response.status == status, await response.text()
        return await response.json()


async def sign_in(port: Port) -> str:
    answer = await ask(port, "POST", "session", status=200, json={"token": TOKEN})
    csrf: str = answer["csrf"]
    return csrf


async def is_paused(store: WatchedStore, federation: str) -> bool:
    return (await store.versions.head(federation)).paused


async def test_without_a_token_file_nothing_can_be_changed_at_all(
    start_port: StartPort, store: WatchedStore, federation: str
) -> None:
    port = await start_port(store)
    assert await ask(port, "GET", "session", status=200) == {"can_sign_in": False, "signed_in": False, "csrf": None}
    for method, path in (
        ("POST", "session"),
        ("DELETE", "session"),
        ("POST", f"federations/{federation}/pause"),
        ("POST", f"federations/{federation}/resume"),
        ("PUT", f"federations/{federation}"),
    ):
        async with port.client.request(method, f"{port.url}api/v1/{path}", json={"token": TOKEN}) as response:
            assert response.status in (404, 405), path
    methods = {route.method for route in port.server._runner.app.router.routes()}
    assert methods <= {"GET", "HEAD"}


async def test_a_signed_in_visitor_pauses_and_resumes(port: Port, store: WatchedStore, federation: str) -> None:
    headers = {CSRF: await sign_in(port)}
    assert await ask(port, "POST", f"federations/{federation}/pause", status=200, headers=headers) == {"paused": True}
    assert await is_paused(store, federation)
    assert (await ask(port, "GET", f"federations/{federation}", status=200))["paused"], "shown at once"
    assert (await ask(port, "GET", "federations", status=200))["federations"][0]["paused"]
    await ask(port, "POST", f"federations/{federation}/resume", status=200, headers=headers)
    assert not await is_paused(store, federation)
    unknown = await ask(port, "POST", "federations/nowhere/pause", status=404, headers=headers)
    assert unknown["reason"] == "FEDERATION_UNKNOWN"


async def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(port: Port) -> None:
    async with port.client.post(f"{port.url}api/v1/session", json={"token": f" {TOKEN}\n"}) as response:
        assert response.status == 200
        cookie = response.cookies["alignfed_session"]
    assert cookie["httponly"]
    assert cookie["samesite"] == "Strict"
    assert not cookie["secure"]
    assert int(cookie["max-age"]) == SESSION_SECONDS
    assert TOKEN not in cookie.value
    proxied = {"X-Forwarded-Proto": "https"}
    async with port.client.post(f"{port.url}api/v1/session", json={"token": TOKEN}, headers=proxied) as response:
        assert response.cookies["alignfed_session"]["secure"]


@pytest.mark.parametrize("body", ['{"token": "wrong-but-long-enough"}', '{"token": 7}', "[]", "{}", "nonsense", ""])
async def test_a_wrong_token_lets_nobody_in(port: Port, store: WatchedStore, federation: str, body: str) -> None:
    json_type = {"Content-Type": "application/json"}
    refused = await ask(port, "POST", "session", status=401, data=body, headers=json_type)
    assert refused["reason"] == "WRONG_TOKEN"
    assert TOKEN not in str(refused)
    assert not (await ask(port, "GET", "session", status=200))["signed_in"]
    await ask(port, "POST", f"federations/{federation}/pause", status=401, headers={CSRF: ""})
    assert not await is_paused(store, federation)


async def test_wrong_tokens_are_limited_even_if_the_right_one_follows(
    port: Port, clock: SettableClock, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        for _ in range(WRONG_TOKENS):
            await ask(port, "POST", "session", status=401, json={"token": "wrong-but-long-enough"})
    assert caplog.text.count("wrong token") == WRONG_TOKENS
    assert "wrong-but-long-enough" not in caplog.text
    async with port.client.post(f"{port.url}api/v1/session", json={"token": TOKEN}) as response:
        assert response.status == 429
        assert int(response.headers["Retry-After"]) == WAIT_SECONDS
    clock.seconds += WAIT_SECONDS
    await sign_in(port)


async def test_a_session_ends_with_the_day_and_with_signing_out(port: Port, clock: SettableClock) -> None:
    csrf = await sign_in(port)
    clock.seconds += SESSION_SECONDS - 1
    assert (await ask(port, "GET", "session", status=200))["signed_in"]
    clock.seconds += 1
    assert not (await ask(port, "GET", "session", status=200))["signed_in"]
    await ask(port, "DELETE", "session", status=401, headers={CSRF: csrf})

    csrf = await sign_in(port)
    stolen = port.client.cookie_jar.filter_cookies(port.url)["alignfed_session"].value
    await ask(port, "DELETE", "session", status=200, headers={CSRF: csrf})
    assert not (await ask(port, "GET", "session", status=200))["signed_in"]
    async with aiohttp.ClientSession(cookies={"alignfed_session": stolen}) as thief:
        assert not (await ask(port, "GET", "session", status=200, client=thief))["signed_in"]


@pytest.mark.parametrize("headers", [{}, {CSRF: ""}, {CSRF: "made-up"}, {CSRF: "\u00e4"}])
async def test_a_request_without_the_sessions_own_header_changes_nothing(
    port: Port, store: WatchedStore, federation: str, headers: dict[str, str]
) -> None:
    await sign_in(port)
    refused = await ask(port, "POST", f"federations/{federation}/pause", status=403, headers=headers)
    assert refused["reason"] == "CSRF_TOKEN_WRONG"
    await ask(port, "DELETE", "session", status=403, headers=headers)
    assert not await is_paused(store, federation)


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_what_another_site_causes_is_refused(port: Port, store: WatchedStore, federation: str, site: str) -> None:
    csrf = await sign_in(port)
    headers = {CSRF: csrf, "Sec-Fetch-Site": site}
    for method, path in (("POST", f"federations/{federation}/pause"), ("DELETE", "session"), ("POST", "session")):
        refused = await ask(port, method, path, status=403, headers=headers, json={"token": TOKEN})
        assert refused["reason"] == "OTHER_SITE"
    assert not await is_paused(store, federation)


async def test_a_form_cannot_sign_in(port: Port) -> None:
    await ask(port, "POST", "session", status=415, data={"token": TOKEN})


async def test_a_request_that_is_too_large_is_refused(port: Port) -> None:
    async with port.client.post(f"{port.url}api/v1/session", json={"token": "x" * 100_000}) as response:
        assert response.status == 413


def test_sessions_and_addresses_are_bounded(clock: SettableClock) -> None:
    sessions = Sessions(TOKEN.encode(), clock)
    secrets = [sessions.sign_in(TOKEN, address="::1") for _ in range(MAX_SESSIONS + 1)]
    assert None not in secrets
    assert sessions.get(str(secrets[0])) is None
    assert sessions.get(str(secrets[-1])) is not None
    for i in range(5000):
        sessions.sign_in("wrong", address=str(i))
    assert len(sessions._wrong) <= 1024


def token_file(folder: Path, content: str, mode: int = 0o600) -> str:
    path = folder / "token"
    path.write_text(content)
    path.chmod(mode)
    return str(path)


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o440])
def test_a_private_token_file_is_read_without_white_space(tmp_path: Path, mode: int) -> None:
    assert read_token(token_file(tmp_path, f"{TOKEN}\n", mode)) == TOKEN.encode()


@pytest.mark.parametrize(
    ("content", "mode", "advice"),
    [(TOKEN, 0o604, "chmod"), (TOKEN, 0o602, "chmod"), ("fifteen-bytes!!", 0o600, "15 bytes"), ("", 0o600, "0 bytes")],
)
async def test_a_token_file_that_does_not_protect_is_refused(
    tmp_path: Path, content: str, mode: int, advice: str
) -> None:
    config = HttpConfig(listen="127.0.0.1:0", token_file=token_file(tmp_path, content, mode))
    with pytest.raises(RequestInvalid, match=advice) as raised:
        async with http_served(CollectorRegistry(), config):
            pass
    assert TOKEN not in raised.value.message


async def test_a_missing_token_file_and_one_without_an_address_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestInvalid, match="cannot read"):
        read_token(str(tmp_path / "none"))
    with pytest.raises(RequestInvalid, match="metrics-listen"):
        async with http_served(CollectorRegistry(), HttpConfig(listen="", token_file="any")):
            pass


async def test_a_token_on_an_open_address_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = HttpConfig(listen="0.0.0.0:0", token_file=token_file(tmp_path, TOKEN))
    async with http_served(CollectorRegistry(), config):
        assert "unencrypted" in caplog.text


def test_the_command_shows_where_the_token_is_but_not_the_token_and_refuses_a_bad_file(tmp_path: Path) -> None:
    path = token_file(tmp_path, TOKEN, 0o644)
    arguments = ["coordinator", "--store-url", "memory://", "--metrics-listen", "127.0.0.1:0", "--insecure"]
    result = CliRunner().invoke(alignfed, arguments, env={"ALIGNFED_STATUS_TOKEN_FILE": path})
    assert f"status_token_file = {path}  (environment)" in result.output
    assert TOKEN not in result.output
    assert isinstance(result.exception, RequestInvalid)
    assert "chmod" in result.exception.message
