"""A real Prometheus scrapes a real federation: every panel's query answers, every rule records, no alert fires."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from coordinator.backends.embedded import EmbeddedValkey
from coordinator.local.cluster import free_ports
from tests.e2e.processes import running
from tests.support.prometheus import Prometheus, running_prometheus
from tests.support.promql import Target, recorded, targets
from tests.support.tiny_federation import write_rows
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

FEDERATION = "demo"
VERSIONS = 6
STAND_INS = {"federation": FEDERATION, "__rate_interval": "30s", "__range": "5m"}
STORE_BYTES = 256 * 2**20
SLOWDOWNS = {"fast-1": 1, "fast-2": 1, "slow": 6}
ANSWER_SECONDS = 120.0
PLAN = """
federation = "{federation}"
[base_model]
name = "{model}"
[lora]
rank = 2
[training]
local_steps = 2
sequence_length = 32
[buffer]
size = 2
timeout_seconds = 10.0
[calibration]
data = "calibration.jsonl"
fit_rows = 2
judge_rows = 2
sequence_length = 32
"""


@pytest.fixture(scope="module")
def stack() -> Iterator[ExitStack]:
    """Ends every process of the run, the last one started first."""
    with ExitStack() as processes:
        yield processes


def accepts(address: str) -> bool:
    host, _, port = address.partition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return False
    return True


def start_federation(stack: ExitStack, folder: Path, model: Path) -> dict[str, list[str]]:
    """Start store, coordinator, worker and agents; return what to scrape, by job."""
    agents, operators, coordinator, worker, *own = (f"127.0.0.1:{port}" for port in free_ports(4 + len(SLOWDOWNS)))
    store = stack.enter_context(EmbeddedValkey(folder / "store", maxmemory_bytes=STORE_BYTES)).url
    listen = ["--agent-listen", agents, "--operator-listen", operators, "--metrics-listen", coordinator]
    settings = ["--store-url", store, "--drain-seconds", "1", *listen]
    stack.enter_context(running(["alignfed", "coordinator", *settings], folder, name="coordinator"))
    wait_until(lambda: accepts(operators), what="the coordinator serves operators", timeout_seconds=120)
    write_rows(folder / "calibration.jsonl", count=6, secret="server")
    (folder / "federation.toml").write_text(PLAN.format(federation=FEDERATION, model=model), "utf-8")
    create = ["federations", "create", "federation.toml", "--operator", operators]
    subprocess.run(
        [str(Path(sys.executable).with_name("alignfed")), *create], cwd=folder, check=True, timeout=120,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    merges = ["alignfed", "worker", "--store-url", store, "--metrics-listen", worker, "--threads", "1"]
    stack.enter_context(running(merges, folder, name="worker"))
    for (name, slowdown), metrics in zip(SLOWDOWNS.items(), own, strict=True):
        write_rows(folder / f"{name}.jsonl", secret=name)
        agent = [
            "alignfed-agent", "run", "--coordinator", agents, "--federation", FEDERATION, "--agent-id", name,
            "--data", f"{name}.jsonl", "--state-dir", f"state-{name}", "--threads", "1", "--nice", "5",
            "--slowdown", str(slowdown), "--tier", name.partition("-")[0], "--metrics-listen", metrics,
        ]  # fmt: skip
        stack.enter_context(running(agent, folder, name=name))
    return {"alignfed-coordinator": [coordinator], "alignfed-worker": [worker], "alignfed-agent": own}


@pytest.fixture(scope="module")
def prometheus(stack: ExitStack, tmp_path_factory: pytest.TempPathFactory, tiny_model_dir: Path) -> Prometheus:
    """A Prometheus that has watched a federation publish some versions."""
    folder = tmp_path_factory.mktemp("observed")
    scraped = start_federation(stack, folder, tiny_model_dir)
    server = stack.enter_context(running_prometheus(folder / "prometheus", scraped))
    wait_until(
        lambda: max(server.numbers("alignfed_global_version"), default=0) >= VERSIONS,
        what=f"Prometheus sees {VERSIONS} versions",
        timeout_seconds=180,
    )
    return server


def unanswered(prometheus: Prometheus, queries: dict[str, str]) -> dict[str, str]:
    """Return the queries that answer nothing, or nothing but NaN."""
    return {name: query for name, query in queries.items() if not prometheus.numbers(query)}


def wait_for_answers(prometheus: Prometheus, queries: dict[str, str]) -> None:
    """Wait until every query has answered; one that needs two scrapes, or a first merge, gets its time."""
    left = dict(queries)

    def all_answer() -> bool:
        nonlocal left
        left = unanswered(prometheus, left)
        return not left

    try:
        wait_until(all_answer, what="every query answers", timeout_seconds=ANSWER_SECONDS)
    except AssertionError:
        pytest.fail("no answer to:\n" + "\n".join(f"  {name}: {query}" for name, query in left.items()))


def evidence_folder(default: Path) -> Path:
    folder = Path(os.environ.get("ALIGNFED_EVIDENCE_DIR") or default)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def row(prometheus: Prometheus, name: str, query: str) -> str:
    """Return one line of the table: the name, the query, how many series it has, and the first of them."""
    series = prometheus.vector(query)
    labels = ", ".join(f"{key}={value}" for key, value in series[0]["metric"].items() if key != "__name__")
    sample = f"{float(series[0]['value'][1]):.6g}" + (f" ({labels})" if labels else "")
    return f"| {name} | `{query.replace('|', chr(92) + '|')}` | {len(series)} | {sample} |"


def name_of(target: Target) -> str:
    return " / ".join(part for part in (target.board, target.panel, target.legend) if part)


def test_every_panel_answers(prometheus: Prometheus, tmp_path: Path) -> None:
    queries = {
        f"{target.board} / {target.panel}" + (f" / {target.legend}" if target.legend else ""): target.filled(
            **STAND_INS
        )
        for target in targets()
    }
    assert len(queries) == len(targets()), "panels and legends tell all queries apart"
    wait_for_answers(prometheus, queries)
    table = ["| panel | query | series | first value |", "|---|---|---|---|"]
    table += [row(prometheus, name, query) for name, query in queries.items()]
    (evidence_folder(tmp_path) / "panels.md").write_text("\n".join(table) + "\n", "utf-8")


def test_every_recording_rule_records_by_the_labels_of_its_level(prometheus: Prometheus) -> None:
    levels = recorded()
    wait_for_answers(prometheus, {name: name for name in levels})
    for name, labels in levels.items():
        for series in prometheus.vector(name):
            assert series["metric"].keys() - {"__name__"} == labels, name


def test_rules_evaluate_without_errors_and_no_alert_fires(prometheus: Prometheus) -> None:
    rules = prometheus.rules()
    wait_until(
        lambda: all(rule["health"] == "ok" for rule in prometheus.rules()),
        what=f"every rule is in good health: {[rule['name'] for rule in rules if rule['health'] != 'ok']}",
    )
    assert {rule["name"] for rule in rules if rule["type"] == "alerting" and rule["alerts"]} == set()
    assert prometheus.numbers("count(up == 1)") == [2 + len(SLOWDOWNS)]
