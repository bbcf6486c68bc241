"""Rows as pieces of text, each learned or not: the chat template of the base model, or plain turns without one."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol

from alignfed.errors import DataUnusable
from alignfed.rows import ASSISTANT, Message, Row


class Tokenizer(Protocol):
    """What is used of a transformers tokenizer."""

    chat_template: Any
    bos_token_id: int | None
    eos_token_id: int | None

    def __call__(self, text: str, **options: Any) -> Any:
        """Return a mapping with `input_ids`."""
        ...

    def apply_chat_template(self, conversation: Any, **options: Any) -> Any:
        """Render a conversation."""
        ...


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A piece of text; `ends` asks for the end-of-text token after it."""

    text: str
    learned: bool
    ends: bool = False


def segments_of(row: Row, tokenizer: Tokenizer) -> list[Segment]:
    """Return the pieces of `row` in order.

    Learned are the assistant's words and the mark that ends its turn, since a model that never learns the mark never
    stops. An answer of nothing but white space is not learned.

    Raises:
        DataUnusable: The chat template refuses the conversation, or changes the assistant's words.
    """
    if not row.messages:
        answer = Segment(text=row.answer, learned=bool(row.answer.strip()), ends=True)
        return [Segment(text=row.prompt, learned=False), answer] if row.prompt else [answer]
    if not tokenizer.chat_template:
        return _plain(row.messages)
    return _by_prefix(row.messages, tokenizer) or _by_search(row, tokenizer)


def _plain(messages: Sequence[Message]) -> list[Segment]:
    """Write turns as `User: ...`, for base models without a chat template."""
    segments = []
    for message in messages:
        segments.append(Segment(text=f"{message.role.capitalize()}: ", learned=False))
        learned = message.role == ASSISTANT and bool(message.content.strip())
        segments.append(Segment(text=message.content, learned=learned, ends=learned))
        segments.append(Segment(text="\n", learned=False))
    return segments[:-1]


def _by_prefix(messages: Sequence[Message], tokenizer: Tokenizer) -> list[Segment]:
    """Cut the rendered conversation where each answer would be generated; empty if renderings do not nest.

    They do not when a template rewrites earlier turns, for example by dropping their reasoning.
    """
    segments: list[Segment] = []
    done = ""
    for index, message in enumerate(messages):
        if message.role != ASSISTANT:
            continue
        before = _render(messages[:index], tokenizer, opens_answer=True)
        after = _render(messages[: index + 1], tokenizer)
        if before is None or after is None or not (before.startswith(done) and after.startswith(before)):
            return []
        answer = after[len(before) :].rstrip()
        segments.append(Segment(text=before[len(done) :], learned=False))
        segments.append(Segment(text=answer, learned=bool(message.content.strip())))
        done = before + answer
    return segments


def _by_search(row: Row, tokenizer: Tokenizer) -> list[Segment]:
    """Render the whole conversation once and find each answer in it; the end mark is then not learned."""
    whole = _render(row.messages, tokenizer)
    if whole is None:
        raise DataUnusable(f"{row.place}: the base model's chat template refuses this conversation: check its roles")
    segments: list[Segment] = []
    done = 0
    for message in row.messages:
        content = message.content.strip()
        if message.role != ASSISTANT or not content:
            continue
        start = whole.find(content, done)
        if start < 0:
            raise DataUnusable(
                f"{row.place}: the base model's chat template changes an assistant turn: rewrite the turn"
            )
        segments.append(Segment(text=whole[done:start], learned=False))
        segments.append(Segment(text=content, learned=True))
        done = start + len(content)
    return segments


def _render(messages: Sequence[Message], tokenizer: Tokenizer, *, opens_answer: bool = False) -> str | None:
    """Return the conversation as text, or None when the template refuses it."""
    turns = [{"role": message.role, "content": message.content} for message in messages]
    try:
        return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=opens_answer))
    except ImportError:
        raise  # the template engine is missing: not the conversation's fault
    except Exception:  # noqa: BLE001  # templates are programs and raise what they like
        return None
