"""Many LoRA adapters on one frozen base model at once: adapter i works on the i-th share of the batch's rows.

Local training of many agents, or the evaluation of many adapters, becomes one forward and backward pass. The gradients
are those of training each agent alone, because no parameter is shared.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from alignfed.codec import Factors
from alignfed.plan import Lora
from coordinator.algo.modules import a_of, b_of, modules_of
from coordinator.worker.base_models import open_base_model
from coordinator.worker.calibration import IGNORED

_PREFIX = "base_model.model."
"""What peft puts before a module's name."""

Sequences = Sequence[tuple[list[int], list[int]]]
"""Tokens and labels of each row, as `CalibrationModel.tokenise` makes them."""


class StackedLora:
    """Owns the frozen base model with room for any number of adapters.

    Args:
        model_dir: The base model as `save_pretrained` writes it.
        lora: Rank and alpha.
        like: Any adapter of the federation; says which modules have one and their shapes.
        autocast: Multiply in bf16.
    """

    def __init__(self, model_dir: Path, lora: Lora, like: Mapping[str, torch.Tensor], *, autocast: bool) -> None:
        self._model, _ = open_base_model(model_dir)
        self._model.requires_grad_(False).eval()
        self._model.config.use_cache = False
        self._autocast = autocast
        self._fill = self._model.config.eos_token_id or 0
        self.vocabulary = int(self._model.config.vocab_size)
        self.names = tuple(like)
        self.shapes = {name: tuple(tensor.shape) for name, tensor in like.items()}
        self._sizes = [math.prod(shape) for shape in self.shapes.values()]
        self._linears: dict[str, _StackedLinear] = {}
        for module in modules_of(like):
            parent, _, child = module.removeprefix(_PREFIX).rpartition(".")
            owner = self._model.get_submodule(parent)
            self._linears[module] = _StackedLinear(getattr(owner, child), lora.scaling)
            setattr(owner, child, self._linears[module])

    def flatten(self, adapters: Sequence[Mapping[str, torch.Tensor]]) -> torch.Tensor:
        """Return adapters as one tensor `(adapters, parameters)`, fp32."""
        return torch.stack([torch.cat([adapter[name].reshape(-1) for name in self.names]) for adapter in adapters])

    def unflatten(self, flat: torch.Tensor) -> Factors:
        """Return one row of `flatten`'s result as an adapter."""
        pieces = torch.split(flat, self._sizes)
        return {name: piece.reshape(self.shapes[name]).clone() for name, piece in zip(self.names, pieces, strict=True)}

    def losses(self, stacked: torch.Tensor, rows: Sequence[Sequences]) -> torch.Tensor:
        """Return each adapter's mean loss over the scored tokens of its rows, `(adapters,)`, in nats.

        Args:
            stacked: Adapters, `(adapters, parameters)`; gradients flow to it.
            rows: Each adapter's rows; all have the same number of them.
        """
        logits, wanted = self._predicted(stacked, [row for share in rows for row in share])
        losses = _token_losses(logits, wanted).view(len(rows), -1)
        scored = (wanted != IGNORED).view(len(rows), -1)
        return losses.sum(dim=1) / scored.sum(dim=1)

    def answers(self, adapter: torch.Tensor, rows: Sequences) -> tuple[torch.Tensor, torch.Tensor]:
        """Return each row's mean loss over its scored tokens, and whether greedy decoding gives just these; `(rows,)`.

        Args:
            adapter: One adapter, `(1, parameters)`.
            rows: Its rows; in each at least one token is scored, and none is unscored after the first that is.
        """
        with torch.no_grad():
            logits, wanted = self._predicted(adapter, rows)
            scored = wanted != IGNORED
            losses = _token_losses(logits, wanted).view(wanted.shape).sum(dim=1) / scored.sum(dim=1)
        # greedy decoding follows the answer as long as each of its tokens is the likeliest after those before it
        return losses, ((logits.argmax(dim=-1) == wanted) | ~scored).all(dim=1)

    def features(self, stacked: torch.Tensor, rows: Sequence[Sequences]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the last hidden states `(rows, length, hidden)` and where there are tokens `(rows, length)`."""
        flat = [row for share in rows for row in share]
        tokens, _ = self._padded(flat)
        lengths = torch.tensor([len(row[0]) for row in flat])
        mask = torch.arange(tokens.shape[1])[None, :] < lengths[:, None]
        self._set(stacked)
        with self._precision():
            hidden: torch.Tensor = self._model.base_model(input_ids=tokens, use_cache=False).last_hidden_state
        return hidden.float(), mask

    def _predicted(self, stacked: torch.Tensor, rows: Sequences) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the logits of every token but the first and the labels there, `(rows, length - 1, ...)`."""
        tokens, labels = self._padded(rows)
        return self._forward(stacked, tokens)[:, :-1].float(), labels[:, 1:]

    def _forward(self, stacked: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        self._set(stacked)
        with self._precision():
            # no mask: rows are padded on the right and attention is causal, so padding is never looked at
            logits: torch.Tensor = self._model(input_ids=tokens, use_cache=False).logits
        return logits

    def _set(self, stacked: torch.Tensor) -> None:
        count = stacked.shape[0]
        pieces = torch.split(stacked, self._sizes, dim=1)
        views = {name: piece.view(count, *self.shapes[name]) for name, piece in zip(self.names, pieces, strict=True)}
        for module, linear in self._linears.items():
            linear.a, linear.b = a_of(views, module), b_of(views, module)

    def _padded(self, rows: Sequences) -> tuple[torch.Tensor, torch.Tensor]:
        length = max(len(tokens) for tokens, _ in rows)
        tokens = torch.tensor([row + [self._fill] * (length - len(row)) for row, _ in rows])
        labels = torch.tensor([row + [IGNORED] * (length - len(row)) for _, row in rows])
        return tokens, labels

    def _precision(self) -> contextlib.AbstractContextManager[Any]:
        return torch.autocast("cpu", dtype=torch.bfloat16, enabled=self._autocast)


def _token_losses(logits: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), wanted.flatten(), ignore_index=IGNORED, reduction="none"
    )


class _StackedLinear(torch.nn.Module):
    """A frozen linear layer with one LoRA pair per adapter: A `(adapters, r, in)`, B `(adapters, out, r)`."""

    a: torch.Tensor
    b: torch.Tensor

    def __init__(self, linear: torch.nn.Module, scaling: float) -> None:
        super().__init__()
        self._linear = linear
        self._scaling = scaling

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return `W x + scaling * B_i A_i x` for the rows of each adapter i."""
        plain: torch.Tensor = self._linear(x)
        inputs = x.reshape(self.a.shape[0], -1, x.shape[-1])
        low = torch.bmm(inputs, self.a.transpose(1, 2).to(x.dtype))
        update = torch.bmm(low, self.b.transpose(1, 2).to(x.dtype))
        return plain + self._scaling * update.view(plain.shape)
