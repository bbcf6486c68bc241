"""The base model: where it is, and proof that a whole fleet trains on the same frozen weights.

Needs only the standard library, unless a model must be fetched from the Hugging Face hub.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from alignfed.errors import WrongBaseModel
from alignfed.plan import BaseModel

_READ_BYTES = 1 << 20
_MAX_PREFIX_BYTES = 100 << 20  # safetensors itself refuses longer headers


def locate(model: BaseModel, *, override: Path | None = None) -> Path:
    """Return the local directory of a base model, fetching it from the hub when it is nowhere local.

    Args:
        model: What the plan says: `name` is a directory or a hub name.
        override: Where this machine keeps it; wins over the plan.

    Raises:
        WrongBaseModel: It is neither a directory nor can it be fetched.
    """
    if override is not None:
        if not override.is_dir():
            raise WrongBaseModel(f"{override} is not a directory: give the directory of {model.name}")
        return override
    if Path(model.name).is_dir():
        return Path(model.name)
    if model.name.startswith((".", "/", "~")):
        raise WrongBaseModel(f"{model.name} is not a directory on this machine: say where the base model is")
    try:
        from huggingface_hub import snapshot_download

        patterns = ["*.safetensors", "*.json", "*.jinja", "tokenizer*", "*.model", "*.txt"]
        return Path(snapshot_download(model.name, revision=model.revision or None, allow_patterns=patterns))
    except Exception as error:
        raise WrongBaseModel(
            f"{model.name} is no local directory and could not be fetched from the hub ({error}): "
            "fetch it by hand and say where it is"
        ) from error


def check_digest(directory: Path, model: BaseModel) -> None:
    """Check that the model in `directory` is the federation's.

    Raises:
        WrongBaseModel: Its digest differs, or it cannot be read.
    """
    digest = digest_of(directory)
    if digest != model.digest:
        raise WrongBaseModel(
            f"the base model in {directory} has digest {digest[:12]}, the federation trains on {model.digest[:12]} "
            f"({model.name}): point to the same weights",
            found=digest,
            wanted=model.digest,
        )


def digest_of(directory: Path) -> str:
    """Return the digest of the model in `directory`: SHA-256 over its tensors in name order.

    Each tensor counts with name, dtype, shape and bytes, so the digest does not depend on how the weights are cut into
    files nor on metadata. Reads every byte once (about 0.8 GB/s).

    Args:
        directory: A model directory as `save_pretrained` writes it, with `*.safetensors` files.

    Raises:
        WrongBaseModel: There is no such directory, it holds no safetensors weights, or a file is damaged.
    """
    files = sorted(directory.glob("*.safetensors"))
    if not files:
        raise WrongBaseModel(
            f"{directory} holds no *.safetensors weights: give the directory of a model saved with save_pretrained"
        )
    tensors: dict[str, tuple[Path, int, dict[str, Any]]] = {}
    for file in files:
        tensors |= _index(file)
    digest = hashlib.sha256()
    for name in sorted(tensors):
        file, start, entry = tensors[name]
        digest.update(json.dumps([name, entry["dtype"], entry["shape"]], separators=(",", ":")).encode())
        begin, end = entry["data_offsets"]
        _update(digest, file, start + begin, end - begin)
    return digest.hexdigest()


def _index(file: Path) -> dict[str, tuple[Path, int, dict[str, Any]]]:
    """Read one safetensors prefix: tensor name -> (file, where data starts, entry)."""
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if length > _MAX_PREFIX_BYTES:
                raise ValueError(f"prefix of {length} bytes")
            entries = json.loads(stream.read(length))
        entries.pop("__metadata__", None)
        for entry in entries.values():
            begin, end = entry["data_offsets"]
            if not (isinstance(begin, int) and isinstance(end, int) and 0 <= begin <= end):
                raise ValueError(f"offsets {begin}..{end}")
            entry["dtype"], entry["shape"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WrongBaseModel(f"{file} is not a readable safetensors file ({error}): fetch the model again") from error
    return {name: (file, 8 + length, entry) for name, entry in entries.items()}


def _update(digest: hashlib._Hash, file: Path, offset: int, nbytes: int) -> None:
    with file.open("rb") as stream:
        stream.seek(offset)
        while nbytes:
            block = stream.read(min(_READ_BYTES, nbytes))
            if not block:
                raise WrongBaseModel(f"{file} is shorter than its prefix says: fetch the model again")
            digest.update(block)
            nbytes -= len(block)
