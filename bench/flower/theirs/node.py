"""A client of Flower without its polling: receives, replies and pushes by Flower's own code, when it is told to.

    python node.py PORT NAME SUPERLINK_ADDRESS

Runs under Flower's interpreter, next to `lines.py`. Stands for a SuperNode and its ClientApp, which look for work every
3 seconds and for a reply every half second.
"""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree, iterate_object_tree
from flwr.supercore.inflatable.inflatable_utils import pull_objects, push_object_contents_from_iterable
from flwr.supernode.fleet_http_connection import http_request_response
from lines import serve

RECEIVE_SECONDS = 30.0
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

    def prepare(self, tensors: list[tuple[str, list[int]]], seed: list[int]) -> dict[str, Any]:
        """Receive a message and make ready all that its reply consists of: fp32 noise, another for each seed.

        Flower sends no object again that its SuperLink has: contents must differ.
        """
        message = self._received()
        draw = np.random.default_rng(seed)
        arrays = {name: draw.standard_normal(shape, dtype=np.float32) * np.float32(0.01) for name, shape in tensors}
        first = float(next(iter(arrays.values())).flat[0])
        content = RecordDict(
            {
                "arrays": ArrayRecord({name: Array(array) for name, array in arrays.items()}),
                "metrics": MetricRecord({"num-examples": 1}),
            }
        )
        self._reply = Message(content, reply_to=message)
        self._reply.metadata.__dict__["_message_id"] = self._reply.object_id  # as Flower's own node and grid do
        self._tree = get_object_tree(self._reply)
        nested = get_all_nested_objects(self._reply)
        self._contents = {object_id: nested[object_id].deflate() for object_id in nested}
        return {"first": first, "objects": len(self._contents), "bytes": sum(map(len, self._contents.values()))}

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
        pull_objects(object_ids, pull_object_fn=functools.partial(self._pull_object, run_id))
        self._confirm(run_id, message.metadata.message_id)
        return message


def main(port: int, name: str, superlink: str) -> None:
    """Be a client until told to end."""
    with http_request_response(superlink, insecure=True) as connection:
        node = Node(connection)
        serve(port, name, {"prepare": node.prepare, "push": node.push}, node=str(node.node_id))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
