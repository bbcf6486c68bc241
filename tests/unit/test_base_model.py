"""The base model's digest: the same weights in any packing agree, one changed byte does not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from alignfed.base_model import digest_of
from alignfed.errors import WrongBaseModel

WEIGHTS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(4, dtype=torch.bfloat16)}


def write(directory: Path, *shards: dict[str, torch.Tensor], metadata: dict[str, str] | None = None) -> Path:
    directory.mkdir()
    for index, shard in enumerate(shards):
        save_file(shard, directory / f"model-{index}.safetensors", metadata=metadata)
    return directory


def test_the_digest_does_not_depend_on_packing(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole", WEIGHTS)
    shards = write(tmp_path / "shards", {"b": WEIGHTS["b"]}, {"a": WEIGHTS["a"]}, metadata={"format": "pt"})
    assert digest_of(whole) == digest_of(shards)


@pytest.mark.parametrize(
    "other",
    [
        {**WEIGHTS, "a": WEIGHTS["a"].clone().index_fill_(0, torch.tensor([0]), 7.0)},
        {**WEIGHTS, "a": WEIGHTS["a"].reshape(3, 2)},
        {"a": WEIGHTS["a"]},
        {"a2": WEIGHTS["a"], "b": WEIGHTS["b"]},
    ],
)
def test_any_change_of_the_weights_changes_the_digest(tmp_path: Path, other: dict[str, torch.Tensor]) -> None:
    assert digest_of(write(tmp_path / "one", WEIGHTS)) != digest_of(write(tmp_path / "other", other))


def test_a_directory_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WrongBaseModel, match="holds no"):
        digest_of(tmp_path)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "model", WEIGHTS) / "model-0.safetensors"
    whole = file.read_bytes()
    for damaged in (b"", b"\xff" * 16, whole[:20], whole[:-1]):
        file.write_bytes(damaged)
        with pytest.raises(WrongBaseModel):
            digest_of(file.parent)
