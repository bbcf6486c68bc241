"""The cluster of deploy/compose, really built and run with Docker: killed, scaled, drained, and taken down again."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn

import pytest

from alignfed.join_token import read_join_token
from edge_agent.identity.joining import join
from tests.deploy.books import check_nothing_lost, read_books
from tests.deploy.cluster import FEDERATION, PROJECT, Cluster, prepared_cluster
from tests.deploy.engine import Engine, EngineUnavailable, docker_engine
from tests.deploy.images import Images, default_images, obtain_images
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(2400)]

AGENTS, MORE_AGENTS, FEWER_AGENTS = 4, 6, 3
SERVICES = ("redis", "coordinator-1", "coordinator-2", "gateway", "operators", "worker", "prometheus", "agent-fast")
COORDINATOR_BYTES = 200e6
STRANGERS = {"redis": 6379, "coordinator-1": 7301, "coordinator-2": 9464, "operators": 7301, "prometheus": 9090}
"""What agents must not reach, by service and port."""
REACH = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=3).close()
except OSError as error:
    sys.exit(f"no: {error}")
"""
FIND_ROOT_KEY = "find / -path /proc -prune -o -path /sys -prune -o -name '*root-key*' -print 2>/dev/null || true"


def say(line: str) -> None:
    """Tell the person who waits: `make test-deploy` runs pytest without capturing."""
    sys.stdout.write(f"deploy: {line}\n")
    sys.stdout.flush()


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with ExitStack() as stack:
        try:
            found = stack.enter_context(docker_engine())
        except EngineUnavailable as error:
            not_tested(str(error))
        say(found.note)
        yield found


@pytest.fixture(scope="module")
def images(engine: Engine) -> Images:
    began = time.monotonic()
    try:
        found = obtain_images(engine, say=say)
    except EngineUnavailable as error:
        not_tested(str(error))
    say(f"images in {time.monotonic() - began:.0f} s: {found.note}")
    if not found.grafana:
        say("GRAFANA NOT TESTED: its image cannot be had here")
    return found


@pytest.fixture(scope="module")
def cluster(
    engine: Engine, images: Images, tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    with prepared_cluster(engine, images, tmp_path_factory.mktemp("cluster"), tiny_model_dir) as prepared:
        yield prepared


def not_tested(reason: str) -> NoReturn:
    say(f"DEPLOYMENT NOT TESTED: {reason}")
    pytest.skip(f"DEPLOYMENT NOT TESTED: {reason}")


def test_a_cluster_survives_kills_and_scaling_and_leaves_nothing(cluster: Cluster) -> None:
    start(cluster)
    check_hardened(cluster)
    check_agents_reach_only_the_gateway(cluster)
    check_identities(cluster)
    acknowledged = kill_in_turn(cluster)
    acknowledged |= scale(cluster)
    drain_a_coordinator(cluster)
    check_prometheus(cluster)
    check_books(cluster, acknowledged | cluster.acknowledged())
    check_commands(cluster)
    take_down(cluster)


def start(cluster: Cluster) -> None:
    """Build, start, and wait for the first versions."""
    began = time.monotonic()
    cluster.command("build", seconds=1500)
    say(f"built in {time.monotonic() - began:.0f} s")
    for name, size in image_sizes(cluster).items():
        say(f"image {name}: {size / 1e6:.0f} MB")
    began = time.monotonic()
    cluster.settings["BUILD"] = "0"
    output = cluster.command("up", agents=AGENTS)
    assert "status page" in output
    assert len(cluster.agents()) == AGENTS
    wait_until(lambda: cluster.head() >= 1, what="a first version is published", timeout_seconds=300)
    say(f"first version {time.monotonic() - began:.0f} s after `up`")
    for service in SERVICES:
        cluster.wait_until_healthy(cluster.containers(service)[0])


def image_sizes(cluster: Cluster) -> dict[str, int]:
    """Return bytes per image, and check that a coordinator has no torch and is small."""
    names = {target: f"{PROJECT}/{target}:test" for target in ("coordinator", "agent", "worker", "setup")}
    names["base"] = cluster.settings.get("ALIGNFED_PYTHON_IMAGE", default_images()["PYTHON"])
    sizes = {name: int(cluster.engine.run("inspect", "--format", "{{.Size}}", image)) for name, image in names.items()}
    assert sizes["coordinator"] < COORDINATOR_BYTES
    listed = cluster.engine.run(
        "run", "--rm", "--entrypoint", "sh", names["coordinator"], "-c", "ls /opt/alignfed/lib/python3*/site-packages"
    ).split()
    assert "grpc" in listed
    assert "torch" not in listed
    return sizes


def check_hardened(cluster: Cluster) -> None:
    """Check what every container is started with."""
    for container in cluster.engine.inspect(*cluster.containers()):
        host, name = container["HostConfig"], container["Name"]
        assert host["ReadonlyRootfs"], name
        assert host["CapDrop"] == ["ALL"], name
        assert "no-new-privileges:true" in host["SecurityOpt"], name
        assert host["Memory"] > 0, name
        assert host["PidsLimit"] == 256, name
        assert host["LogConfig"]["Config"] == {"max-size": "10m", "max-file": "5"}, name
        assert container["Config"]["User"].partition(":")[0] not in ("", "0", "root"), name
        published = [one for ports in (host["PortBindings"] or {}).values() for one in ports]
        assert all(one["HostIp"] == "127.0.0.1" for one in published), name


def check_agents_reach_only_the_gateway(cluster: Cluster) -> None:
    """Check the networks from inside an agent's container, by name and by address."""
    [agent] = cluster.containers("agent-medium")
    assert can_reach(cluster, agent, "gateway", 7300), "the agents' network does not work at all"
    assert can_reach(cluster, agent, "gateway", 7302), "machines cannot join"
    for service, port in STRANGERS.items():
        [stranger] = cluster.engine.inspect(cluster.containers(service)[0])
        for network in stranger["NetworkSettings"]["Networks"].values():
            address = network["IPAddress"]
            assert not can_reach(cluster, agent, address, port), f"an agent reaches {service}:{port} at {address}"
        assert not can_reach(cluster, agent, service, port), f"an agent reaches {service}:{port}"
    assert not can_reach(cluster, agent, "gateway", 7301)
    assert not can_reach(cluster, agent, "gateway", 9464)


def check_identities(cluster: Cluster) -> None:
    """Check who holds which key, that an agent elsewhere joins, and that a certificate is renewed without a restart."""
    for service in ("coordinator-1", "gateway", "worker", "agent-fast", "redis", "prometheus"):
        [container, *_] = cluster.containers(service)
        found = cluster.engine.run("exec", container, "sh", "-c", FIND_ROOT_KEY)
        mounts = [mount["Source"] for mount in cluster.engine.inspect(container)[0]["Mounts"]]
        assert not found.strip(), f"{service} has the root's key"
        assert not any(mount.endswith("secrets/identity") for mount in mounts), service
    for port in (cluster.ports["AGENTS"], cluster.ports["OPERATORS"]):
        with pytest.raises(OSError, match=r"required|alert|EOF|reset"):
            shown_certificate(cluster, port, reads=True)
    token = cluster.folder / "elsewhere.join"
    cluster.command("enroll", "elsewhere-1", str(token))
    joined = join(read_join_token(token), cluster.folder / "elsewhere", agent_id=None)
    assert (joined.agent_id, joined.federation) == ("elsewhere-1", FEDERATION)
    assert joined.coordinator == f"127.0.0.1:{cluster.ports['AGENTS']}"
    before = shown_certificate(cluster, cluster.ports["JOIN"])
    cluster.command("certificates")
    wait_until(
        lambda: shown_certificate(cluster, cluster.ports["JOIN"]) != before,
        what="coordinators show the new certificate",
        timeout_seconds=30,
    )
    assert cluster.head() >= 0, "the admin's new certificate is not accepted"
    say("an agent elsewhere joined; the coordinators' certificate was renewed while they ran")


def shown_certificate(cluster: Cluster, port: int, *, reads: bool = False) -> bytes:
    """Return the certificate (DER) at a port of this machine; to a caller without one of its own.

    Raises:
        OSError: The server does not verify; or, with `reads`, it has ended the connection for lack of a certificate.
    """
    context = ssl.create_default_context(cafile=cluster.folder / "deploy/compose/secrets/operator/root.pem")
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(("127.0.0.1", port), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as secured,
    ):
        if reads and not secured.recv(1):
            raise OSError("EOF")
        return secured.getpeercert(binary_form=True) or b""


def can_reach(cluster: Cluster, container: str, host: str, port: int) -> bool:
    done = subprocess.run(
        ["docker", "exec", container, "python", "-c", REACH, host, str(port)],
        env=cluster.engine.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0 or done.stderr.startswith("no: "), done.stderr
    return done.returncode == 0


def kill_in_turn(cluster: Cluster) -> set[str]:
    """Kill one part after the other while agents train; versions go on. Return what was acknowledged until then."""
    acknowledged: set[str] = set()
    [coordinator] = cluster.containers("coordinator-1")
    cluster.engine.run("kill", "--signal", "KILL", coordinator)
    head = cluster.wait_for_versions(2, after="a coordinator was killed, and while it is gone")
    cluster.engine.run("start", coordinator)
    cluster.wait_until_healthy(coordinator)
    say(f"killed coordinator-1, version {head} was published without it")
    for service in ("worker", "agent-fast", "redis"):
        container = cluster.containers(service)[0]
        acknowledged |= cluster.acknowledged()
        crash(cluster, container)
        cluster.wait_until_healthy(container)
        head = cluster.wait_for_versions(2, after=f"{service} was killed")
        say(f"killed {service}, version {head} was published since")
    return acknowledged | cluster.acknowledged()


def crash(cluster: Cluster, container: str) -> None:
    """Kill a container's process, from outside where the engine is our own: then it counts as a crash, and restarts."""
    if not cluster.engine.own:
        cluster.engine.run("kill", "--signal", "KILL", container)
        cluster.engine.run("start", container)
        return
    [before] = cluster.engine.inspect(container)
    os.kill(before["State"]["Pid"], signal.SIGKILL)
    wait_until(
        lambda: (
            cluster.engine.inspect(container)[0]["RestartCount"] > before["RestartCount"]
            and cluster.engine.inspect(container)[0]["State"]["Running"]
        ),
        what=f"{before['Name']} is restarted by the engine",
        timeout_seconds=60,
    )


def scale(cluster: Cluster) -> set[str]:
    """Add agents and take some away; return what those that go were told is durable."""
    cluster.command("scale", agents=MORE_AGENTS)
    assert len(cluster.agents()) == MORE_AGENTS
    cluster.wait_for_versions(2, after=f"{MORE_AGENTS} agents run")
    acknowledged = cluster.acknowledged()
    cluster.command("scale", agents=FEWER_AGENTS)
    assert len(cluster.agents()) == FEWER_AGENTS
    head = cluster.wait_for_versions(2, after=f"{FEWER_AGENTS} agents are left")
    say(f"scaled {AGENTS} -> {MORE_AGENTS} -> {FEWER_AGENTS} agents, version {head}")
    return acknowledged


def drain_a_coordinator(cluster: Cluster) -> None:
    """Stop a coordinator as an upgrade does: it ends by itself within its time, and versions go on."""
    [coordinator] = cluster.containers("coordinator-2")
    cluster.engine.run("stop", coordinator)
    [stopped] = cluster.engine.inspect(coordinator)
    assert stopped["State"]["ExitCode"] == 0, cluster.logs(coordinator)[-3000:]
    cluster.wait_for_versions(1, after="a coordinator was drained, and while it is gone")
    cluster.engine.run("start", coordinator)
    cluster.wait_until_healthy(coordinator)


def check_prometheus(cluster: Cluster) -> None:
    """Check that every target is up, every rule is loaded and evaluates, and nothing alarms."""

    def targets() -> list[dict[str, str]]:
        return list(cluster.prometheus("targets?state=active")["activeTargets"])

    wait_until(
        lambda: all(target["health"] == "up" for target in targets()),
        what="every target of Prometheus is up again",
        timeout_seconds=90,
    )
    jobs = sorted(target["labels"]["job"] for target in targets())  # type: ignore[index]
    assert jobs.count("alignfed-coordinator") == 2
    assert jobs.count("alignfed-worker") == 1
    rules = [rule for group in cluster.prometheus("rules")["groups"] for rule in group["rules"]]
    broken = [(rule["name"], rule.get("lastError")) for rule in rules if rule["health"] == "err"]
    assert not broken, broken
    alerts = [rule for rule in rules if rule["type"] == "alerting"]
    assert alerts
    firing = [alert for alert in cluster.prometheus("alerts")["alerts"] if alert["state"] == "firing"]
    assert not firing, [(alert["labels"], alert["annotations"]) for alert in firing]
    say(f"Prometheus: targets {', '.join(jobs)} up; {len(rules)} rules, of them {len(alerts)} alerts, none fires")


def check_books(cluster: Cluster, acknowledged: set[str]) -> None:
    """Stop the agents, let the queue empty, and hold what agents were told against what the store says."""
    assert acknowledged, "the agents' logs name no delta"
    cluster.engine.run("stop", *cluster.agents())
    wait_until(lambda: cluster.queued() == 0, what="every delta is merged", timeout_seconds=120)
    settled = check_nothing_lost(read_books(cluster), acknowledged)
    assert settled.waiting == 0
    say(f"nothing lost: {settled}")


def check_commands(cluster: Cluster) -> None:
    """Check the commands that `up` names."""
    assert "tiny" in cluster.command("status")
    assert "fast-*" in cluster.command("alignfed", "tokens", "list")
    folder = cluster.folder / "adapter"
    cluster.command("export", str(folder))
    assert (folder / "adapter_model.safetensors").exists()


def take_down(cluster: Cluster) -> None:
    """Check that nothing is left."""
    cluster.command("down")
    left = cluster.left_behind()
    assert not any(left.values()), left
    if cluster.engine.own:
        assert not cluster.engine.run("volume", "ls", "--quiet").split(), "a volume without a name is left"
        assert not cluster.engine.run("ps", "--all", "--quiet").split()
    say("cluster-down left no container, no network, no volume")
