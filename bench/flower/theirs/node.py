"""A client of Flower without its polling: receives, replies and pushes by Flower's own code, when it is told to.

    python node.py PORT NAME SUPERLINK_ADDRESS

Runs under Flower's interpreter, next to `lines.py`. Stands for a SuperNode and its ClientApp, which look for work every
3 seconds and for a reply every half second.
"""

from __future__ import annotations

import functools
import json
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree, iterate_object_tree
from flwr.supercore.inflatable.inflatable_utils import (
    inflate_object_from_contents,
    pull_objects,
    push_object_contents_from_iterable,
)
from flwr.supernode.fleet_http_connection import http_request_response
from lines import serve

RECEIVE_SECONDS = 30.0
TRAINER_SECONDS = 60.0
LOOK_SECONDS = 0.01


class Node:
    """One connection to a SuperLink, and the reply that is to be pushed over it next."""

    def __init__(self, connection: Any) -> None:
        (
            self.node_id,
            self._receive,
            self._send,
            _get_run,
            _get_fab,
            self._pull_object,
            self._push_object,
            self._confirm,
        ) = connection
        self._reply: Any = None
        self._tree: Any = None
        self._contents: dict[str, bytes] = {}
        self._listener: Any = None
        self._trainer: Any = None
        self._told: Any = None

    def prepare(self, tensors: list[tuple[str, list[int]]], seed: list[int]) -> dict[str, Any]:
        """Receive a message and make ready all that its reply consists of: fp32 noise, another for each seed.

        Flower sends no object again that its SuperLink has: contents must differ.
        """
        message = self._received()
        draw = np.random.default_rng(seed)
        arrays = {name: draw.standard_normal(shape, dtype=np.float32) * np.float32(0.01) for name, shape in tensors}
        first = float(next(iter(arrays.values())).flat[0])
        self._make_ready(message, arrays, examples=1)
        return {"first": first, "objects": len(self._contents), "bytes": sum(map(len, self._contents.values()))}

    def expect_trainer(self) -> dict[str, Any]:
        """Listen for the process that trains for this client; return where."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(TRAINER_SECONDS)
        return {"port": self._listener.getsockname()[1]}

    def meet_trainer(self) -> dict[str, Any]:
        """Take the call of the process that trains."""
        self._trainer, _ = self._listener.accept()
        self._listener.close()
        self._told = self._trainer.makefile("rb")
        return {"trainer": json.loads(self._told.readline())["name"]}

    def train(self, folder: str, sequence: int) -> dict[str, Any]:
        """Receive a message, have its adapter trained, and push the reply: all that a client does in a round."""
        message = self._received()
        given, trained = Path(folder) / "given", Path(folder) / "trained"
        arrays = next(iter(message.content.array_records.values()))
        arrays["adapter"].numpy().tofile(given)
        order = {"do": "train", "given": str(given), "trained": str(trained), "sequence": sequence}
        self._trainer.sendall(json.dumps(order).encode() + b"\n")
        answer = json.loads(self._told.readline())
        if "error" in answer:
            raise RuntimeError(answer["error"])
        adapter = np.fromfile(trained, dtype=np.float32)
        self._make_ready(message, {"adapter": adapter}, examples=answer["examples"])
        return {**self.push(), "late": answer["late"]}

    def dismiss_trainer(self) -> dict[str, Any]:
        """Tell the process that trains that this was all."""
        self._trainer.sendall(b'{"do": "end"}\n')
        self._told.close()
        self._trainer.close()
        return {}

    def _make_ready(self, message: Message, arrays: Mapping[str, Any], *, examples: int) -> None:
        content = RecordDict(
            {
                "arrays": ArrayRecord({name: Array(array) for name, array in arrays.items()}),
                "metrics": MetricRecord({"num-examples": examples}),
            }
        )
        self._reply = Message(content, reply_to=message)
        self._reply.metadata.__dict__["_message_id"] = self._reply.object_id  # as Flower's own node and grid do
        self._tree = get_object_tree(self._reply)
        nested = get_all_nested_objects(self._reply)
        self._contents = {object_id: nested[object_id].deflate() for object_id in nested}

    def push(self) -> dict[str, Any]:
        """Send the reply and push all its objects, as a SuperNode does."""
        began = time.monotonic()
        wanted, session = self._send(self._reply, self._tree, 0.0)
        push = functools.partial(self._push_object, self._reply.metadata.run_id, session)
        push_object_contents_from_iterable(self._chosen(wanted), push_object_fn=push)
        ended = time.monotonic()
        return {"began": began, "ended": ended, "objects": len(wanted)}

    def _chosen(self, wanted: set[str]) -> Iterator[tuple[str, bytes]]:
        left = set(wanted)
        for tree in iterate_object_tree(self._tree):
            if tree.object_id in left:
                left.remove(tree.object_id)
                yield tree.object_id, self._contents[tree.object_id]

    def _received(self) -> Any:
        deadline = time.monotonic() + RECEIVE_SECONDS
        while (received := self._receive()) is None:
            if time.monotonic() > deadline:
                raise TimeoutError(f"no message within {RECEIVE_SECONDS:.0f} s")
            time.sleep(LOOK_SECONDS)
        message, tree = received
        run_id = message.metadata.run_id
        object_ids = [part.object_id for part in iterate_object_tree(tree)]
        contents = pull_objects(object_ids, pull_object_fn=functools.partial(self._pull_object, run_id))
        self._confirm(run_id, message.metadata.message_id)
        whole = inflate_object_from_contents(message.metadata.message_id, contents)
        whole.metadata.__dict__["_message_id"] = message.metadata.message_id  # as Flower's own node does
        return whole


def main(port: int, name: str, superlink: str) -> None:
    """Be a client until told to end."""
    with http_request_response(superlink, insecure=True) as connection:
        node = Node(connection)
        handlers = {
            "prepare": node.prepare,
            "push": node.push,
            "expect_trainer": node.expect_trainer,
            "meet_trainer": node.meet_trainer,
            "train": node.train,
            "dismiss_trainer": node.dismiss_trainer,
        }
        serve(port, name, handlers, node=str(node.node_id))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
