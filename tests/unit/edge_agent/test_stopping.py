"""Signals: the first one stops in good order, the second one at once."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

import pytest

STOPPABLE = """
import threading, sys
from edge_agent.stopping import stop_on_signals
stop = threading.Event()
with stop_on_signals(stop.set):
    print("ready", flush=True)
    stop.wait()
    print("stopping", flush=True)
    if sys.argv[1] == "hang":
        threading.Event().wait()
print("clean", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_stops_and_the_second_one_kills(number: signal.Signals) -> None:
    for mode, code, said in (("end", 0, "clean\n"), ("hang", None, "")):
        arguments = [sys.executable, "-c", STOPPABLE, mode]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            watchdog = threading.Timer(60.0, process.kill)
            watchdog.start()
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            process.send_signal(number)
            assert process.stdout.readline() == "stopping\n"
            if mode == "hang":
                process.send_signal(number)
            assert process.stdout.read() == said
            watchdog.cancel()
        assert process.returncode == code if code is not None else process.returncode != 0
