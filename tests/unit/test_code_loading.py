"""Nothing reads data in a way that can run what the data says."""

from __future__ import annotations

import pytest

from tests.support.code_loading import EXCEPTIONS, findings_in, problems


def test_nothing_does_but_the_listed_exceptions() -> None:
    assert problems() == []


def test_every_exception_has_a_reason() -> None:
    assert all(reason.strip() for reason in EXCEPTIONS.values())


@pytest.mark.parametrize(
    ("source", "rule"),
    [
        ("import pickle", "pickle"),
        ("import pickle as p", "pickle"),
        ("from pickle import loads", "pickle"),
        ("def f():\n    import marshal", "marshal"),
        ("import shelve", "shelve"),
        ("from dill import load", "dill"),
        ("import cloudpickle", "cloudpickle"),
        ("from joblib.numpy_pickle import load", "joblib.numpy_pickle"),
        ("import torch\ntorch.load('x', weights_only=True)", "torch.load"),
        ("import torch as t\nload = t.load", "torch.load"),
        ("from torch import load\nload('x')", "torch.load"),
        ("import numpy as np\nnp.load('x', allow_pickle=True)", "allow_pickle"),
        ("import numpy as np\nnp.load('x', allow_pickle=flag)", "allow_pickle"),
        ("import yaml\nyaml.load(x, Loader=yaml.SafeLoader)", "yaml.load"),
        ("from yaml import unsafe_load as read\nread(x)", "yaml.unsafe_load"),
        ("eval('1')", "builtins.eval"),
        ("exec('1')", "builtins.exec"),
        ("__import__('os')", "builtins.__import__"),
        ("AutoTokenizer.from_pretrained(x, trust_remote_code=True)", "trust_remote_code"),
        ("f(**{}, trust_remote_code=wanted)", "trust_remote_code"),
        ("AutoModelForCausalLM.from_pretrained(x)", "use_safetensors"),
        ("AutoModelForCausalLM.from_pretrained(x, use_safetensors=None)", "use_safetensors"),
        ("import importlib\nimportlib.import_module(name)", "import_module"),
    ],
)
def test_it_is_found(source: str, rule: str) -> None:
    assert rule in {finding.rule for finding in findings_in(source, "x.py")}


@pytest.mark.parametrize(
    "source",
    [
        "import safetensors.torch\nsafetensors.torch.load(x)",
        "import numpy as np\nnp.load('x', allow_pickle=False)",
        "import yaml\nyaml.safe_load(x)",
        "import json\njson.load(x)",
        "import re\nre.compile('x')",
        "delta.load()",
        "AutoModelForCausalLM.from_pretrained(x, use_safetensors=True, trust_remote_code=False)",
        "import importlib\nimportlib.import_module('datasets')",
        "model.eval()",
    ],
)
def test_what_only_holds_data_is_not(source: str) -> None:
    assert not list(findings_in(source, "x.py"))
