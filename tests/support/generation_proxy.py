"""A coordinator of another generation: today's, behind a proxy that knows nothing but that generation's contract.

Every message passes through classes made from a descriptor, which drop what they do not know, both ways; methods that
the contract lacks are unimplemented. So a client of today meets a server that behaves, and speaks as it did then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any, Self

import grpc
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import FileDescriptorSet

CALL_SECONDS = 60.0
_SERVICE = "alignfed.v1.AgentService"


class GenerationProxy:
    """Listens on `port`, for the agents' service. Use it as a context manager."""

    def __init__(self, contract: FileDescriptorSet, coordinator_port: int) -> None:
        pool = descriptor_pool.DescriptorPool()
        for file in contract.file:
            pool.Add(file)
        self._channel = grpc.insecure_channel(f"127.0.0.1:{coordinator_port}")
        self._server = grpc.server(futures.ThreadPoolExecutor(8))
        self.dropped_bytes = 0
        methods = {
            method.name: self._handler(method)
            for method in pool.FindServiceByName(_SERVICE).methods
            if not (method.client_streaming and method.server_streaming)
        }
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, methods),))
        self.port = self._server.add_insecure_port("127.0.0.1:0")

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._server.stop(None).wait()
        self._channel.close()

    def _handler(self, method: Any) -> Any:
        request = self._through(method.input_type)
        response = self._through(method.output_type)
        path = f"/{_SERVICE}/{method.name}"
        shape = f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"
        forward = getattr(self._channel, shape)(path)

        def answer(sent: Any, context: grpc.ServicerContext) -> Any:
            passed = map(request, sent) if method.client_streaming else request(sent)
            try:
                got = forward(passed, timeout=CALL_SECONDS, metadata=context.invocation_metadata())
                return [response(it) for it in got] if method.server_streaming else response(got)
            except grpc.RpcError as error:
                context.set_trailing_metadata(error.trailing_metadata())  # type: ignore[attr-defined]
                context.abort(error.code(), error.details())  # type: ignore[attr-defined]

        def answer_all(sent: Any, context: grpc.ServicerContext) -> Iterator[bytes]:
            yield from answer(sent, context)

        make = getattr(grpc, f"{shape}_rpc_method_handler")
        return make(answer_all if method.server_streaming else answer)

    def _through(self, kind: Any) -> Callable[[bytes], bytes]:
        made = message_factory.GetMessageClass(kind)

        def through(data: bytes) -> bytes:
            message = made.FromString(data)
            message.DiscardUnknownFields()
            passed: bytes = message.SerializeToString()
            self.dropped_bytes += max(0, len(data) - len(passed))
            return passed

        return through
