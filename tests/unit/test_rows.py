"""Shapes of data: every known one is recognised, everything else is named by place and never quoted."""

from __future__ import annotations

from typing import Any

import pytest

from alignfed.errors import DataUnusable
from alignfed.rows import Message, row_of

USER, ASSISTANT = "user", "assistant"


def turns(*pairs: tuple[str, str]) -> tuple[Message, ...]:
    return tuple(Message(role=role, content=content) for role, content in pairs)


@pytest.mark.parametrize(
    ("record", "shape", "messages"),
    [
        (
            {"messages": [{"role": USER, "content": "q"}, {"role": ASSISTANT, "content": "a"}]},
            "messages",
            turns((USER, "q"), (ASSISTANT, "a")),
        ),
        (
            {"messages": [{"role": ASSISTANT, "content": [{"type": "text", "text": "a"}, {"text": "b"}]}]},
            "messages",
            turns((ASSISTANT, "ab")),
        ),
        (
            {"instruction": "do", "input": "this", "output": "done"},
            "instruction/input/output",
            turns((USER, "do\n\nthis"), (ASSISTANT, "done")),
        ),
        (
            {"instruction": "do", "input": "", "output": "done"},
            "instruction/input/output",
            turns((USER, "do"), (ASSISTANT, "done")),
        ),
        ({"instruction": "do", "output": "x"}, "instruction/input/output", turns((USER, "do"), (ASSISTANT, "x"))),
        (
            {"instruction": "do", "context": "here", "response": "done", "category": "qa"},
            "instruction/context/response",
            turns((USER, "do\n\nhere"), (ASSISTANT, "done")),
        ),
        ({"question": "q", "answer": "a"}, "question/answer", turns((USER, "q"), (ASSISTANT, "a"))),
    ],
)
def test_conversations_are_recognised(record: dict[str, Any], shape: str, messages: tuple[Message, ...]) -> None:
    row = row_of(record, place="f:1")
    assert (row.shape, row.messages, row.prompt, row.answer) == (shape, messages, "", "")


def test_a_prompt_is_taken_as_it_is_and_text_is_all_answer() -> None:
    completion = row_of({"prompt": "1+1=", "completion": "2", "text": "ignored"}, place="f:1")
    assert (completion.shape, completion.messages, completion.prompt, completion.answer) == (
        "prompt/completion", (), "1+1=", "2",
    )  # fmt: skip
    text = row_of({"text": "all"}, place="f:2")
    assert (text.shape, text.prompt, text.answer) == ("text", "", "all")


def test_a_column_that_is_null_does_not_decide_the_shape() -> None:
    assert row_of({"messages": None, "text": "x"}, place="f:1").shape == "text"


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"query": "TOP-SECRET", "reply": "TOP-SECRET"}, "known shape"),
        ({}, "known shape"),
        (["TOP-SECRET"], "not a JSON object"),
        ("TOP-SECRET", "not a JSON object"),
        ({"text": ["TOP-SECRET"]}, "text must be a string"),
        ({"prompt": "TOP-SECRET", "completion": 7}, "completion must be a string"),
        ({"instruction": "x", "input": {"TOP-SECRET": 1}, "output": "y"}, "input must be a string"),
        ({"messages": []}, "at least one turn"),
        ({"messages": ["TOP-SECRET"]}, r"messages\[0\] must be an object"),
        ({"messages": [{"role": USER, "content": "TOP-SECRET"}]}, "no turn has the role 'assistant'"),
        ({"messages": [{"content": "TOP-SECRET"}]}, "role must be a string"),
        ({"messages": [{"role": ASSISTANT, "content": [{"type": "image_url"}]}]}, "must be text"),
    ],
)
def test_anything_else_is_refused_with_its_place_and_without_its_content(record: object, said: str) -> None:
    with pytest.raises(DataUnusable, match=said) as caught:
        row_of(record, place="data.jsonl:7")
    assert "data.jsonl:7" in caught.value.message
    assert "TOP-SECRET" not in caught.value.message


def test_an_unknown_shape_is_told_which_shapes_there_are() -> None:
    with pytest.raises(DataUnusable) as caught:
        row_of({"query": "x"}, place="f:1")
    for shape in ("messages", "prompt/completion", "instruction/input/output", "question/answer", "text"):
        assert shape in caught.value.message
    assert "'query'" in caught.value.message


@pytest.mark.parametrize(
    ("record", "answered"),
    [
        ({"instruction": "count", "input": "", "output": "1 2 3"}, True),
        ({"instruction": "count", "input": "", "output": " \n"}, False),
        ({"prompt": "a", "completion": ""}, False),
        ({"text": "  "}, False),
        ({"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": ""}]}, False),
        ({"messages": [{"role": "assistant", "content": ""}, {"role": "assistant", "content": "yes"}]}, True),
    ],
)
def test_a_row_knows_whether_it_has_an_answer_to_learn(record: dict[str, Any], answered: bool) -> None:
    assert row_of(record, place="data.jsonl:1").has_answer is answered
