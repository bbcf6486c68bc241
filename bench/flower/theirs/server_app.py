"""Flower's server application: pushes, pulls and aggregates with Flower's own grid and FedAvg, when it is told to.

An adapter that is trained is in a file, and in messages one flat fp32 array: Flower carries one faster than many.
"""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MessageType, RecordDict
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from rival.lines import serve

NAME = "server-app"

app = ServerApp()


class Rounds:
    """What a round needs, step by step."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._strategy = FedAvg()
        self._replies: list[Message] = []
        self._round = 0

    def ask(self, nodes: list[str]) -> dict[str, Any]:
        """Push a train message for each node; return their ids in the same order."""
        self._round += 1
        self._replies = []
        messages = [
            Message(
                RecordDict({"config": ConfigRecord({"round": self._round, "node": node})}),
                dst_node_id=int(node),
                message_type=MessageType.TRAIN,
            )
            for node in nodes
        ]
        return {"messages": list(self._grid.push_messages(messages))}

    def begin_round(self, file: str) -> dict[str, Any]:
        """Push FedAvg's train messages with the global adapter that a file holds; return each node's message."""
        arrays = ArrayRecord({"adapter": Array(np.fromfile(file, dtype=np.float32))})
        self._round += 1
        self._replies = []
        made = list(self._strategy.configure_train(self._round, arrays, ConfigRecord(), self._grid))
        nodes = [str(message.metadata.dst_node_id) for message in made]
        return {"messages": dict(zip(nodes, self._grid.push_messages(made), strict=True))}

    def end_round(self, file: str) -> dict[str, Any]:
        """Average the replies pulled since the last `begin_round`, and write the result."""
        arrays, _ = self._strategy.aggregate_train(self._round, self._replies)
        ended = time.time()
        if arrays is None:
            raise RuntimeError("nothing was aggregated")
        arrays["adapter"].numpy().astype(np.float32).tofile(file)
        return {"ended": ended, "replies": len(self._replies)}

    def pull(self, message: str) -> dict[str, Any]:
        """Pull the reply to a message, without a pause between one try and the next."""
        while not (replies := list(self._grid.pull_messages([message]))):
            pass
        for reply in replies:
            if reply.has_error():
                raise RuntimeError(f"{message} was answered with {reply.error}")
        self._replies.extend(replies)
        return {"pulled": time.monotonic()}

    def aggregate(self) -> dict[str, Any]:
        """Average the replies pulled since the last `ask`."""
        arrays, _ = self._strategy.aggregate_train(self._round, self._replies)
        ended = time.monotonic()
        if arrays is None:
            raise RuntimeError("nothing was aggregated")
        first = float(next(iter(arrays.values())).numpy().flat[0])
        return {"ended": ended, "first": first, "replies": len(self._replies)}

    def forget(self) -> dict[str, Any]:
        """Let go of the replies."""
        self._replies = []
        return {}


@app.main()  # type: ignore[untyped-decorator]  # typed where Flower is
def main(grid: Grid, context: Context) -> None:
    """Be the server application until told to end."""
    rounds = Rounds(grid)
    handlers = {
        "ask": rounds.ask,
        "begin_round": rounds.begin_round,
        "pull": rounds.pull,
        "aggregate": rounds.aggregate,
        "end_round": rounds.end_round,
        "forget": rounds.forget,
    }
    if not serve(int(context.run_config["port"]), NAME, handlers):
        os._exit(1)  # nobody is left to drive it, and Flower would try for long to tell a SuperLink that is gone too
