"""Order of data: deterministic, complete per pass, and a restart goes on instead of repeating."""

from __future__ import annotations

import itertools
from array import array

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.data.batches import collate, index_batches
from edge_agent.data.tokens import IGNORED, Example


def take(batches: int, count: int, batch_size: int, *, seed: int = 1, skip: int = 0) -> list[list[int]]:
    return list(itertools.islice(index_batches(count, batch_size, seed=seed, skip_batches=skip), batches))


@given(count=st.integers(1, 20), batch_size=st.integers(1, 7), skip=st.integers(0, 30))
def test_skipping_is_the_same_as_having_used(count: int, batch_size: int, skip: int) -> None:
    assert take(5, count, batch_size, skip=skip) == take(skip + 5, count, batch_size)[skip:]


@given(count=st.integers(1, 20), batch_size=st.integers(1, 7))
def test_every_pass_has_every_example_once(count: int, batch_size: int) -> None:
    stream = [index for batch in take(count * 3, count, batch_size) for index in batch]
    for start in range(0, len(stream) - count + 1, count):
        assert sorted(stream[start : start + count]) == list(range(count))


def test_passes_and_seeds_differ_in_order() -> None:
    first, second = take(2, 50, 50)
    assert first != second
    assert take(1, 50, 50, seed=2)[0] != first


@pytest.mark.parametrize("device", ["cpu"])
def test_a_batch_is_padded_to_its_longest_and_padding_is_neither_seen_nor_learned(device: str) -> None:
    short = Example(tokens=array("i", [5, 6]), labels=array("i", [IGNORED, 6]))
    long = Example(tokens=array("i", [7, 8, 9]), labels=array("i", [7, 8, 9]))
    batch = collate([short, long], pad_token_id=0, device=torch.device(device))
    assert batch["input_ids"].tolist() == [[5, 6, 0], [7, 8, 9]]
    assert batch["attention_mask"].tolist() == [[1, 1, 0], [1, 1, 1]]
    assert batch["labels"].tolist() == [[IGNORED, 6, IGNORED], [7, 8, 9]]
