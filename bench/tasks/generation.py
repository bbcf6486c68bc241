"""Greedy answers of a frozen base model with an adapter.

Prompts are made as agents make them for training, piece by piece through the base model's chat template, and end where
the answer starts. Deterministic: no sampling, and the checkpoint's own generation settings (temperature, penalties) do
not apply. On the CPU the same adapter, rows, batches and threads give the same tokens; rows that share a batch do not
influence each other except by rounding, which may turn a near tie.
"""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from alignfed.chat import Segment, segments_of
from alignfed.codec import Factors, check_manifest, manifest_of
from alignfed.errors import DataUnusable, RequestInvalid
from alignfed.plan import Lora
from alignfed.rows import ASSISTANT, Message, Row, row_of
from bench.tasks.score import Generate, Progress, Record
from coordinator.worker.adapter import attach_lora, quiet_transformers
from coordinator.worker.base_models import open_base_model

_ANSWER_GOES_HERE = "(the answer goes here)"
"""Stands for the reference answer while a prompt is made, so that the prompt cannot depend on it."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class GenerationSettings:
    """How to generate.

    Attributes:
        max_new_tokens: An answer is cut after so many; 256 hold all but the longest GSM8K solutions.
        batch_rows: Rows that generate together.
        progress: Called after each batch with rows done and rows in all.
    """

    max_new_tokens: int = 256
    batch_rows: int = 8
    progress: Progress | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer; `tokens` without the end mark. `ended` is False when it was cut, `prompt_cut` when its prompt was."""

    text: str
    tokens: tuple[int, ...]
    ended: bool
    prompt_cut: bool = False


class GenerationModel:
    """Owns the frozen base model with LoRA attached. One call at a time: adapters are set in place.

    Args:
        model_dir: The base model as `save_pretrained` writes it.
        lora: Rank, alpha and target modules; dropout is off.
        dtype: Of the base model's weights; None keeps the checkpoint's, which saves memory and costs accuracy.
        threads: CPU threads during a call; None leaves torch's setting.

    Raises:
        WrongBaseModel: The directory holds no causal language model with a tokenizer.
        PlanInvalid: The target modules do not fit the model.
    """

    def __init__(
        self, model_dir: Path, lora: Lora, *, dtype: torch.dtype | None = torch.float32, threads: int | None = None
    ) -> None:
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._threads = threads
        model, self._tokenizer = open_base_model(model_dir, dtype=dtype)
        with quiet_transformers():
            attached, self._parameters = attach_lora(model, lora)
        self._model: Any = attached.to(self._device).eval()
        self._tensors = manifest_of(self._parameters)
        self._ends = end_tokens(self._tokenizer, model.generation_config.eos_token_id)

    def generator(self, factors: Factors | None, settings: GenerationSettings) -> Generate:
        """Return a function from rows to answers, as tasks take it."""
        return lambda records: [answer.text for answer in self.answers(factors, records, settings)]

    def answers(self, factors: Factors | None, records: Sequence[Record], settings: GenerationSettings) -> list[Answer]:
        """Answer rows of any shape that training knows; what they hold as answer is not looked at.

        A prompt that leaves no room for `max_new_tokens` loses its start.

        Args:
            factors: The adapter; None is the base model by itself.
            records: As read from a file.
            settings: How to generate.

        Returns:
            One answer per row, in the rows' order.

        Raises:
            DataUnusable: A row is of no known shape or has no prompt.
            RequestInvalid: There is no room for a prompt, or a setting is below 1.
            ManifestMismatch: `factors` are not this model's.
        """
        room = self._prompt_room(settings)
        prompts = [
            prompt_tokens(row_of(record, place=f"row {number}"), self._tokenizer)
            for number, record in enumerate(records, start=1)
        ]
        order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))  # little padding
        found: dict[int, Answer] = {}
        with self._evaluating(factors):
            for start in range(0, len(order), settings.batch_rows):
                batch = order[start : start + settings.batch_rows]
                grown = self._continue([prompts[index][-room:] for index in batch], settings.max_new_tokens)
                for index, tokens in zip(batch, grown, strict=True):
                    found[index] = self._answer(tokens, prompt_cut=len(prompts[index]) > room)
                if settings.progress is not None:
                    settings.progress(len(found), len(prompts))
        return [found[index] for index in range(len(prompts))]

    def _prompt_room(self, settings: GenerationSettings) -> int:
        """Return how many tokens a prompt may have."""
        if settings.max_new_tokens < 1 or settings.batch_rows < 1:
            raise RequestInvalid("max_new_tokens and batch_rows must be at least 1: raise them")
        context = getattr(self._model.config, "max_position_embeddings", None) or sys.maxsize
        if settings.max_new_tokens >= context:
            raise RequestInvalid(
                f"max_new_tokens {settings.max_new_tokens} leaves no room for a prompt in the model's context of "
                f"{context} tokens: lower it"
            )
        return int(context) - settings.max_new_tokens

    @contextlib.contextmanager
    def _evaluating(self, factors: Factors | None) -> Iterator[None]:
        """Set the adapter, or put it aside, and the number of threads for one call."""
        if factors is not None:
            check_manifest(factors, self._tensors)
            with torch.no_grad():
                for name, parameter in self._parameters.items():
                    parameter.copy_(factors[name])
        threads = torch.get_num_threads()
        torch.set_num_threads(self._threads or threads)
        aside = self._model.disable_adapter() if factors is None else contextlib.nullcontext()
        try:
            with aside, torch.inference_mode():
                yield
        finally:
            torch.set_num_threads(threads)

    def _continue(self, prompts: Sequence[Sequence[int]], max_new_tokens: int) -> list[list[int]]:
        """Return the new tokens of each prompt, up to and with the end mark."""
        length = max(map(len, prompts))
        fill = self._ends[0] if self._ends else 0
        tokens = self._tensor([[fill] * (length - len(prompt)) + list(prompt) for prompt in prompts])
        mask = self._tensor([[0] * (length - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
        ends = self._tensor(self._ends)
        cache = None
        ended = torch.zeros(len(prompts), dtype=torch.bool, device=self._device)
        new: list[torch.Tensor] = []
        while len(new) < max_new_tokens and not bool(ended.all()):
            output = self._model(
                input_ids=tokens,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,  # a prompt's logits over a large vocabulary would take the most memory of all
            )
            cache = output.past_key_values
            chosen = output.logits[:, -1].float().argmax(dim=-1)
            new.append(chosen)
            ended |= torch.isin(chosen, ends)
            tokens, positions = chosen[:, None], positions[:, -1:] + 1
            mask = torch.cat([mask, mask.new_ones(len(prompts), 1)], dim=1)
        return [self._until_end(row) for row in torch.stack(new, dim=1).tolist()]

    def _until_end(self, tokens: list[int]) -> list[int]:
        """Cut what a row generated after its end mark, while others of its batch went on."""
        for index, token in enumerate(tokens):
            if token in self._ends:
                return tokens[: index + 1]
        return tokens

    def _answer(self, tokens: list[int], *, prompt_cut: bool) -> Answer:
        ended = bool(tokens) and tokens[-1] in self._ends
        kept = tokens[:-1] if ended else tokens
        text = self._tokenizer.decode(kept, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return Answer(text=text, tokens=tuple(kept), ended=ended, prompt_cut=prompt_cut)

    def _tensor(self, rows: Sequence[Any]) -> torch.Tensor:
        return torch.tensor(rows, dtype=torch.long, device=self._device)


def prompt_tokens(row: Row, tokenizer: Any) -> list[int]:
    """Return the tokens that the row's last answer follows, as an agent trains them.

    Every piece is tokenised by itself; the tokenizer's leading token comes first unless the prompt has it already.

    Raises:
        DataUnusable: The row has no prompt, or the chat template refuses it.
    """
    tokens: list[int] = []
    for segment in _prompt_segments(row, tokenizer):
        tokens += _ids(segment.text, tokenizer)
        if segment.ends and tokenizer.eos_token_id is not None:
            tokens.append(tokenizer.eos_token_id)  # an earlier turn of the assistant's
    if not tokens:
        raise DataUnusable(f"{row.place} has no prompt to answer: give rows of questions, not of plain text")
    begin = list(tokenizer("", add_special_tokens=True)["input_ids"])[:1]
    templated = row.messages and tokenizer.chat_template  # a template writes its own
    if not templated and begin == [tokenizer.bos_token_id] and tokens[:1] != begin:
        tokens = begin + tokens
    return tokens


def _prompt_segments(row: Row, tokenizer: Any) -> list[Segment]:
    if not row.messages:
        return [Segment(text=row.prompt, learned=False)]
    last = max(index for index, message in enumerate(row.messages) if message.role == ASSISTANT)
    turns = (*row.messages[:last], Message(role=ASSISTANT, content=_ANSWER_GOES_HERE))
    segments = segments_of(dataclasses.replace(row, messages=turns), tokenizer)
    return segments[: max(index for index, segment in enumerate(segments) if segment.learned)]


def end_tokens(tokenizer: Any, configured: int | Sequence[int] | None) -> list[int]:
    """Return the tokens that end an answer, sorted.

    These are the tokenizer's end of text, those of the checkpoint's generation settings, and the mark that the chat
    template puts after an answer, since that is what agents teach: base models often know it, and do not name it.
    """
    ends = {tokenizer.eos_token_id}
    ends.update([configured] if isinstance(configured, int) else configured or ())
    if tokenizer.chat_template:
        ends.update(_template_end(tokenizer))
    return sorted(ends - {None})


def _template_end(tokenizer: Any) -> list[int]:
    """Return the special token that the chat template puts after an answer; empty without one."""
    turns = (Message(role="user", content="Question"), Message(role=ASSISTANT, content="Answer"))
    try:
        segments = segments_of(Row(place="an example", shape="messages", messages=turns), tokenizer)
    except DataUnusable:
        return []  # rows of conversations will be refused with their place; prompts need no template
    (text,) = (segment.text for segment in segments if segment.learned)
    return [token for token in _ids(text, tokenizer)[-1:] if token in tokenizer.added_tokens_decoder]


def _ids(text: str, tokenizer: Any) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]) if text else []
