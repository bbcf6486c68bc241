"""Which shape a record of training data has, and what of it is to be learned. Pure: no files, no tokenizer.

Known shapes, recognised by their keys, record by record:

    messages                      {"messages": [{"role": ..., "content": ...}, ...]}      learned: assistant turns
    prompt / completion           {"prompt": ..., "completion": ...}                      learned: completion
    instruction / input / output  Alpaca; also instruction / context / response (Dolly)   learned: output
    question / answer             {"question": ..., "answer": ...}                        learned: answer
    text                          {"text": ...}                                           learned: everything

Instructions and questions become a conversation, so that they get the chat template of an instruct model; prompts are
taken as they are. Error messages name the place and never quote the data.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from alignfed.errors import DataUnusable

ASSISTANT = "assistant"
"""The role whose turns are learned."""

KNOWN_SHAPES = (
    'messages ({"messages": [{"role": ..., "content": ...}]}), prompt/completion, instruction/input/output, '
    "instruction/context/response, question/answer, or text"
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of a conversation."""

    role: str
    content: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One record, in exactly one of three forms.

    `messages` is a conversation whose assistant turns are learned; otherwise `answer` is learned after `prompt`, which
    is empty for plain text. `place` names where it came from, `shape` which of the known shapes it had.
    """

    place: str
    shape: str
    messages: tuple[Message, ...] = ()
    prompt: str = ""
    answer: str = ""

    @property
    def has_answer(self) -> bool:
        """Whether there is anything to learn: an answer, or an assistant turn, of more than white space."""
        answers = [message.content for message in self.messages if message.role == ASSISTANT] or [self.answer]
        return any(answer.strip() for answer in answers)


def row_of(record: object, *, place: str) -> Row:
    """Return the training row of one parsed record.

    Args:
        record: A JSON object.
        place: File and line, for error messages.

    Raises:
        DataUnusable: It has none of the known shapes, or a field has the wrong type.
    """
    if not isinstance(record, Mapping):
        raise DataUnusable(f"{place} is not a JSON object: each line must be one object of a known shape")
    for keys, read in _READERS:
        if all(record.get(key) is not None for key in keys):
            return _whole(read(record, place))
    raise DataUnusable(
        f"{place} has keys {', '.join(map(repr, sorted(map(str, record)))) or '(none)'}, which is no known shape: "
        f"rename them to one of {KNOWN_SHAPES}"
    )


def text_row(text: str, *, place: str) -> Row:
    """Return the row of a whole text file."""
    return Row(place=place, shape="text", answer=text)


def _whole(row: Row) -> Row:
    """Return the row itself when its texts are text: JSON can hold half of a character, which no tokenizer takes."""
    try:
        for text in (row.prompt, row.answer, *(part for turn in row.messages for part in (turn.role, turn.content))):
            text.encode()
    except UnicodeEncodeError:
        raise DataUnusable(
            f"{row.place} holds half of a character (an escape such as \\ud83d without its second half): "
            "write the character whole, or leave it out"
        ) from None
    return row


def _messages(record: Mapping[str, object], place: str) -> Row:
    turns = record["messages"]
    if not isinstance(turns, list | tuple) or not turns:
        raise DataUnusable(f"{place}: messages must be a list of at least one turn")
    messages = []
    for index, turn in enumerate(turns):
        where = f"{place}: messages[{index}]"
        if not isinstance(turn, Mapping):
            raise DataUnusable(f"{where} must be an object with role and content")
        messages.append(Message(role=_string(turn, "role", where), content=_content(turn.get("content"), where)))
    if not any(message.role == ASSISTANT for message in messages):
        raise DataUnusable(f"{place}: no turn has the role 'assistant', so there is nothing to learn from it")
    return Row(place=place, shape="messages", messages=tuple(messages))


def _content(content: object, where: str) -> str:
    """Return a turn's text; a list of parts must hold text only."""
    if isinstance(content, str):
        return content
    if isinstance(content, list | tuple):
        parts = [part.get("text") if isinstance(part, Mapping) else None for part in content]
        if all(isinstance(part, str) for part in parts):
            return "".join(map(str, parts))
    raise DataUnusable(f"{where}.content must be text: images, audio and tool calls are not supported")


def _completion(record: Mapping[str, object], place: str) -> Row:
    return Row(
        place=place,
        shape="prompt/completion",
        prompt=_string(record, "prompt", place),
        answer=_string(record, "completion", place),
    )


def _instruction(record: Mapping[str, object], place: str, *, context: str, answer: str) -> Row:
    question = _string(record, "instruction", place)
    extra = record.get(context)
    if extra is not None and not isinstance(extra, str):
        raise DataUnusable(f"{place}: {context} must be a string")
    if extra and extra.strip():
        question = f"{question}\n\n{extra}"
    shape = f"instruction/{context}/{answer}"
    return _exchange(question, _string(record, answer, place), place=place, shape=shape)


def _alpaca(record: Mapping[str, object], place: str) -> Row:
    return _instruction(record, place, context="input", answer="output")


def _dolly(record: Mapping[str, object], place: str) -> Row:
    return _instruction(record, place, context="context", answer="response")


def _question(record: Mapping[str, object], place: str) -> Row:
    question, answer = _string(record, "question", place), _string(record, "answer", place)
    return _exchange(question, answer, place=place, shape="question/answer")


def _text(record: Mapping[str, object], place: str) -> Row:
    return text_row(_string(record, "text", place), place=place)


def _exchange(question: str, answer: str, *, place: str, shape: str) -> Row:
    turns = (Message(role="user", content=question), Message(role=ASSISTANT, content=answer))
    return Row(place=place, shape=shape, messages=turns)


def _string(record: Mapping[str, object], key: str, place: str) -> str:
    value = record.get(key)
    if not isinstance(value, str):
        raise DataUnusable(f"{place}: {key} must be a string")
    return value


_READERS: tuple[tuple[tuple[str, ...], Callable[[Mapping[str, object], str], Row]], ...] = (
    (("messages",), _messages),
    (("prompt", "completion"), _completion),
    (("instruction", "output"), _alpaca),
    (("instruction", "response"), _dolly),
    (("question", "answer"), _question),
    (("text",), _text),
)
