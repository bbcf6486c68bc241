"""A cluster that a test runs from a copy of the tree, with its own settings, secrets and ports."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from alignfed.errors import AlignFedError
from coordinator.cli.operator_client import OperatorClient
from coordinator.cli.tls import ClientTls
from coordinator.local.cluster import free_ports
from tests.deploy.engine import Engine
from tests.deploy.images import ROOT, Images
from tests.support.waiting import wait_until

PROJECT = "alignfed-deploy-test"
FEDERATION = "tiny"
COPIED = (
    "pyproject.toml", "constraints.txt", "README.md", "LICENSE", ".dockerignore", "Makefile", "proto", "coordinator",
    "edge_agent", "bench", "deploy",
)  # fmt: skip
NOT_COPIED = ("__pycache__", "*.egg-info", "*.whl", ".env", "own", "secrets")
PUBLISHED = ("AGENTS", "JOIN", "OPERATORS", "PAGE", "PROMETHEUS", "GRAFANA")
ACKNOWLEDGED = "delta uploaded"
"""What an agent logs once the coordinator has told it that a delta is durable."""
PLAN = f"""
federation = "{FEDERATION}"
[base_model]
name = "given in own/model"
[lora]
rank = 4
[training]
local_steps = 2
batch_size = 2
sequence_length = 64
[buffer]
size = 3
timeout_seconds = 5.0
[calibration]
fit_rows = 2
judge_rows = 4
sequence_length = 64
[retention]
versions = 5000
"""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """One cluster. `folder` is its copy of the tree, `settings` what compose is told, `ports` where it is published."""

    engine: Engine
    folder: Path
    settings: dict[str, str]
    ports: dict[str, int]

    def command(self, *words: str, agents: int | None = None, seconds: float = 900.0) -> str:
        """Run `cluster.sh`, which the targets of `make` are, and return what it prints."""
        environment = {**self.engine.environment, **self.settings}
        if agents is not None:
            environment["AGENTS"] = str(agents)
        done = subprocess.run(
            [str(self.folder / "deploy/compose/cluster.sh"), *words],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert done.returncode == 0, f"cluster.sh {' '.join(words)}:\n{done.stdout[-6000:]}"
        return done.stdout

    def containers(self, service: str = "", *, running: bool = True) -> list[str]:
        """Return the ids of a service's or all containers: those that run, or with `running=False` any there are."""
        labels = [f"label=com.docker.compose.project={PROJECT}"]
        labels += [f"label=com.docker.compose.service={service}"] if service else []
        filters = [word for label in labels for word in ("--filter", label)]
        return self.engine.run("ps", "--quiet", "--no-trunc", *([] if running else ["--all"]), *filters).split()

    def agents(self) -> list[str]:
        """Return the ids of the agents' containers that run."""
        return [one for tier in ("fast", "medium", "slow") for one in self.containers(f"agent-{tier}")]

    def logs(self, container: str) -> str:
        """Return what a container has printed so far."""
        done = subprocess.run(
            ["docker", "logs", container],
            env=self.engine.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=True,
        )
        return done.stdout

    def is_healthy(self, container: str) -> bool:
        """Whether its health check says so; a container without one has to run."""
        [found] = self.engine.inspect(container)
        health = found["State"].get("Health")
        return bool(found["State"]["Running"] and (health is None or health["Status"] == "healthy"))

    def wait_until_healthy(self, container: str, *, seconds: float = 120.0) -> None:
        """Wait for a container's health check; fail with the end of its log."""
        try:
            wait_until(lambda: self.is_healthy(container), what=f"{container[:12]} is healthy", timeout_seconds=seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}:\n{self.logs(container)[-3000:]}") from None

    def operator(self, *, call_seconds: float = 30.0) -> OperatorClient:
        """Return a client with the certificate that cluster.sh made for an admin."""
        files = self.folder / "deploy/compose/secrets/operator"
        tls = ClientTls(ca=files / "root.pem", certificate=files / "admin.pem", key=files / "admin-key.pem")
        return OperatorClient(f"127.0.0.1:{self.ports['OPERATORS']}", tls=tls, call_seconds=call_seconds)

    def head(self) -> int:
        """Return the newest version's number; -1 where no coordinator answers or there is no federation yet."""
        with self.operator(call_seconds=5.0) as client:
            try:
                return client.federation(FEDERATION).head.id.number
            except AlignFedError:
                return -1

    def wait_for_versions(self, count: int, *, after: str, seconds: float = 240.0) -> int:
        """Wait until the head has moved on by `count` versions; return how far it is."""
        wait_until(lambda: self.head() >= 0, what=f"operators are answered after {after}", timeout_seconds=seconds)
        target = self.head() + count
        wait_until(
            lambda: self.head() >= target, what=f"version {target} is published after {after}", timeout_seconds=seconds
        )
        return self.head()

    def queued(self) -> int:
        """Return how many deltas wait to be merged."""
        with self.operator() as client:
            return client.federation(FEDERATION).queued

    def acknowledged(self) -> set[str]:
        """Return the deltas that agents, by their logs, were told are durable."""
        lines = [line for agent in self.agents() for line in self.logs(agent).splitlines()]
        events = [json.loads(line) for line in lines if line.startswith("{")]
        return {event["delta_id"] for event in events if event["message"] == ACKNOWLEDGED}

    def prometheus(self, path: str) -> Any:
        """Return the data of an answer of Prometheus' API."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports['PROMETHEUS']}/api/v1/{path}", timeout=20) as answer:
            return json.load(answer)["data"]

    def left_behind(self) -> dict[str, list[str]]:
        """Return what the engine still has of the cluster."""
        label = f"label=com.docker.compose.project={PROJECT}"
        return {
            "containers": self.containers(running=False),
            "networks": self.engine.run("network", "ls", "--quiet", "--filter", label).split(),
            "volumes": self.engine.run("volume", "ls", "--quiet", "--filter", label).split(),
        }

    def exists(self) -> bool:
        """Whether anything of the cluster is there."""
        return any(self.left_behind().values())


@contextlib.contextmanager
def prepared_cluster(engine: Engine, images: Images, folder: Path, model: Path) -> Iterator[Cluster]:
    """Copy the tree, with a tiny model as the user's own, and yield the cluster; whatever is up then is taken down."""
    tree = folder / "tree"
    tree.mkdir()
    for name in COPIED:
        source, target = ROOT / name, tree / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns(*NOT_COPIED))
        else:
            shutil.copy(source, target)
    for wheel in images.wheels.glob("*.whl") if images.wheels else ():
        shutil.copy(wheel, tree / "deploy/docker/wheels")
    own = tree / "deploy/compose/own"
    shutil.copytree(model, own / "model")
    (own / "federation.toml").write_text(PLAN, "utf-8")
    subprocess.run(["chmod", "-R", "a+rX", str(own)], check=True)
    ports = dict(zip(PUBLISHED, free_ports(len(PUBLISHED)), strict=True))
    settings = {
        "COMPOSE_PROJECT_NAME": PROJECT,
        "ALIGNFED_FEDERATION": FEDERATION,
        "ALIGNFED_HOSTS": "127.0.0.1 fleet.example.com",
        "ALIGNFED_IMAGE_PREFIX": PROJECT,
        "ALIGNFED_TAG": "test",
        **{f"ALIGNFED_{name}_BIND": f"127.0.0.1:{port}" for name, port in ports.items()},
        **images.settings,
        "COMPOSE_PROFILES": "local,observability" if images.grafana else "local,prometheus",
    }
    cluster = Cluster(engine=engine, folder=tree, settings=settings, ports=ports)
    try:
        yield cluster
    finally:
        if cluster.exists():
            cluster.command("down")
