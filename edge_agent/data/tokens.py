"""Rows to token sequences, with a mask of what is learned. Needs a tokenizer, not torch.

Every piece of text is tokenised by itself and the pieces are joined, so that the border between prompt and answer is
exact: it is also how the model will meet them when it generates.
"""

from __future__ import annotations

import dataclasses
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence

from alignfed.chat import Tokenizer, segments_of
from alignfed.errors import DataUnusable
from alignfed.rows import Row

IGNORED = -100
"""Label of a token that is not learned, as torch's cross entropy understands it."""
SHORTEST_TEXT_TOKENS = 16
"""A remainder of a longer text that is shorter than this is dropped: it has next to no context."""
LATEST_ANSWER_RATIO = 0.75
"""An answer that starts later than this in a full sequence has no room: the start of its prompt is cut instead."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One training sequence: `tokens` and `labels` of equal length, at most the plan's sequence length.

    `labels` repeat the token where it is learned and hold `IGNORED` elsewhere.
    """

    tokens: array[int]
    labels: array[int]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSet:
    """Tokenised rows and how they came out; `examples` is never empty."""

    examples: tuple[Example, ...]
    rows: int
    prompts_cut: int = 0
    answers_cut: int = 0
    rows_without_answer: int = 0

    @property
    def tokens(self) -> int:
        """How many tokens there are in all."""
        return sum(len(example.tokens) for example in self.examples)

    @property
    def learned_tokens(self) -> int:
        """How many of them are learned."""
        return sum(1 for example in self.examples for label in example.labels if label != IGNORED)


def tokenise(rows: Sequence[Row], tokenizer: Tokenizer, *, sequence_length: int) -> TrainingSet:
    """Tokenise `rows`.

    Text longer than `sequence_length` tokens becomes several sequences. A conversation or completion that is longer is
    cut once: at its end if the answer starts early enough, else at the start of its prompt too.

    Args:
        rows: At least one.
        tokenizer: Of the base model.
        sequence_length: Tokens per sequence, at most.

    Raises:
        DataUnusable: Not one row has anything to learn, or the chat template refuses a conversation.
    """
    counts: Counter[str] = Counter()
    examples: list[Example] = []
    leading = _leading_tokens(tokenizer)
    for row in rows:
        tokens, labels = _join(row, tokenizer, leading)
        if row.messages or row.prompt:
            windows = [_answer_window(labels, sequence_length, counts)]
        else:
            windows = list(_text_windows(len(tokens), sequence_length))
        made = [
            Example(tokens=array("i", tokens[window]), labels=array("i", labels[window]))
            for window in windows
            if any(label != IGNORED for label in labels[window][1:])  # the first token has no context to learn from
        ]
        counts["without answer"] += not made
        examples += made
    if not examples:
        raise DataUnusable(f"none of the {len(rows)} rows has an answer to learn: check that answers are not empty")
    return TrainingSet(
        examples=tuple(examples),
        rows=len(rows),
        prompts_cut=counts["prompt cut"],
        answers_cut=counts["answer cut"],
        rows_without_answer=counts["without answer"],
    )


def _join(row: Row, tokenizer: Tokenizer, leading: list[int]) -> tuple[list[int], list[int]]:
    """Return the tokens and labels of a whole row, uncut."""
    templated = bool(row.messages and tokenizer.chat_template)
    tokens = [] if templated else list(leading)  # a template writes its own leading token
    labels = [IGNORED] * len(tokens)
    for segment in segments_of(row, tokenizer):
        ids = list(tokenizer(segment.text, add_special_tokens=False, verbose=False)["input_ids"])
        if segment.ends and tokenizer.eos_token_id is not None:
            ids.append(tokenizer.eos_token_id)
        tokens += ids
        labels += ids if segment.learned else [IGNORED] * len(ids)
    return tokens, labels


def _leading_tokens(tokenizer: Tokenizer) -> list[int]:
    """Return what the tokenizer itself puts before a text: the beginning-of-text token, or nothing."""
    ids = list(tokenizer("", add_special_tokens=True)["input_ids"])
    return ids[:1] if ids and ids[0] == tokenizer.bos_token_id else []


def _answer_window(labels: list[int], length: int, counts: Counter[str]) -> slice:
    """Return which part of a row to keep so that there is room for its first answer."""
    if len(labels) <= length:
        return slice(0, len(labels))
    first = next((index for index, label in enumerate(labels) if label != IGNORED), 0)
    start = 0
    if first >= LATEST_ANSWER_RATIO * length:
        start = min(first - length // 4, len(labels) - length)
        counts["prompt cut"] += 1
    if start + length < len(labels):
        counts["answer cut"] += 1
    return slice(start, start + length)


def _text_windows(total: int, length: int) -> Iterator[slice]:
    """Yield consecutive windows over a text of `total` tokens."""
    for start in range(0, total, length):
        if start == 0 or total - start >= SHORTEST_TEXT_TOKENS:
            yield slice(start, min(start + length, total))
