"""The fault proxy does what it says, as a client sees it."""

from __future__ import annotations

import contextlib
import hashlib
import random
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.chaos.faults.flows import BLACK_HOLE, NONE, Faults, Flow
from tests.chaos.faults.proxy import QUEUED_CHUNKS, FaultProxy
from tests.support.waiting import wait_until

LOOPBACK = "127.0.0.1"
OTHER_SOURCE = "127.0.0.2"
MIB = 1 << 20


class EchoServer:
    """Sends back what it gets, and notes how much that was and in how many reads."""

    def __init__(self) -> None:
        self._listener = socket.create_server((LOOPBACK, 0))
        self.port: int = self._listener.getsockname()[1]
        self.reads: list[int] = []
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._echo, args=(connection,), daemon=True).start()

    def _echo(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            while data := connection.recv(65536):
                self.reads.append(len(data))
                connection.sendall(data)


@pytest.fixture
def server() -> Iterator[EchoServer]:
    echo = EchoServer()
    yield echo
    echo.close()


@pytest.fixture
def proxy(server: EchoServer) -> Iterator[FaultProxy]:
    with FaultProxy(server.port, seed=7) as running:
        yield running


def connect(proxy: FaultProxy, *, source: str = LOOPBACK, timeout_seconds: float = 20.0) -> socket.socket:
    return socket.create_connection((LOOPBACK, proxy.port), timeout=timeout_seconds, source_address=(source, 0))


def receive(connection: socket.socket, nbytes: int) -> bytes:
    data = b""
    while len(data) < nbytes:
        more = connection.recv(nbytes - len(data))
        assert more, f"the connection ended after {len(data)} of {nbytes} bytes"
        data += more
    return data


def round_trip_seconds(connection: socket.socket, payload: bytes) -> float:
    began = time.monotonic()
    connection.sendall(payload)
    assert receive(connection, len(payload)) == payload
    return time.monotonic() - began


def stays_silent(connection: socket.socket, *, seconds: float = 0.3) -> bool:
    before = connection.gettimeout()
    connection.settimeout(seconds)
    try:
        connection.recv(1)
    except TimeoutError:
        return True
    finally:
        connection.settimeout(before)
    return False


def test_bytes_pass_whole_and_in_order_and_are_counted(proxy: FaultProxy) -> None:
    payload = random.Random(1).randbytes(3 * MIB + 5)
    with connect(proxy) as connection:
        sender = threading.Thread(target=connection.sendall, args=(payload,))
        sender.start()
        echoed = receive(connection, len(payload))
        sender.join()
    assert hashlib.sha256(echoed).digest() == hashlib.sha256(payload).digest()
    assert (proxy.traffic.up_bytes, proxy.traffic.down_bytes) == (len(payload), len(payload))
    assert proxy.traffic.connections == 1


def test_the_end_of_a_stream_passes_on_and_leaves_no_connection(proxy: FaultProxy) -> None:
    with connect(proxy) as connection:
        connection.sendall(b"last words")
        connection.shutdown(socket.SHUT_WR)
        assert receive(connection, 10) == b"last words"
        assert connection.recv(1) == b""
    wait_until(lambda: proxy.open_connections == 0, what="the proxy forgets a closed connection")


@pytest.mark.parametrize("faults", [Faults(up=Flow(latency_seconds=0.3)), Faults(down=Flow(latency_seconds=0.3))])
def test_latency_delays_a_round_trip_and_not_each_of_many_chunks(proxy: FaultProxy, faults: Faults) -> None:
    with connect(proxy) as connection:
        proxy.set(faults)
        assert round_trip_seconds(connection, b"x") >= 0.3
        many = round_trip_seconds(connection, b"y" * 40_000)
        assert 0.3 <= many < 3 * 0.3
        proxy.heal()
        assert round_trip_seconds(connection, b"z") < 0.3


def test_bandwidth_is_bounded_in_the_chosen_direction_alone(proxy: FaultProxy, server: EchoServer) -> None:
    payload = b"b" * 60_000
    with connect(proxy) as connection:
        proxy.set(Faults(down=Flow(bytes_per_second=100_000)))
        began = time.monotonic()
        connection.sendall(payload)
        wait_until(lambda: sum(server.reads) == len(payload), what="the server has it all")
        arrived_seconds = time.monotonic() - began
        receive(connection, len(payload))
        back_seconds = time.monotonic() - began
    assert back_seconds >= 0.5
    assert arrived_seconds < back_seconds / 2


def test_slices_reach_the_server_in_many_small_reads(proxy: FaultProxy, server: EchoServer) -> None:
    with connect(proxy) as connection:
        proxy.set(Faults(up=Flow(slice_bytes=3, bytes_per_second=2_000)))
        round_trip_seconds(connection, b"s" * 300)
    assert len(server.reads) > 30  # of 1 to 3 bytes, unless the kernel has joined some


def test_the_same_seed_cuts_the_same_slices(server: EchoServer) -> None:
    cuts = []
    for _ in range(2):
        server.reads.clear()
        with FaultProxy(server.port, seed=11) as proxy, connect(proxy) as connection:
            proxy.set(Faults(up=Flow(slice_bytes=64, bytes_per_second=1_000)))
            round_trip_seconds(connection, b"d" * 400)
        cuts.append(list(server.reads))
    assert cuts[0] == cuts[1]


def test_reset_ends_open_connections_with_an_error(proxy: FaultProxy, server: EchoServer) -> None:
    with connect(proxy) as connection:
        round_trip_seconds(connection, b"before")
        assert proxy.reset() == 1
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    assert proxy.traffic.resets == 1
    with connect(proxy) as connection:
        round_trip_seconds(connection, b"a new one works")


def test_a_connection_is_reset_after_so_many_bytes(proxy: FaultProxy) -> None:
    proxy.set(Faults(up=Flow(reset_after_bytes=50_000)))
    with connect(proxy) as connection, pytest.raises((ConnectionResetError, BrokenPipeError)):
        for _ in range(1000):
            round_trip_seconds(connection, b"r" * 5_000)
    assert 50_000 <= proxy.traffic.up_bytes < 70_000


@pytest.mark.parametrize("direction", ["up", "down", "both"])
def test_a_black_hole_accepts_and_keeps_what_it_swallows_until_it_is_healed(
    proxy: FaultProxy, server: EchoServer, direction: str
) -> None:
    held = Flow(held=True)
    proxy.set({"up": Faults(up=held), "down": Faults(down=held), "both": BLACK_HOLE}[direction])
    with connect(proxy) as connection:
        connection.sendall(b"into the void")
        assert stays_silent(connection)
        if direction == "down":
            wait_until(lambda: sum(server.reads) == 13, what="the other direction is open")
        else:
            assert server.connections == 0
        proxy.heal()
        assert receive(connection, 13) == b"into the void"


def test_a_cut_holds_open_connections_and_ends_by_itself(proxy: FaultProxy) -> None:
    with connect(proxy) as connection:
        round_trip_seconds(connection, b"before")
        with proxy.cut():
            connection.sendall(b"during")
            assert stays_silent(connection)
        assert receive(connection, 6) == b"during"
        assert round_trip_seconds(connection, b"after") < 5


def test_a_black_hole_holds_a_bounded_number_of_bytes(proxy: FaultProxy) -> None:
    with connect(proxy) as connection:
        round_trip_seconds(connection, b"open")
        proxy.set(BLACK_HOLE)
        connection.settimeout(1.0)
        sent = 0
        with pytest.raises(TimeoutError):
            while sent < 200 * MIB:
                sent += connection.send(bytes(MIB))
        # what the proxy queues, and what the kernel keeps of both sockets of the pair
        assert sent < QUEUED_CHUNKS * 16 * 1024 + 32 * MIB


def test_refusing_refuses_and_then_serves_at_the_same_port(proxy: FaultProxy) -> None:
    with connect(proxy) as connection:
        round_trip_seconds(connection, b"before")
        port = proxy.port
        with proxy.refusing():
            with pytest.raises(ConnectionResetError):
                connection.recv(1)
            with pytest.raises(ConnectionRefusedError):
                connect(proxy)
        assert proxy.port == port
    with connect(proxy) as again:
        round_trip_seconds(again, b"after")


def test_a_partition_holds_back_one_source_and_no_other(proxy: FaultProxy) -> None:
    with connect(proxy) as ours, connect(proxy, source=OTHER_SOURCE) as theirs:
        proxy.set(BLACK_HOLE, source=OTHER_SOURCE)
        theirs.sendall(b"held")
        assert stays_silent(theirs)
        round_trip_seconds(ours, b"free")
        assert proxy.reset(source=LOOPBACK) == 1
        proxy.set(NONE, source=OTHER_SOURCE)
        assert receive(theirs, 4) == b"held"


def test_a_server_that_is_not_there_resets_its_clients() -> None:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        nobody = probe.getsockname()[1]
    with FaultProxy(nobody) as proxy, connect(proxy) as connection:
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
        wait_until(lambda: proxy.open_connections == 0, what="the proxy forgets it")
