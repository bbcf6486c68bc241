"""What sparse deltas leave out is kept and sent later: error feedback, pure (needs torch).

Source: sparsification with memory, Stich et al. 2018, arXiv 1809.07599, Alg. 1, whose name is of Karimireddy et al.
2019, arXiv 1901.09847. Deviates: the memory is in units of deltas, which have the learning rate in them already.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from alignfed.codec import Factors, decode, encode, manifest_of
from alignfed.plan import Encoding


def encode_with_residual(
    delta: Mapping[str, torch.Tensor], residual: Mapping[str, torch.Tensor] | None, *, topk_ratio: float
) -> tuple[bytearray, Factors]:
    """Encode `delta + residual` in `topk` and return the payload and what it leaves out, the next residual.

    What is sent and the new residual add up to fp32(delta + residual) exactly: an element is either left out as it is,
    or its residual is the error of rounding to bf16, which fp32 holds. So over n deltas the sum of what was sent and
    the last residual differs from the sum of the deltas by n roundings of fp32 at most: n * 2**-24 * max|delta +
    residual|.

    Args:
        delta: fp32 on the CPU.
        residual: The one before, of the same names and shapes; None for none.
        topk_ratio: The plan's.

    Raises:
        NonFinite: A sum is NaN or infinite, or beyond the range of bf16.
    """
    owed: Factors = {
        name: factor.clone() if residual is None else factor + residual[name] for name, factor in delta.items()
    }
    payload = encode(owed, Encoding.TOPK, topk_ratio=topk_ratio)
    sent = decode(payload, manifest_of(owed), Encoding.TOPK, topk_ratio=topk_ratio)
    for name, factor in owed.items():
        factor -= sent[name]
    return payload, owed
