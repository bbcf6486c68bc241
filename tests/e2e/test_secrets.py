"""Real processes with secrets of every kind, working and failing, at the debug level: nothing they say has any of them.

Logs and errors, /metrics, the status page's answers, and the command lines that every user of the machine can read.
"""

from __future__ import annotations

import contextlib
import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import quote

import pytest

from alignfed.join_token import read_join_token
from coordinator.local.cluster import free_ports
from tests.e2e.processes import RunningCommand, running
from tests.support.servers import free_port, running_redis
from tests.support.tiny_federation import write_rows

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

STORE_PASSWORD, WRONG_PASSWORD = "store-7f3a!Pw", "wrong-91bc?Pw"
STATUS_TOKEN, WRONG_TOKEN = "status-token-5d1e-0123456789", "wrong-token-6aa0-0123456789"
DEBUG = ["--log-level", "debug"]


class Stage:
    """A folder with secrets in files, a store that wants a password, and every process that was started there."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self._stack = stack
        self.processes: dict[str, RunningCommand] = {}
        self.said: dict[str, str] = {}
        self.port = free_port()
        stack.enter_context(running_redis({"requirepass": STORE_PASSWORD, "appendonly": "yes"}, port=self.port))

    def write(self, name: str, content: str) -> str:
        file = self.folder / name
        file.write_text(content)
        file.chmod(0o600)
        return name

    def store(self, password: str = STORE_PASSWORD) -> Mapping[str, str]:
        return {"ALIGNFED_STORE_URL": f"redis://:{quote(password)}@127.0.0.1:{self.port}"}

    def start(self, name: str, *command: str, settings: Mapping[str, str] | None = None) -> RunningCommand:
        process = self._stack.enter_context(running(list(command), self.folder, name=name, settings=settings))
        self.processes[name] = process
        return process

    def get(self, name: str, url: str, *, body: object = None) -> None:
        """Keep what a URL answers, whatever the status."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data=data, headers={"Content-Type": "application/json"})
        with contextlib.suppress(urllib.error.HTTPError):
            try:
                with urllib.request.urlopen(request, timeout=20) as answer:
                    self.said[name] = answer.read().decode()
            except urllib.error.HTTPError as error:
                self.said[name] = error.read().decode()

    def keep_command_lines(self, *names: str) -> None:
        for name in names:
            pid = self.processes[name].process.pid
            self.said[f"{name}'s command line"] = Path(f"/proc/{pid}/cmdline").read_bytes().decode()

    def everything(self) -> Iterator[tuple[str, str]]:
        yield from self.said.items()
        yield from ((name, process.output) for name, process in self.processes.items())


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with ExitStack() as stack:
        yield Stage(tmp_path, stack)


def secrets_of(stage: Stage) -> dict[str, str]:
    """Return every secret by what it is; of keys a line of the PEM, of passwords both spellings."""
    found = {"status token": STATUS_TOKEN, "wrong status token": WRONG_TOKEN}
    for password in (STORE_PASSWORD, WRONG_PASSWORD):
        found |= {password: password, f"{password}, quoted": quote(password)}
    for file in stage.folder.rglob("*.pem"):
        text = file.read_text()
        if "PRIVATE KEY" in text:
            found[file.name] = text.splitlines()[1][:40]
    token = (stage.folder / "agent.join").read_text().strip()
    found |= {"join token": token[-60:-2], "join secret": read_join_token(stage.folder / "agent.join").secret}
    return found


def alignfed(stage: Stage, name: str, *arguments: str, settings: Mapping[str, str] | None = None) -> None:
    """Run a command to its end."""
    stage.start(name, "alignfed", *arguments, settings=settings).end()


def start_what_works(stage: Stage) -> str:
    """Start a coordinator and a worker with every secret there is, and return the operators' address."""
    agents, operators, joins, page, figures = (f"127.0.0.1:{port}" for port in free_ports(5))
    alignfed(stage, "ca", "ca", "init", "ca", "--host", "127.0.0.1")
    alignfed(stage, "keys", "keys", "new", "signing.pem")
    stage.write("status-token", STATUS_TOKEN + "\n")
    stage.write("store-password", STORE_PASSWORD + "\n")
    coordinator = stage.start(
        "coordinator", "alignfed", "coordinator", "--identity-dir", "ca", "--agent-listen", agents,
        "--operator-listen", operators, "--join-listen", joins, "--metrics-listen", page, "--status-token-file",
        "status-token", "--signing-key-file", "signing.pem", "--log-format", "json", *DEBUG, settings=stage.store(),
    )  # fmt: skip
    by_file = {"ALIGNFED_STORE_URL": f"redis://default@127.0.0.1:{stage.port}?password_file=store-password"}
    worker = stage.start(
        "worker", "alignfed", "worker", "--metrics-listen", figures, "--signing-key-file", "signing.pem", *DEBUG,
        settings=by_file,
    )  # fmt: skip
    coordinator.wait_for("serving agents_port")
    operator = operator_settings(operators)
    alignfed(
        stage, "enroll", "enroll", "agent-1", "--federation", "*", "--output", "agent.join", "--join", joins,
        "--coordinator", agents, settings=operator,
    )  # fmt: skip
    worker.wait_for("versions are signed with key")
    stage.keep_command_lines("coordinator", "worker")
    for name, body in (("session", {"token": WRONG_TOKEN}), ("session again", {"token": STATUS_TOKEN}), ("odd", "x")):
        stage.get(f"status page, {name}", f"http://{page}/api/v1/session", body=body)
    for name, address in (("coordinator", page), ("worker", figures)):
        stage.get(f"{name}'s metrics", f"http://{address}/metrics")
    return operators


def operator_settings(operators: str) -> dict[str, str]:
    return {
        "ALIGNFED_OPERATOR": operators,
        "ALIGNFED_TLS_CA": "ca/root.pem",
        "ALIGNFED_TLS_CERTIFICATE": "ca/operators/admin.pem",
        "ALIGNFED_TLS_KEY": "ca/operators/admin-key.pem",
    }


def start_what_fails(stage: Stage) -> dict[str, str]:
    """Start processes that cannot work, and return what each is expected to complain of."""
    quiet = ["--metrics-listen", "", *DEBUG]
    coordinator = [
        "alignfed",
        "coordinator",
        "--agent-listen",
        "127.0.0.1:0",
        "--operator-listen",
        "127.0.0.1:0",
        *quiet,
    ]
    worker = ["alignfed", "worker", *quiet]
    nobody = f"redis://:{quote(STORE_PASSWORD)}@127.0.0.1:{free_port()}"
    patience = ["--store-patience-seconds", "1"]
    scrambled = (stage.folder / "signing.pem").read_text().replace("MC4CAQAw", "MC4CAQBx")
    stage.write("scrambled.pem", scrambled)
    stage.write("wrong-token", WRONG_TOKEN[:12])
    for name, settings, command in (
        ("wrong password", stage.store(WRONG_PASSWORD), [*coordinator, *patience]),
        ("wrong password, JSON", stage.store(WRONG_PASSWORD), [*coordinator, *patience, "--log-format", "json"]),
        ("worker, wrong password", stage.store(WRONG_PASSWORD), worker),
        ("no store", {"ALIGNFED_STORE_URL": nobody}, [*coordinator, *patience]),
        ("password as an option", {"ALIGNFED_STORE_URL": f"redis://127.0.0.1?password={STORE_PASSWORD}"}, coordinator),
        ("URL without slashes", {"ALIGNFED_STORE_URL": f"redis:me:{STORE_PASSWORD}@127.0.0.1"}, coordinator),
        ("scrambled signing key", stage.store(), [*coordinator, "--signing-key-file", "scrambled.pem"]),
        ("scrambled TLS key", stage.store(),
         [*coordinator, "--identity-dir", "ca", "--join-listen", "", "--tls-key-file", "scrambled.pem"]),
        ("short token", stage.store(), [*coordinator, "--status-token-file", "wrong-token", "--metrics-listen",
                                        "127.0.0.1:0"]),
    ):  # fmt: skip
        stage.start(name, *command, settings=settings)
    alignfed(stage, "backup, wrong password", "backup", "--all", "x.backup", settings=stage.store(WRONG_PASSWORD))
    return {
        "wrong password": "STORE_",
        "wrong password, JSON": "STORE_",
        "worker, wrong password": "does not answer yet",
        "no store": "STORE_UNREACHABLE",
        "password as an option": "has no option 'password'",
        "URL without slashes": "REQUEST_INVALID",
        "scrambled signing key": "not an Ed25519 private key",
        "scrambled TLS key": "REQUEST_INVALID",
        "short token": "status token",
        "backup, wrong password": "STORE_",
    }


def start_agents_that_fail(stage: Stage, model: Path) -> dict[str, str]:
    write_rows(stage.folder / "rows.jsonl", secret="rows")
    run = ["alignfed-agent", "run", "--data", "rows.jsonl", "--base-model", str(model), "--threads", "1", *DEBUG]
    token = (stage.folder / "agent.join").read_text().strip()
    stage.write("broken.join", token[:-9] + "A?" + token[-7:])
    tls = ["--coordinator", "127.0.0.1:1", "--federation", "nobody", "--tls-ca", "ca/root.pem"]
    stage.start("agent joins", *run, "--state-dir", "a", "--federation", "nobody", "--join-token-file", "agent.join")
    stage.start("agent, broken token", *run, "--state-dir", "b", "--join-token-file", "broken.join")
    stage.start(
        "agent, broken key", *run, "--state-dir", "c", *tls, "--tls-certificate", "ca/agents.pem", "--tls-key",
        "scrambled.pem",
    )  # fmt: skip
    stage.start(
        "agent, private key to verify with", *run, "--state-dir", "d", "--coordinator", "127.0.0.1:1", "--federation",
        "nobody", "--version-key", "signing.pem",
    )  # fmt: skip
    stage.keep_command_lines("agent joins")
    return {
        "agent joins": "FEDERATION_UNKNOWN",
        "agent, broken token": "REQUEST_INVALID",
        "agent, broken key": "trying again",
        "agent, private key to verify with": "no public key",
    }


def test_no_secret_is_ever_said(stage: Stage, tiny_model_dir: Path) -> None:
    start_what_works(stage)
    for name, complaint in (start_what_fails(stage) | start_agents_that_fail(stage, tiny_model_dir)).items():
        stage.processes[name].wait_for(re.escape(complaint))
    secrets, said = secrets_of(stage), list(stage.everything())
    assert len(secrets) >= 13, secrets.keys()
    assert all(text for name, text in said if "metrics" in name or "command line" in name)
    leaks = [(name, what) for name, text in said for what, secret in secrets.items() if secret in text]
    assert leaks == []


def test_a_password_on_the_command_line_is_warned_of_and_not_repeated(stage: Stage) -> None:
    url = f"redis://:{quote(STORE_PASSWORD)}@127.0.0.1:{free_port()}"
    for name, command in (
        (
            "coordinator",
            ["alignfed", "coordinator", "--insecure", "--store-patience-seconds", "1", "--metrics-listen", ""],
        ),
        ("worker", ["alignfed", "worker", "--metrics-listen", ""]),
        ("backup", ["alignfed", "backup", "--all", "x.backup"]),
    ):
        stage.start(name, *command, "--store-url", url)
    for name, process in stage.processes.items():
        assert process.end() != 0, name
        assert "every user of this machine can read it" in process.output, name
        assert "ALIGNFED_STORE_URL" in process.output
        assert quote(STORE_PASSWORD) not in process.output
        assert STORE_PASSWORD not in process.output
