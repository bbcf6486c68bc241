"""The files of deploy/docker and deploy/compose without an engine: what is pinned, locked down, what scripts do."""

from __future__ import annotations

import fcntl
import http.server
import json
import re
import runpy
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "deploy/compose"
HEALTHCHECK = ROOT / "deploy/docker/healthcheck.py"


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    return dict(yaml.safe_load((COMPOSE / "docker-compose.yml").read_text("utf-8"))["services"])


def test_every_service_is_locked_down_limited_and_logged_in_turns(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["mem_limit"], name
        assert service["logging"]["options"]["max-size"], name
        assert not service.get("privileged"), name


def test_images_are_pinned_and_can_be_replaced(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        match = re.search(r":(?:\$\{ALIGNFED_TAG:-)?v?\d+\.\d+\.\d+[\w.-]*\}*$", service["image"])
        assert match, f"{name}: {service['image']}"
        assert service["image"].startswith("${ALIGNFED_"), name


def test_only_this_machine_is_published_to(services: dict[str, dict[str, Any]]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", ())]
    assert len(ports) == 6
    assert all(re.fullmatch(r"\$\{ALIGNFED_\w+_BIND:-127\.0\.0\.1:\d+\}:\d+", port) for port in ports), ports


def test_agents_share_a_network_with_nothing_but_the_gateway(services: dict[str, dict[str, Any]]) -> None:
    meeting = {name for name, service in services.items() if "agents" in service["networks"]}
    assert meeting == {"gateway", "agent-fast", "agent-medium", "agent-slow"}
    for name in meeting - {"gateway"}:
        assert services[name]["networks"] == ["agents"]
    assert {name for name, service in services.items() if "store" in service["networks"]} == {
        "redis", "redis-replica", "sentinel-1", "sentinel-2", "sentinel-3", "coordinator-1", "coordinator-2", "worker",
        "worker-standby",
    }  # fmt: skip


def test_folders_with_keys_are_mounted_where_they_belong_and_read_only(services: dict[str, dict[str, Any]]) -> None:
    mounted: dict[str, dict[str, str]] = {}
    for name, service in services.items():
        for volume in service.get("volumes", ()):
            if match := re.fullmatch(r"(?:\$\{ALIGNFED_SECRETS_DIR:-\./secrets\}/)?(\w+):(/\S+?)(:ro)?", volume):
                mounted.setdefault(match[1], {})[name] = match[3] or ""
    assert mounted["coordinator"] == {"coordinator-1": ":ro", "coordinator-2": ":ro"}
    assert mounted["operator"] == {"setup": ":ro"}
    assert "identity" not in mounted, "the root's key is in there"
    agents = {f"agent-{tier}": ":ro" for tier in ("fast", "medium", "slow")}
    assert mounted["joining"] == {"setup": "", **agents}
    for name in ("coordinator-1", "coordinator-2"):
        assert services[name]["environment"]["ALIGNFED_IDENTITY_DIR"] == "/run/alignfed/identity"


def test_the_gateway_passes_the_ports_of_agents_and_of_joining_and_no_other(
    services: dict[str, dict[str, Any]],
) -> None:
    text = (COMPOSE / "haproxy/agents.cfg").read_text("utf-8")
    binds = set(re.findall(r"(?m)^ +bind :(\d+)$", text))
    assert binds == {port.rpartition(":")[2] for port in services["gateway"]["ports"]} == {"7300", "7302"}
    assert set(re.findall(r"(?m)^ +server coordinator-\d coordinator-\d:(\d+)$", text)) == binds


def test_tokens_are_for_the_tiers_that_agents_have(services: dict[str, dict[str, Any]]) -> None:
    tokens = runpy.run_path(str(COMPOSE / "scripts/join_tokens.py"))
    agents = runpy.run_path(str(COMPOSE / "scripts/run_agent.py"))
    tiers = {service["environment"]["ALIGNFED_TIER"] for name, service in services.items() if name[:6] == "agent-"}
    assert set(tokens["TIERS"]) == set(agents["TIERS"]) == tiers
    assert tokens["TOKENS"] == agents["TOKENS"]
    assert f"joining:{tokens['TOKENS']}" in services["setup"]["volumes"]
    assert tokens["USES"] >= agents["PLACES"], "a tier may have as many agents as places"
    assert tokens["LEFT_HOURS"] < tokens["HOURS"] <= 90 * 24


def test_a_container_is_given_longer_to_stop_than_a_coordinator_takes_to_drain(
    services: dict[str, dict[str, Any]],
) -> None:
    for name in ("coordinator-1", "coordinator-2"):
        environment = services[name]["environment"]
        drain = float(environment["ALIGNFED_DRAIN_NOTICE_SECONDS"]) + float(environment["ALIGNFED_DRAIN_SECONDS"])
        assert float(services[name]["stop_grace_period"].removesuffix("s")) > drain


def test_dockerfile_and_compose_agree_on_the_base_image(services: dict[str, dict[str, Any]]) -> None:
    dockerfile = (ROOT / "deploy/docker/Dockerfile").read_text("utf-8")
    [base] = re.findall(r"^ARG PYTHON_IMAGE=(\S+)$", dockerfile, re.MULTILINE)
    assert services["worker"]["build"]["args"]["PYTHON_IMAGE"] == f"${{ALIGNFED_PYTHON_IMAGE:-{base}}}"


def test_requirements_of_an_extra_include_those_of_the_extras_it_names() -> None:
    program = ROOT / "deploy/docker/requirements.py"
    done = subprocess.run(
        [sys.executable, str(program), "worker"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30
    )
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = {*project["dependencies"], *extras["worker"], *extras["coordinator"]} - {"alignfed[coordinator]"}
    assert set(done.stdout.splitlines()) == wanted
    assert not any(line.startswith("alignfed") for line in done.stdout.splitlines())


@pytest.fixture
def answering() -> Iterator[str]:
    """The address of a server that answers /readyz with 200 and the rest with 503."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/readyz" else 503)
            self.end_headers()

        def log_message(self, *_arguments: Any) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def check_health(*arguments: str) -> int:
    return subprocess.run(
        [sys.executable, "-IS", str(HEALTHCHECK), *arguments], stdin=subprocess.DEVNULL, timeout=60, check=False
    ).returncode


def test_a_server_is_healthy_when_it_answers_200(answering: str) -> None:
    assert check_health(f"{answering}/readyz") == 0
    assert check_health(f"{answering}/healthz") == 1
    assert check_health("http://127.0.0.1:1/readyz") == 1


@pytest.mark.parametrize(
    ("state", "age_seconds", "healthy"), [("training", 5, True), ("training", 1000, False), ("stopped", 5, False)]
)
def test_an_agent_is_healthy_while_its_status_is_fresh(
    tmp_path: Path, state: str, age_seconds: float, healthy: bool
) -> None:
    file = tmp_path / "status.json"
    file.write_text(json.dumps({"state": state, "updated_at": time.time() - age_seconds}), "utf-8")
    assert check_health(str(file), "900") == (0 if healthy else 1)
    assert check_health(str(tmp_path / "none.json"), "900") == 1


def test_a_scaled_agent_takes_the_first_place_that_nobody_holds(tmp_path: Path) -> None:
    script = runpy.run_path(str(COMPOSE / "scripts/run_agent.py"))
    script["take_place"].__globals__["STATES"] = tmp_path
    (tmp_path / "slow-1").mkdir()
    with (tmp_path / "slow-1/place.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert script["take_place"]("slow") == 2
        assert script["take_place"]("slow") == 3
    assert script["take_place"]("slow") == 1
    assert script["take_place"]("fast") == 1


def test_agents_of_all_tiers_get_different_data_while_there_is_enough() -> None:
    data_of = runpy.run_path(str(COMPOSE / "scripts/run_agent.py"))["data_of"]
    shares = [{"data": f"part-{number}"} for number in range(6)]
    given = [data_of(tier, number, shares) for number in (1, 2) for tier in ("fast", "medium", "slow")]
    assert sorted(given) == [share["data"] for share in shares]
    assert data_of("fast", 3, shares) == data_of("fast", 1, shares)
