"""Downloads: what arrives is what the version's identity says, over as many attempts as it takes."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from alignfed.chunks import ChunkData, crc32c_of, cut, sha256_of
from alignfed.codec import Factors, encode
from alignfed.errors import (
    ChunkChecksumMismatch,
    ChunkOutOfOrder,
    HeaderMissing,
    ManifestMismatch,
    PayloadDigestMismatch,
    PayloadTruncated,
    VersionNotFound,
)
from alignfed.plan import BaseModel, Encoding, FederationPlan, Limits, TensorSpec
from edge_agent.domain import GlobalVersion
from edge_agent.wire.download import AdapterDownload

PLAN = FederationPlan(
    federation="fed",
    base_model=BaseModel(name="m"),
    limits=Limits(chunk_bytes=1024),
    tensors=(TensorSpec(name="a", shape=(8, 100)),),
)
FACTORS: Factors = {"a": torch.arange(800, dtype=torch.float32).reshape(8, 100)}
PAYLOAD = bytes(encode(FACTORS, Encoding.FP32))
VERSION = GlobalVersion(epoch=2, number=5, digest=sha256_of(PAYLOAD))
CHUNKS = list(cut(PAYLOAD, chunk_bytes=1024))


def begun(version: GlobalVersion = VERSION) -> AdapterDownload:
    download = AdapterDownload(version, PLAN)
    download.begin(version, total_bytes=len(PAYLOAD), sha256=version.digest)
    return download


def test_a_download_in_two_attempts_is_whole() -> None:
    download = begun()
    for chunk in CHUNKS[:2]:
        download.add(chunk)
    assert (download.offset, download.remaining_bytes) == (2048, len(PAYLOAD) - 2048)
    with pytest.raises(PayloadTruncated):
        download.finish()
    download.begin(VERSION, total_bytes=len(PAYLOAD), sha256=VERSION.digest)
    for chunk in cut(PAYLOAD, chunk_bytes=1024, offset=download.offset):
        download.add(chunk)
    assert torch.equal(download.finish()["a"], FACTORS["a"])


def test_damage_is_found_at_once_and_costs_one_chunk() -> None:
    download = begun()
    with pytest.raises(ChunkChecksumMismatch):
        download.add(dataclasses.replace(CHUNKS[0], data=bytes(1024)))
    with pytest.raises(ChunkOutOfOrder):
        download.add(CHUNKS[1])
    for chunk in CHUNKS:
        download.add(chunk)
    assert torch.equal(download.finish()["a"], FACTORS["a"])


def test_another_adapter_under_the_same_identity_is_refused_and_forgotten() -> None:
    other = bytes(encode({"a": FACTORS["a"] + 1}, Encoding.FP32))
    download = begun()
    for chunk in cut(other, chunk_bytes=1024):
        download.add(chunk)
    with pytest.raises(PayloadDigestMismatch):
        download.finish()
    assert download.offset == 0


@pytest.mark.parametrize(
    ("version", "total_bytes", "sha256", "error"),
    [
        (dataclasses.replace(VERSION, epoch=3), len(PAYLOAD), VERSION.digest, VersionNotFound),
        (dataclasses.replace(VERSION, digest="0" * 64), len(PAYLOAD), "0" * 64, VersionNotFound),
        (VERSION, len(PAYLOAD) + 1, VERSION.digest, ManifestMismatch),
        (VERSION, 1 << 60, VERSION.digest, ManifestMismatch),
        (VERSION, len(PAYLOAD), "0" * 64, PayloadDigestMismatch),
    ],
)
def test_an_announcement_of_something_else_is_refused(
    version: GlobalVersion, total_bytes: int, sha256: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        AdapterDownload(VERSION, PLAN).begin(version, total_bytes=total_bytes, sha256=sha256)


def test_chunks_without_an_announcement_are_refused() -> None:
    with pytest.raises(HeaderMissing):
        AdapterDownload(VERSION, PLAN).add(ChunkData(offset=0, data=b"x", crc32c=crc32c_of(b"x")))
