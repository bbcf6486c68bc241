"""The Redis store behind passwords, TLS, Sentinel and Cluster; and why no script can leave a federation's slot."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest

from alignfed.errors import StoreUnreachable, StoreUnsafe
from coordinator.backends.redis.keys import FederationKeys
from coordinator.backends.redis.scripts import load_scripts
from coordinator.backends.urls import open_store
from tests.support.servers import free_port, running_cluster, running_redis, running_sentinel
from tests.support.stores import has_blob, publish, seed_federation


async def assert_works(url: str) -> None:
    """Check that a whole merge, announced, works behind `url`."""
    store = open_store(url)
    try:
        await store.check()
        federation = (await seed_federation(store)).federation
        async with store.feed.subscribe() as changes:
            version = await publish(store, federation)
            while await anext(changes) != federation:  # a Cluster may relay what the store announced just before
                pass
        assert (await store.versions.head(federation)).id == version.id
        assert await has_blob(store, version.adapter)
    finally:
        await store.close()


async def refusal_of(url: str) -> str:
    """Return the message with which a store refuses its user."""
    store = open_store(url)
    try:
        with pytest.raises(StoreUnreachable) as refused:
            await store.check()
        return refused.value.message
    finally:
        await store.close()


async def test_a_password_from_a_file_or_the_url_opens_the_store_and_never_shows(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("s3cr/t@x\n")
    with running_redis({"requirepass": "s3cr/t@x", "appendonly": "yes"}, port=free_port()) as server:
        await assert_works(f"{server.url}?password_file={secret}")
        await assert_works(f"redis://:s3cr%2Ft%40x@127.0.0.1:{server.port}/3")
        secret.write_text("wrong")
        for url in (f"{server.url}?password_file={secret}", f"redis://:wr0ng@127.0.0.1:{server.port}", server.url):
            message = await refusal_of(url)
            assert "password" in message
            assert "wr0ng" not in message


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1 and its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl on PATH: install it to run this test")
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "cert.pem", folder / "key.pem"
    options = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([openssl, *options.split(), *names], check=True, capture_output=True)
    return certificate, key


async def test_tls_works_with_the_right_authority_and_not_without(certificate: tuple[Path, Path]) -> None:
    cert, key = certificate
    port = free_port()
    settings = {
        "tls-port": str(port),
        "tls-cert-file": str(cert),
        "tls-key-file": str(key),
        "tls-ca-cert-file": str(cert),
        "tls-auth-clients": "no",
        "appendonly": "yes",
    }
    with running_redis(settings):
        await assert_works(f"rediss://127.0.0.1:{port}?ca_file={cert}")
        assert "certificate" in (await refusal_of(f"valkeys://127.0.0.1:{port}")).lower()


async def test_sentinels_lead_to_the_primary() -> None:
    with running_sentinel() as url:
        await assert_works(url)
        assert "'another'" in await refusal_of(url.replace("mymaster", "another"))


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    with running_cluster() as url:
        yield url


async def test_a_cluster_works_from_any_of_its_nodes(cluster: str) -> None:
    await assert_works(cluster)
    await assert_works("valkey+cluster://" + cluster.rpartition(",")[2])


async def test_a_cluster_named_as_a_single_server_is_refused_with_the_right_scheme(cluster: str) -> None:
    store = open_store("redis://" + cluster.rpartition(",")[2])
    with pytest.raises(StoreUnsafe, match=r"redis\+cluster://"):
        await store.check()
    await store.close()


def test_every_key_of_a_federation_shares_its_hash_tag() -> None:
    keys = vars(FederationKeys("my-fed"))
    assert len(set(keys.values())) == len(keys)
    assert all(key.startswith("alignfed:{my-fed}:") for key in keys.values())


@pytest.mark.parametrize("name", sorted(load_scripts()))
def test_scripts_document_their_keys_and_touch_no_others(name: str) -> None:
    text = load_scripts()[name].text
    header = text.split("\nlocal", 1)[0].split("\nif", 1)[0]
    assert re.match(r"#!lua( flags=(allow-oom|no-writes))?\n-- [A-Z]", text), "shebang, then what the script does"
    documented = re.search(r"-- KEYS(.*)\n-- ARGV(.*\n)(?:--       .*\n)*-- Reply", header, re.DOTALL)
    assert documented, "the header must list KEYS, ARGV and Reply, in this order"
    keys = {int(number) for number in re.findall(r"(\d+) [\w]+ \(", documented[1])}
    code = re.sub(r"--.*", "", text)
    assert {int(number) for number in re.findall(r"KEYS\[(\d+)\]", code)} == keys
    calls = re.findall(r"redis\.call\('(\w+)', ('[A-Z]+', )?([^,)\[]+)", code)
    assert calls
    for command, _, key in calls:
        assert key == "KEYS" or command in {"PUBLISH", "XREADGROUP"}, f"{command} works on {key}"


def test_every_script_is_shipped() -> None:
    folder = resources.files("coordinator.backends.redis") / "scripts"
    assert {file.name.removesuffix(".lua") for file in folder.iterdir()} == set(load_scripts())
