"""What the server remembers between merges, to and from the store: one safetensors file per version, or nothing."""

from __future__ import annotations

import asyncio

import safetensors.torch
import torch
from safetensors import SafetensorError

from alignfed.codec import check_finite
from alignfed.errors import AggregationInvalid, StoreCorrupt
from alignfed.plan import FederationPlan
from coordinator.algo.values import ServerState
from coordinator.domain import BlobRef
from coordinator.ports import Blobs
from coordinator.worker.payloads import fetch, store_payload

DTYPES = (torch.float32, torch.float64, torch.int64)
"""What server states are made of: these round-trip bit for bit."""


def encode_state(state: ServerState) -> bytes:
    """Return a server state as a safetensors file; the same state gives the same bytes.

    Raises:
        AggregationInvalid: A tensor has another dtype than fp32, fp64 or int64.
        NonFinite: A tensor holds NaN or infinity: every later merge would inherit it.
    """
    for name, tensor in state.items():
        if tensor.dtype not in DTYPES:
            raise AggregationInvalid(
                f"server state {name} is of {tensor.dtype}: a server step must remember fp32, fp64 or int64"
            )
    check_finite(state, what="the server state")
    return safetensors.torch.save(_apart(state))


def decode_state(payload: bytes) -> dict[str, torch.Tensor]:
    """Return the server state that a safetensors file holds.

    Raises:
        StoreCorrupt: It is not such a file, or holds a tensor that `encode_state` never writes.
    """
    try:
        # Cloned into memory that is aligned as torch aligns its own: sums must not depend on where a state came from.
        state = {name: tensor.clone() for name, tensor in safetensors.torch.load(payload).items()}
    except (SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise StoreCorrupt(f"a stored server state is not a safetensors file ({error}): {_ADVICE}") from error
    for name, tensor in state.items():
        if tensor.dtype not in DTYPES:
            raise StoreCorrupt(f"a stored server state has {tensor.dtype} in {name}: {_ADVICE}")
    return state


async def fetch_state(blobs: Blobs, blob: BlobRef | None) -> ServerState:
    """Return a version's server state; an empty one when it has none.

    Raises:
        StoreCorrupt: A part is missing, or the payload is not a server state.
        PayloadDigestMismatch: The bytes are not the ones that were stored.
    """
    if blob is None:
        return {}
    return await asyncio.to_thread(decode_state, bytes(await fetch(blobs, blob)))


async def store_state(
    blobs: Blobs, plan: FederationPlan, state: ServerState, *, name: str, at: float
) -> BlobRef | None:
    """Store a server state as an unclaimed blob, named after `name` and its content; None when it is empty.

    A crash leaves an unclaimed blob for `sweep`; storing the same again is harmless.

    Raises:
        AggregationInvalid, NonFinite: See `encode_state`.
    """
    if not state:
        return None
    payload = await asyncio.to_thread(encode_state, state)
    return await store_payload(blobs, plan, payload, name=f"state.{plan.federation}.{name}", at=at)


def _apart(state: ServerState) -> dict[str, torch.Tensor]:
    """Return the tensors packed, on the CPU, and copied where two share memory, which the format does not know."""
    seen: set[int] = set()
    apart = {}
    for name, tensor in state.items():
        packed = tensor.detach().cpu().contiguous()
        place = packed.untyped_storage().data_ptr()
        apart[name] = packed.clone() if place in seen else packed
        seen.add(place)
    return apart


_ADVICE = "restore the store from a backup, or roll back to a version before the damage"
