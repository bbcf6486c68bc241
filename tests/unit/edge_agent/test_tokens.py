"""Label masking: exactly the answer is learned, whatever the shape, the template and the length."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from alignfed.errors import DataUnusable
from alignfed.rows import Row, row_of, text_row
from edge_agent.data.tokens import IGNORED, SHORTEST_TEXT_TOKENS, Example, tokenise

CHATML = (
    "{% for message in messages %}{{ '<|' + message.role + '|>' + message.content + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
DROPS_EARLIER_THOUGHTS = (
    "{% for message in messages %}{{ '<|' + message.role + '|>' }}"
    "{{ message.content if loop.last else message.content.split('</think>')[-1] }}{{ '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
SHOUTS_BACKWARDS = "{% for message in messages | reverse %}{{ message.content | upper }}{% endfor %}"
REFUSES = "{{ raise_exception('no') }}"
EOS = 0


@pytest.fixture
def tokenizer(tiny_model_dir: Path) -> Any:
    """One token per byte, no chat template."""
    return AutoTokenizer.from_pretrained(tiny_model_dir)


def learned(example: Example, tokenizer: Any) -> str:
    """Return the learned tokens as text, a gap between two stretches as `|`."""
    text, gap = "", False
    for label in example.labels:
        if label == IGNORED:
            gap = bool(text)
            continue
        text += ("|" if gap else "") + ("<eos>" if label == EOS else tokenizer.decode([label]))
        gap = False
    return text


def row(record: dict[str, Any]) -> Row:
    return row_of(record, place="f:1")


def only(rows: list[Row], tokenizer: Any, *, length: int = 512) -> Example:
    (example,) = tokenise(rows, tokenizer, sequence_length=length).examples
    return example


CHAT = {
    "messages": [
        {"role": "system", "content": "sys"},
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "hello"},
        {"role": "user", "content": "more"},
        {"role": "assistant", "content": "sure"},
        {"role": "user", "content": "never answered"},
    ]
}


def test_a_templated_conversation_learns_each_assistant_turn_with_its_end_mark(tokenizer: Any) -> None:
    tokenizer.chat_template = CHATML
    example = only([row(CHAT)], tokenizer)
    assert learned(example, tokenizer) == "hello<|end|>|sure<|end|>"
    assert tokenizer.decode(example.tokens) == (
        "<|system|>sys<|end|>\n<|user|>hi<|end|>\n<|assistant|>hello<|end|>\n<|user|>more<|end|>\n"
        "<|assistant|>sure<|end|>"
    )


def test_a_conversation_without_a_template_is_written_as_plain_turns(tokenizer: Any) -> None:
    example = only([row({"question": "1+1?", "answer": "2"})], tokenizer)
    assert learned(example, tokenizer) == "2<eos>"
    assert tokenizer.decode(example.tokens) == "User: 1+1?\nAssistant: 2<eos>"


def test_a_template_that_rewrites_earlier_turns_still_learns_what_it_shows(tokenizer: Any) -> None:
    tokenizer.chat_template = DROPS_EARLIER_THOUGHTS
    chat = {
        "messages": [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "b"},
            {"role": "user", "content": "c"},
            {"role": "assistant", "content": "<think>hm</think>d"},
        ]
    }
    assert learned(only([row(chat)], tokenizer), tokenizer) == "b<|end|>|<think>hm</think>d<|end|>"
    chat["messages"] = [*chat["messages"][2:], *chat["messages"][:2]]  # now the thought is in an earlier turn
    with pytest.raises(DataUnusable, match=r"f:1.*changes an assistant turn"):
        only([row(chat)], tokenizer)


@pytest.mark.parametrize(("template", "said"), [(SHOUTS_BACKWARDS, "changes an assistant turn"), (REFUSES, "refuses")])
def test_a_template_that_cannot_be_followed_is_an_error_that_names_the_row(
    tokenizer: Any, template: str, said: str
) -> None:
    tokenizer.chat_template = template
    with pytest.raises(DataUnusable, match=said) as caught:
        only([row(CHAT)], tokenizer)
    assert "f:1" in caught.value.message


def test_a_completion_is_learned_with_its_end_and_its_prompt_is_not_templated(tokenizer: Any) -> None:
    tokenizer.chat_template = CHATML
    example = only([row({"prompt": "1+1=", "completion": "2"})], tokenizer)
    assert learned(example, tokenizer) == "2<eos>"
    assert tokenizer.decode(example.tokens) == "1+1=2<eos>"


def test_text_is_learned_whole(tokenizer: Any) -> None:
    example = only([row({"text": "abc"})], tokenizer)
    assert learned(example, tokenizer) == "abc<eos>"


def test_a_tokenizer_with_a_leading_token_puts_it_once_and_unlearned(tokenizer: Any) -> None:
    class WithLeadingToken:
        chat_template = None
        bos_token_id, eos_token_id = 7, 0

        def __call__(self, text: str, *, add_special_tokens: bool, **_options: Any) -> dict[str, list[int]]:
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            return {"input_ids": [7, *ids] if add_special_tokens else ids}

    example = only([row({"prompt": "a", "completion": "b"})], WithLeadingToken())
    assert list(example.tokens).count(7) == 1
    assert example.tokens[0] == 7
    assert example.labels[0] == IGNORED


def test_long_text_is_cut_into_sequences_that_lose_nothing_but_a_short_rest(tokenizer: Any) -> None:
    text = "".join(chr(97 + index % 26) for index in range(2 * 32 + SHORTEST_TEXT_TOKENS - 1))  # + <eos>
    found = tokenise([text_row(text, place="f")], tokenizer, sequence_length=32)
    assert "".join(learned(example, tokenizer) for example in found.examples) == text + "<eos>"
    assert [len(example.tokens) for example in found.examples] == [32, 32, SHORTEST_TEXT_TOKENS]
    assert len(tokenise([text_row(text[:-1], place="f")], tokenizer, sequence_length=32).examples) == 2
    assert len(tokenise([text_row("short", place="f")], tokenizer, sequence_length=32).examples) == 1


def test_an_answer_that_is_too_long_is_cut_and_counted(tokenizer: Any) -> None:
    found = tokenise([row({"prompt": "p" * 10, "completion": "a" * 100})], tokenizer, sequence_length=32)
    assert learned(found.examples[0], tokenizer) == "a" * 22
    assert (found.prompts_cut, found.answers_cut) == (0, 1)


@pytest.mark.parametrize(
    ("prompt", "answer", "shown"),
    [
        ("P" * 100, "abc", "P" * 28 + "abc<eos>"),  # all of the answer, the end of the prompt
        ("P" * 100, "a" * 100, "P" * 8 + "a" * 24),  # both are cut
    ],
)
def test_a_prompt_that_leaves_no_room_is_cut_at_its_start_and_counted(
    tokenizer: Any, prompt: str, answer: str, shown: str
) -> None:
    found = tokenise([row({"prompt": prompt, "completion": answer})], tokenizer, sequence_length=32)
    assert tokenizer.decode(found.examples[0].tokens) == shown
    assert found.prompts_cut == 1


def test_rows_with_an_empty_answer_are_left_out_and_counted(tokenizer: Any) -> None:
    empty = [{"prompt": "p", "completion": "  "}, {"question": "q", "answer": ""}, {"text": " "}]
    found = tokenise([row(record) for record in [*empty, {"text": "fine"}]], tokenizer, sequence_length=32)
    assert (found.rows, found.rows_without_answer, len(found.examples)) == (4, 3, 1)
    with pytest.raises(DataUnusable, match="none of the 3 rows"):
        tokenise([row(record) for record in empty], tokenizer, sequence_length=32)
    tokenizer.chat_template = CHATML
    with pytest.raises(DataUnusable, match="none of the 1 rows"):
        tokenise([row(empty[1])], tokenizer, sequence_length=32)


def test_counts_add_up(tokenizer: Any) -> None:
    found = tokenise([row({"prompt": "ab", "completion": "c"})], tokenizer, sequence_length=32)
    assert (found.tokens, found.learned_tokens) == (4, 2)
