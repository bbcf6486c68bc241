"""The end of a conversation that does as it is told: JSON lines over loopback, one answer for each request.

Agents, Flower's clients and Flower's server application all run it, under two interpreters: standard library only.
Standard output would not do, because what they are made of logs there.
"""

from __future__ import annotations

import json
import os
import socket
import traceback
from collections.abc import Callable, Mapping
from typing import Any

Handler = Callable[..., Mapping[str, Any]]
"""Takes the values of a request by name; returns those of the answer."""

END = "end"


def serve(port: int, name: str, handlers: Mapping[str, Handler], **about: Any) -> bool:
    """Answer requests until told to end, or until the other side is gone.

    Args:
        port: Where the other side listens on this machine.
        name: Who this is.
        handlers: What can be asked for, by the request's `do`.
        about: Further values to introduce oneself with.

    Returns:
        Whether it was told to end.

    Raises:
        Exception: What a handler raised, after the other side was told.
    """
    with socket.create_connection(("127.0.0.1", port)) as connection, connection.makefile("rb") as lines:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def say(values: Mapping[str, Any]) -> None:
            connection.sendall(json.dumps(values).encode() + b"\n")

        say({"name": name, "pid": os.getpid(), **about})
        for line in lines:
            request = json.loads(line)
            do = request.pop("do")
            if do == END:
                return True
            try:
                answer = handlers[do](**request)
            except Exception:
                say({"error": traceback.format_exc()})
                raise
            say(answer)
    return False
