"""A real S3 server for tests: moto over HTTP, in a process of its own that ends with the test session."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import urllib.request
from collections.abc import Iterator

import pytest

from tests.support.servers import free_port
from tests.support.waiting import wait_until

START_SECONDS = 60.0
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "tester", "AWS_SECRET_ACCESS_KEY": "of-no-value"}
"""What the server takes; a process under test finds them in its environment, as on any machine."""


class S3Server:
    """A running server; `endpoint` is its URL."""

    def __init__(self, port: int) -> None:
        self.endpoint = f"http://127.0.0.1:{port}"

    def new_bucket(self, name: str) -> str:
        """Make a bucket and return the payload URL of a prefix in it."""
        self._ask("PUT", f"/{name}")
        return self.url(name)

    def url(self, bucket: str, prefix: str = "some/prefix") -> str:
        """Return the payload URL of a bucket, whether it exists or not."""
        return f"s3://{bucket}/{prefix}?region=us-east-1&endpoint={self.endpoint}"

    def answers(self) -> bool:
        """Whether it is up."""
        try:
            self._ask("GET", "/")
        except OSError:
            return False
        return True

    def _ask(self, method: str, path: str) -> None:
        request = urllib.request.Request(self.endpoint + path, method=method)
        with urllib.request.urlopen(request, timeout=10):
            pass


@contextlib.contextmanager
def running_s3() -> Iterator[S3Server]:
    """Run a server until the block ends, with its credentials in this process's environment."""
    pytest.importorskip("moto", reason="moto is not installed: pip install -e '.[dev]'")
    port = free_port()
    command = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    server = S3Server(port)
    try:
        wait_until(server.answers, what="the S3 server answers", timeout_seconds=START_SECONDS)
        with pytest.MonkeyPatch.context() as environment:
            for name, value in CREDENTIALS.items():
                environment.setenv(name, value)
            yield server
    finally:
        process.terminate()
        process.wait(10)
