"""Store URLs: every form is understood, every mistake is named, no password is shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from alignfed.errors import RequestInvalid
from coordinator.backends.memory import MemoryStore
from coordinator.backends.redis import RedisStore
from coordinator.backends.redis.address import Credentials, StoreAddress, Tls, Topology, parse_address
from coordinator.backends.urls import open_store, redact_url


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("memory://", StoreAddress(topology=Topology.MEMORY)),
        ("redis://db", StoreAddress(topology=Topology.STANDALONE, hosts=(("db", 6379),))),
        ("valkey://db:7/2", StoreAddress(topology=Topology.STANDALONE, hosts=(("db", 7),), db=2)),
        ("redis://[::1]:7", StoreAddress(topology=Topology.STANDALONE, hosts=(("::1", 7),))),
        (
            "rediss://me:p%40ss@db?ca_file=/ca.pem&cert_file=/c.pem&key_file=/k.pem&timeout_seconds=2.5",
            StoreAddress(
                topology=Topology.STANDALONE,
                hosts=(("db", 6379),),
                login=Credentials(username="me", password="p@ss"),
                tls=Tls(ca_file="/ca.pem", cert_file="/c.pem", key_file="/k.pem"),
                timeout_seconds=2.5,
            ),
        ),
        ("unix:///run/a%20b.sock?db=3", StoreAddress(topology=Topology.UNIX, path="/run/a b.sock", db=3)),
        (
            "redis+sentinel://:pw@s1:1,s2,s3:3/mymaster/4?sentinel_username=guard",
            StoreAddress(
                topology=Topology.SENTINEL,
                hosts=(("s1", 1), ("s2", 26379), ("s3", 3)),
                service="mymaster",
                db=4,
                login=Credentials(password="pw"),
                sentinel_login=Credentials(username="guard"),
            ),
        ),
        (
            "valkeys+cluster://n1:1,n2:2",
            StoreAddress(topology=Topology.CLUSTER, hosts=(("n1", 1), ("n2", 2)), tls=Tls()),
        ),
    ],
)
def test_every_form_is_understood(url: str, address: StoreAddress) -> None:
    assert parse_address(url) == address


def test_passwords_come_from_files_without_their_line_end(tmp_path: Path) -> None:
    main, guard = tmp_path / "main", tmp_path / "guard"
    main.write_text("p1\n")
    guard.write_text("p2")
    url = f"redis+sentinel://me@s1/primary?password_file={main}&sentinel_password_file={guard}"
    address = parse_address(url)
    assert address.login == Credentials(username="me", password="p1")
    assert address.sentinel_login == Credentials(password="p2")


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("postgres://db", "scheme 'postgres' is unknown"),
        ("redis+magic://db", "scheme 'redis\\+magic' is unknown"),
        ("localhost:6379", "scheme 'localhost' is unknown"),
        ("redis:/db", "malformed"),
        ("redis://", "is not a host"),
        ("redis://db:port", "is not a host"),
        ("redis://db/x", "not a number"),
        ("redis://db?timeout_seconds=-1", "out of range"),
        ("redis://db?passwordfile=/x", "no option 'passwordfile'"),
        ("redis://db?password_file=/does/not/exist", "password file cannot be read"),
        ("unix://relative.sock", "unix:///absolute"),
        ("unix://", "unix:///absolute"),
        ("redis+sentinel://s1:1", "name the primary"),
        ("redis+cluster://n1/5", "no database numbers"),
    ],
)
def test_every_mistake_is_named(url: str, complaint: str) -> None:
    with pytest.raises(RequestInvalid, match=complaint):
        parse_address(url)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://db:6379/0", "redis://db:6379/0"),
        ("redis://me@db", "redis://me@db"),
        ("redis://:secret@db", "redis://:***@db"),
        ("redis+sentinel://me:sec/ret@@s1,s2/x?db=1", "redis+sentinel://me:***@s1,s2/x?db=1"),
        ("nonsense", "nonsense"),
        ("ftp://me:secret@x", "ftp://me:***@x"),
        ("redis:/me:secret@x", "***:***@x"),
        ("me:secret@x:6379", "***:***@x:6379"),
        ("redis://x?password=secret&db=1", "redis://x?password=***&db=1"),
        ("redis://x?sentinel_PASS=secret", "redis://x?sentinel_PASS=***"),
        ("redis://x?password_file=/run/p", "redis://x?password_file=/run/p"),
    ],
)
def test_passwords_are_hidden_in_well_and_malformed_urls(url: str, shown: str) -> None:
    assert redact_url(url) == shown


def test_no_error_and_no_representation_shows_a_password() -> None:
    with pytest.raises(RequestInvalid) as refused:
        parse_address("redis://me:hunter2@db:port")
    assert "hunter2" not in refused.value.message
    for mistake in ("redis://db?password=hunter2", "redis:/me:hunter2@db", "me:hunter2@db:6379", "redis:me:hunter2@db"):
        with pytest.raises(RequestInvalid) as refused:
            parse_address(mistake)
        assert "hunter2" not in refused.value.message, mistake
    assert "hunter2" not in repr(parse_address("redis://me:hunter2@db"))


async def test_a_store_opens_without_connecting() -> None:
    assert isinstance(open_store("memory://"), MemoryStore)
    store = open_store("redis://nowhere.invalid:1")
    assert isinstance(store, RedisStore)
    await store.close()
