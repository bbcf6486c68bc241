"""Ports `Federations` and `Versions`: what was signed of a version is stored with it, in the same step."""

from __future__ import annotations

import dataclasses
from functools import partial

import pytest
import redis

from alignfed.version_manifest import check_follows
from coordinator.backends.redis.keys import FederationKeys
from coordinator.domain import VersionKind, VersionRecord
from coordinator.ports import Store
from coordinator.signing import Signer
from tests.support.signing import KeyPair
from tests.support.stores import NOW, new_commit, publish, seed_federation, submit, take_lease

PAIR = KeyPair()
SIGNER = Signer(PAIR.signing)


async def commit_signed(store: Store, name: str) -> VersionRecord:
    await submit(store, name)
    token = await take_lease(store, name)
    commit = await new_commit(store, name, token, await store.deltas.claim(name, "worker-1", limit=9))
    parent = await store.versions.get(name, commit.expected_head.number)
    commit = dataclasses.replace(commit, version=SIGNER.sign(name, commit.version, parent))
    await store.versions.commit(commit)
    return commit.version


async def test_a_commit_stores_what_was_signed_and_an_unsigned_one_nothing(store: Store) -> None:
    name = (await seed_federation(store)).federation
    unsigned = await publish(store, name)
    version = await commit_signed(store, name)
    assert (await store.versions.get(name, unsigned.id.number)).signed is None
    assert await store.versions.get(name, version.id.number) == version
    manifest = PAIR.accepted.verify(version.signed)
    assert (manifest.parent_manifest, manifest.branch.number) == (None, 2)  # the first one that is signed
    child = await commit_signed(store, name)
    check_follows(PAIR.accepted.verify(child.signed), manifest)


async def test_a_rollback_is_signed_under_the_identity_that_it_gets(store: Store) -> None:
    name = (await seed_federation(store)).federation
    first = await commit_signed(store, name)
    second = await commit_signed(store, name)
    head = await store.versions.roll_back(name, first.id.number, at=NOW, sign=partial(SIGNER.sign, name))

    record = await store.versions.get(name, head.id.number)
    manifest = PAIR.accepted.verify(record.signed)
    assert (record.kind, manifest.kind) == (VersionKind.ROLLBACK, "rollback")
    assert dataclasses.astuple(manifest.version) == dataclasses.astuple(head.id)
    assert manifest.parent_manifest == PAIR.accepted.verify(first.signed).digest
    check_follows(manifest, PAIR.accepted.verify(second.signed))


async def test_an_unsigned_rollback_does_not_take_over_what_was_signed_of_the_older_version(store: Store) -> None:
    name = (await seed_federation(store)).federation
    first = await commit_signed(store, name)
    await commit_signed(store, name)
    head = await store.versions.roll_back(name, first.id.number, at=NOW)
    assert (await store.versions.get(name, head.id.number)).signed is None


async def test_a_rollback_that_is_overtaken_while_it_is_signed_is_signed_again(store: Store, store_url: str) -> None:
    if not store_url.startswith("unix://"):
        pytest.skip("nothing comes between in memory; a Cluster is the same to this, and harder to interrupt")
    name = (await seed_federation(store)).federation
    await commit_signed(store, name)
    signed_epochs: list[int] = []

    def sign(version: VersionRecord, parent: VersionRecord) -> VersionRecord:
        signed_epochs.append(version.id.epoch)
        if len(signed_epochs) < 3:
            with redis.from_url(store_url) as server:
                server.hincrby(FederationKeys(name).federation, "epoch", 1)  # as a new lease does
        return SIGNER.sign(name, version, parent)

    head = await store.versions.roll_back(name, 0, at=NOW, sign=sign)
    first = signed_epochs[0]
    assert signed_epochs == [first, first + 1, first + 2]
    assert head.id.epoch == first + 2
    manifest = PAIR.accepted.verify((await store.versions.get(name, head.id.number)).signed)
    assert dataclasses.astuple(manifest.version) == dataclasses.astuple(head.id)
