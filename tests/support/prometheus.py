"""A real Prometheus on loopback with the rules of deploy/prometheus, and what it answers."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.promql import PROMETHEUS
from tests.support.servers import free_port
from tests.support.waiting import wait_until

INTERVAL = "1s"
"""Between scrapes and between evaluations: a test cannot wait for production's 15 seconds."""

START_SECONDS = 60.0


@dataclasses.dataclass(frozen=True, slots=True)
class Prometheus:
    """A running server."""

    address: str

    def vector(self, expr: str) -> list[dict[str, Any]]:
        """Return the series of an instant query, each with `metric` and `value`."""
        data = self._get("query", query=expr)
        if data["resultType"] == "scalar":
            return [{"metric": {}, "value": data["result"]}]
        return list(data["result"])

    def numbers(self, expr: str) -> list[float]:
        """Return the values of an instant query, those that are not a number left out."""
        values = [float(series["value"][1]) for series in self.vector(expr)]
        return [value for value in values if not math.isnan(value)]

    def rules(self) -> list[dict[str, Any]]:
        """Return every rule with its health."""
        return [rule for group in self._get("rules")["groups"] for rule in group["rules"]]

    def ready(self) -> bool:
        """Whether it answers."""
        try:
            with urllib.request.urlopen(f"http://{self.address}/-/ready", timeout=5) as response:
                return bool(response.status == 200)
        except OSError:
            return False

    def _get(self, path: str, **arguments: str) -> Any:
        url = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(arguments)}"
        with urllib.request.urlopen(url, timeout=30) as response:
            return json.load(response)["data"]


@contextlib.contextmanager
def running_prometheus(folder: Path, targets: Mapping[str, Sequence[str]]) -> Iterator[Prometheus]:
    """Run Prometheus with our configuration until the block ends; skips without the program, except in CI.

    Args:
        folder: Where configuration, data and log go.
        targets: Addresses to scrape by job, in place of what the configuration would discover.
    """
    program = shutil.which("prometheus")
    if program is None:
        assert os.environ.get("CI") != "true", "prometheus is missing in CI: .ci/run installs Debian's package"
        pytest.skip("no prometheus on PATH: install Debian's package prometheus to run this test")
    config = _rewritten(folder, targets)
    server = Prometheus(f"127.0.0.1:{free_port()}")
    command = [
        program, f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={server.address}", "--log.level=warn",
    ]  # fmt: skip
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        wait_until(
            lambda: server.ready() or process.poll() is not None,
            what="Prometheus is ready",
            timeout_seconds=START_SECONDS,
        )
        assert process.poll() is None, (folder / "prometheus.log").read_text()
        yield server
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _rewritten(folder: Path, targets: Mapping[str, Sequence[str]]) -> Path:
    """Copy configuration and rules, with targets and intervals of a test and everything else as it is."""
    (folder / "rules").mkdir(parents=True)
    for file in (PROMETHEUS / "rules").glob("*.yml"):
        rules = yaml.safe_load(file.read_text("utf-8"))
        for group in rules["groups"]:
            group.pop("interval", None)
        (folder / "rules" / file.name).write_text(yaml.safe_dump(rules), "utf-8")
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text("utf-8"))
    config["global"] = {"scrape_interval": INTERVAL, "evaluation_interval": INTERVAL}
    assert targets.keys() <= {job["job_name"] for job in config["scrape_configs"]}
    config["scrape_configs"] = [
        {"job_name": job["job_name"], "static_configs": [{"targets": list(targets.get(job["job_name"], ()))}]}
        for job in config["scrape_configs"]
    ]
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(config), "utf-8")
    return path
