"""Draws frames on a terminal with rich, and reads keys. Only this file of `alignfed top` needs rich."""

from __future__ import annotations

import contextlib
import select
import signal
import sys
import termios
import time
import tty
from collections.abc import Iterator

from rich.console import Console
from rich.live import Live
from rich.text import Text

from coordinator.cli.top.feed import Feed
from coordinator.cli.top.frame import Line, Order, Screen, frame

DRAW_SECONDS = 0.25
"""Between two frames: ages go on between two reads, and a resized terminal is filled soon."""

_STYLES = {"title": "bold", "good": "green", "warn": "yellow", "bad": "red"}
_QUIT = frozenset("qQ\x03\x04")
_ENDING_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


def show(feed: Feed) -> None:
    """Draw until q, Ctrl-C or SIGTERM; the terminal is left as it was found."""
    console = Console()
    order = Order.WEIGHT
    keys_read = sys.stdin.isatty()
    with (
        _ended_by_signals(),
        _keys(keys_read),
        Live(console=console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False) as live,
    ):
        while True:
            live.update(_drawn(feed, console, order, keys_read=keys_read), refresh=True)
            key = _key(DRAW_SECONDS, keys_read=keys_read)
            if key in _QUIT:
                return
            if key == "s":
                order = _after(order)
            elif key in ("n", "\t"):
                feed.choose_next()


def _drawn(feed: Feed, console: Console, order: Order, *, keys_read: bool) -> Text:
    seen = feed.seen
    screen = Screen(
        address=feed.address,
        width=console.width,
        height=console.height,
        order=order,
        now=time.time(),
        lost_at=seen.lost_at,
        trouble=seen.trouble,
        keys=keys_read,
    )
    return _text(frame(seen.snapshot, screen))


def _text(lines: list[Line]) -> Text:
    text = Text(no_wrap=True, overflow="crop", end="")
    for index, line in enumerate(lines):
        text.append(("\n" if index else "") + line.text, style=_STYLES.get(line.style, ""))
    return text


def _after(order: Order) -> Order:
    orders = list(Order)
    return orders[(orders.index(order) + 1) % len(orders)]


def _key(seconds: float, *, keys_read: bool) -> str:
    """Return the key pressed within a time; empty when none is."""
    if not keys_read:
        time.sleep(seconds)
        return ""
    ready, _, _ = select.select([sys.stdin.fileno()], [], [], seconds)
    if not ready:
        return ""
    pressed = sys.stdin.buffer.raw.read(1)  # type: ignore[union-attr] # buffered reads would hide keys from select
    return pressed.decode("latin-1") if pressed else "q"  # the terminal is gone


@contextlib.contextmanager
def _keys(wanted: bool) -> Iterator[None]:
    """Let every key arrive at once and unseen; Ctrl-C goes on raising KeyboardInterrupt."""
    if not wanted:
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setcbreak(sys.stdin)
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """End on SIGTERM and SIGHUP as on Ctrl-C, so that the terminal is put right."""

    def end(number: int, _frame: object) -> None:
        raise KeyboardInterrupt(f"signal {number}")

    before = {number: signal.signal(number, end) for number in _ENDING_SIGNALS}
    try:
        with contextlib.suppress(KeyboardInterrupt):
            yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
