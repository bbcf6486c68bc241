"""Upload messages: from bytes to a header that admission has let in, as the service does it before any payload."""

from __future__ import annotations

import dataclasses
import random

from google.protobuf.message import DecodeError

from alignfed.plan import Encoding
from alignfed.v1 import agent_service_pb2 as pb
from coordinator.domain import Head, VersionId, VersionKind, VersionRecord
from coordinator.service import admission
from coordinator.service.caches.plans import KnownFederation
from coordinator.service.rpc import convert
from tests.fuzz.mutations import mutate_message
from tests.fuzz.target import Target
from tests.support.raw_client import WireDelta, wire_plan
from tests.support.stores import NOW

KNOWN = KnownFederation(wire_plan(columns=16))
SPARSE = KnownFederation(
    dataclasses.replace(wire_plan("sparse", columns=16), delta_encoding=Encoding.TOPK, topk_ratio=0.25)
)
BASE = VersionId(epoch=3, number=5, digest="cd" * 32)
HEAD = Head(id=VersionId(epoch=4, number=7, digest="ef" * 32), oldest_retained=2)


def seeds() -> list[bytes]:
    delta = WireDelta.of(KNOWN.plan, BASE)
    lower = KNOWN.delta_form(1)
    return [
        delta.header().SerializeToString(),
        delta.header(examples=1, local_steps=1).SerializeToString(),
        delta.header(
            rank=1,
            tensors=[{"name": spec.name, "shape": spec.shape} for spec in lower.tensors],
            total_bytes=lower.layout.total_bytes,
        ).SerializeToString(),
        WireDelta.of(SPARSE.plan, BASE).header().SerializeToString(),
        delta.chunks()[0].SerializeToString(),
    ]


def mutate(data: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.002:  # as many tensors, or dimensions, as the bytes of an input can name
        return mutate_message(pb.SubmitDeltaRequest, data, rng) + _crowd(rng)
    return mutate_message(pb.SubmitDeltaRequest, data, rng)


def _crowd(rng: random.Random) -> bytes:
    """Return a header field that adds to the manifest: messages of one type merge when bytes follow one another."""
    count = rng.choice((1_000, 15_000))
    tensors = rng.choice(
        (b"\x52\x00" * count, b"\x52" + _varint(count + 3) + b"\x12" + _varint(count) + b"\x01" * count)
    )
    return b"\x0a" + _varint(len(tensors)) + tensors


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    return bytes((*encoded, value))


def check(data: bytes) -> str:
    message = pb.SubmitDeltaRequest()
    try:
        message.ParseFromString(data)
    except DecodeError:
        return "no message"
    part = message.WhichOneof("part")
    if part != "header":
        return part or "no part"
    header = convert.header_from_proto(message.header)
    admission.check_ref(header.ref)
    known = _known(header)
    form = known.delta_form(header.rank)
    admission.check_against_plan(header, known.plan, tensors=form.tensors, payload_bytes=form.layout.total_bytes)
    admission.check_base(header.base, HEAD)
    published = VersionRecord(
        id=BASE,
        kind=VersionKind.INITIAL,
        parent=None,
        adapter=None,
        created_at=NOW,  # type: ignore[arg-type]  # unread
    )
    admission.check_branch(header.base, published if header.base.number == BASE.number else None)
    _assert_whole(header)
    return "admitted"


def _known(header: admission.DeltaHeader) -> KnownFederation:
    return SPARSE if header.ref.federation == SPARSE.plan.federation else KNOWN


def _assert_whole(header: admission.DeltaHeader) -> None:
    form = _known(header).delta_form(header.rank)
    assert header.encoding is _known(header).plan.delta_encoding
    assert header.tensors == form.tensors
    assert header.total_bytes == form.layout.total_bytes
    assert header.base == BASE
    assert 1 <= header.examples <= admission.MAX_EXAMPLES
    assert len(header.ref.blob_id()) < 512


TARGET = Target(name="headers", seeds=seeds, mutate=mutate, check=check)
