"""The page in a real browser: it shows what is there, keeps to itself, and says when it has lost the coordinator."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from coordinator.backends.memory import MemoryStore
from tests.service.http.conftest import TOKEN, Port, StartPort
from tests.support.chromium import Tab, open_tab, running_chromium
from tests.support.plausible_federation import History, seed_plausible
from tests.support.stores import new_agent, publish
from tests.support.watched_store import WatchedStore

DRAWN = (
    "document.querySelector('#loss path') && document.querySelector('#tiers rect') && "
    "document.querySelectorAll('#fleet-rows tr').length"
)
TIERS = "[...document.querySelectorAll('#fleet-rows .tier')].map((cell) => cell.textContent).join()"


@pytest.fixture(scope="module")
def devtools_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A browser that the tests of this file share."""
    with running_chromium(tmp_path_factory.mktemp("chromium")) as port:
        yield port


@pytest.fixture
async def tab(devtools_port: int) -> AsyncIterator[Tab]:
    """A page with nothing in it."""
    async with open_tab(devtools_port) as opened:
        yield opened


def evidence(tmp_path: Path, name: str) -> Path:
    """Return where a screenshot goes."""
    folder = Path(os.environ.get("ALIGNFED_EVIDENCE_DIR", tmp_path)) / "status-page"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}.png"


async def text(tab: Tab, selector: str) -> str:
    found: str = await tab.run(f"document.querySelector({selector!r}).textContent")
    return found


async def test_everything_shows_up_in_every_light_and_size_and_nothing_comes_from_elsewhere(
    tab: Tab, port: Port, federation: str, tmp_path: Path
) -> None:
    for name, width, dark in (("desktop-light", 1280, False), ("desktop-dark", 1280, True), ("phone-dark", 360, True)):
        await tab.look(width=width, height=800, dark=dark, phone=width < 500)
        await tab.open(f"{port.url}?{name}")
        await tab.until(f"location.search === '?{name}' && {DRAWN}", what="the page has drawn everything")
        assert await tab.run("document.documentElement.scrollWidth") <= width, f"{name} scrolls sideways"
        ground = await tab.run("getComputedStyle(document.body).backgroundColor")
        assert (ground == "rgb(13, 18, 24)") == dark
        await tab.screenshot(evidence(tmp_path, name))
    assert await text(tab, "#name") == federation
    assert "v40" in await text(tab, "#tiles")
    assert await tab.run("document.querySelectorAll('#fleet-rows tr').length") == 24
    assert await tab.run("document.querySelectorAll('#timeline .version').length") == 41
    assert await tab.run("document.querySelectorAll('#timeline .version.gone').length") == 6
    assert await tab.run("document.querySelectorAll('#timeline .version.rollback').length") == 2
    assert "1 delta could not be merged" in await text(tab, "#dead")
    assert await tab.run("document.querySelectorAll('#lorenz .line').length") == 3
    assert await tab.run("document.querySelector('#pause').hidden && document.querySelector('#sign-in').hidden")
    assert tab.complaints == []
    assert {url for url in tab.requests if not url.startswith(str(port.url))} <= {"about:blank"}


async def test_it_keeps_up_with_the_federation_without_rebuilding_rows(
    tab: Tab, port: Port, store: WatchedStore, federation: str
) -> None:
    await tab.look(width=1280, height=800)
    await tab.open(str(port.url))
    await tab.until(DRAWN, what="the page has drawn everything")
    await tab.run("document.querySelector('#fleet-rows tr').mark = 'the same row'")
    token = await store.leases.acquire(federation, "worker-1", ttl_seconds=60)
    assert token is not None
    await publish(store, federation, agent_id="fast-005")
    await store.federations.set_paused(federation, True)
    await tab.until("document.title.includes('v41')", what="the page shows the new version")
    await tab.until("!document.querySelector('#paused').hidden", what="the page says that it is paused")
    assert "Version 41" in await text(tab, "#version-detail")
    assert await tab.run("document.querySelector('#fleet-rows tr').mark") == "the same row"
    assert tab.complaints == []


async def test_it_works_without_a_mouse(tab: Tab, port: Port) -> None:
    await tab.look(width=1280, height=800)
    await tab.open(str(port.url))
    await tab.until(DRAWN, what="the page has drawn everything")
    await tab.press("Tab")
    assert await text(tab, ":focus") == "Skip to the figures"
    for _ in range(20):
        if await tab.run("document.activeElement.id") == "timeline-scroller":
            break
        await tab.press("Tab")
    await tab.press("ArrowLeft")
    assert (await text(tab, "#version-detail")).startswith("Version 39")
    await tab.press("Home")
    assert (await text(tab, "#version-detail")).startswith("Version 0")
    for _ in range(20):
        if await tab.run("document.activeElement.closest('th')?.dataset.sort") == "weight":
            break
        await tab.press("Tab")
    await tab.press("Enter", text="\r")
    await tab.until(
        "document.querySelector('[data-sort=weight]').getAttribute('aria-sort') === 'descending' && "
        "document.querySelector('#fleet-rows th').textContent.startsWith('fast')",
        what="the fleet is sorted by weight",
    )
    await tab.run("document.querySelector('#filter').focus()")
    await tab.send("Input.insertText", text="cortex")
    await tab.until("document.querySelector('#fleet-note').textContent === '12 of 24 agents'", what="it is filtered")
    assert set((await tab.run(TIERS)).split(",")) == {"slow"}


async def test_words_of_agents_are_never_markup(tab: Tab, start_port: StartPort) -> None:
    store = MemoryStore()
    await seed_plausible(store, History(name="evil", now=time.time(), agents=8, versions=3, rolled_back=()))
    image = "<img src=x onerror=\"document.title='owned'\">"
    agent = dataclasses.replace(
        new_agent("mallory", registered_at=time.time()), tier=image, device=f'<svg onload="x()">{image}</svg>'
    )
    await store.agents.register("evil", agent)
    port = await start_port(store)
    await tab.look(width=1280, height=800)
    await tab.open(str(port.url))
    await tab.until(f"{DRAWN} && {TIERS}.includes('<img')", what="the page shows the agent's words")
    assert await tab.run("document.querySelectorAll('#fleet-rows img, #fleet-rows svg, #tiers img').length") == 0
    assert "<img" in await text(tab, "#tiers")
    assert "owned" not in await tab.run("document.title")
    assert tab.complaints == []


async def test_a_large_fleet_is_paged(tab: Tab, start_port: StartPort) -> None:
    store = MemoryStore()
    await seed_plausible(store, History(name="large", now=time.time(), agents=1000, versions=60, rolled_back=()))
    port = await start_port(store)
    await tab.look(width=1280, height=800)
    await tab.open(str(port.url))
    await tab.until(DRAWN, what="the page has drawn everything")
    assert await tab.run("document.querySelectorAll('#fleet-rows tr').length") == 50
    assert await text(tab, "#page-of") == "Page 1 of 20"
    await tab.run("document.querySelector('#next').click()")
    await tab.until("document.querySelector('#page-of').textContent === 'Page 2 of 20'", what="the next page is shown")
    assert tab.complaints == []


async def test_it_says_that_it_has_lost_the_coordinator_and_how_old_its_figures_are(
    tab: Tab, port: Port, start_port: StartPort
) -> None:
    await tab.look(width=1280, height=800)
    await tab.open(str(port.url))
    await tab.until(DRAWN, what="the page has drawn everything")
    assert await tab.run("document.querySelector('#connection').dataset.state") == "live"
    await port.server.stop()
    await tab.until("!document.querySelector('#lost').hidden", what="the page says that it has lost the coordinator")
    said = await text(tab, "#lost")
    assert "the coordinator does not answer" in said
    assert " old." in said
    assert await tab.run("document.querySelector('#connection').dataset.state") == "lost"
    assert await tab.run("document.querySelectorAll('#fleet-rows tr').length") == 24, "what is known stays"


async def test_signing_in_pausing_and_signing_out(
    tab: Tab, start_port: StartPort, store: WatchedStore, federation: str, tmp_path: Path
) -> None:
    port = await start_port(store, token=TOKEN)
    await tab.look(width=1280, height=800)
    await tab.open(str(port.url))
    await tab.until("!document.querySelector('#sign-in').hidden", what="one can sign in")
    await tab.run("document.querySelector('#sign-in').click()")
    await tab.send("Input.insertText", text="wrong-but-long-enough")
    await tab.press("Enter", text="\r")
    await tab.until(
        "document.querySelector('#sign-in-error').textContent.includes('not the token')", what="it is refused"
    )
    await tab.screenshot(evidence(tmp_path, "sign-in"))
    await tab.run("document.querySelector('#token').select()")
    await tab.send("Input.insertText", text=TOKEN)
    await tab.press("Enter", text="\r")
    await tab.until("!document.querySelector('#pause').hidden", what="the page can pause")
    assert await tab.run("document.cookie") == ""
    await tab.run("document.querySelector('#pause').click()")
    await tab.run("document.querySelector('#pause-confirm').click()")
    await tab.until("!document.querySelector('#paused').hidden", what="the page says that it is paused")
    assert (await store.versions.head(federation)).paused
    assert await text(tab, "#pause") == "Resume merging"
    await tab.run("document.querySelector('#sign-out').click()")
    await tab.until("document.querySelector('#pause').hidden", what="the page cannot pause any more")
    await asyncio.sleep(0)
    assert [it for it in tab.complaints if "401" not in it] == [], "the wrong token is all there is to complain of"
