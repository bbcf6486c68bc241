"""A small Llama of SmolLM2's proportions with random weights, made here: what costs depend on but for size."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from bench.federation.tiny_model import END, train_tokenizer
from coordinator.worker.adapter import quiet_transformers

LAYERS = 10
"""A third of SmolLM2-135M's, as is the width: 5 million parameters, whose training for one delta takes seconds."""
HIDDEN, INNER, HEADS, KEY_VALUE_HEADS = 192, 512, 3, 1
VOCABULARY = 5376
"""So that the head has as large a part in the parameters that each token meets as SmolLM2's, a fifth."""


def make_local_model(directory: Path, texts: list[str], *, layers: int) -> Path:
    """Write the model, and a tokenizer trained on `texts`, as `save_pretrained` does, and return the directory."""
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=HIDDEN,
        intermediate_size=INNER,
        num_hidden_layers=layers,
        num_attention_heads=HEADS,
        num_key_value_heads=KEY_VALUE_HEADS,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
    )
    with torch.random.fork_rng(), quiet_transformers():
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(directory)
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=train_tokenizer(texts), eos_token=END, pad_token=END)
        tokenizer.save_pretrained(directory)
    return directory
