"""The coordinator moves bytes: a machine without torch runs it, and it starts fast."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

PROGRAM = "import json, sys, {module}; print(json.dumps(sorted(sys.modules)))"


@pytest.mark.parametrize("module", ["coordinator.service.server", "coordinator.service.process"])
def test_the_service_loads_no_tensor_library(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(module=module)], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert "grpc" in loaded
    assert not loaded & {"torch", "transformers", "numpy", "safetensors", "peft"}
