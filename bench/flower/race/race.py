"""Flower's rounds, then AlignFed in several ways for as many seconds: the same agents train for all, each a process."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from alignfed.codec import Factors, decode, encode, manifest_of
from alignfed.plan import Encoding
from bench.fleet.deployment import embedded, wait_for_leaders
from bench.flower.installed import Flower
from bench.flower.race.curve import Point, Run
from bench.flower.race.flat import read_flat, write_flat
from bench.flower.race.ground import Ground, lay_out
from bench.flower.race.terms import Contender, Terms, contenders
from bench.flower.superlink import FlowerRun
from bench.flower.switchboard import Peer, Switchboard
from coordinator.cli.operator_client import OperatorClient
from coordinator.domain import AdapterKind
from coordinator.local.processes import Supervisor, python_program
from coordinator.worker.calibration import CalibrationModel

FLOWER = "flower"
LONGEST = 1.5
"""Times the seconds that Flower's rounds took, for a contender that is to make as many versions."""
LOOK_SECONDS = 0.1
PAGE = 500
_PARTICIPANT = "import sys; from bench.flower.race.participant import main; main(sys.argv[1:])"

Say = Callable[[str], None]


def race(flower: Flower, model_dir: Path, terms: Terms, *, say: Say) -> list[Run]:
    """Let everybody race, one after the other, and judge every version when all is over.

    Args:
        flower: Where Flower is.
        model_dir: The base model.
        terms: What all share.
        say: Told how it goes.

    Returns:
        Flower's run, then those of `contenders`.

    Raises:
        LocalProcessFailed: A process does not get ready, or fails.
        DataUnusable: This Python lacks its library's source.
    """
    with tempfile.TemporaryDirectory(prefix="alignfed-race-") as name, ExitStack() as stack:
        folder = Path(name)
        ground = lay_out(folder, model_dir, terms)
        supervisor = stack.enter_context(Supervisor())
        say(f"starting {len(terms.slowdowns)} agents")
        agents = _participants(stack, supervisor, folder, ground)
        say("a training takes " + ", ".join(f"{agent.answer()['seconds']:.2f}" for agent in agents) + " s of them")
        say(f"starting a SuperLink, a ServerApp and a client for each, of Flower {flower.versions['flwr']}")
        judge = ground.judge()
        with ExitStack() as theirs:
            rounds = FlowerRun(theirs, supervisor, folder / "flower", flower, len(agents))
            run = _flower(rounds, agents, ground, folder, judge, say)
        say("starting a coordinator and a worker")
        ours = _Ours(stack, supervisor, folder, ground, contenders(terms))
        seconds = run.points[-1].seconds
        return [run, *(ours.run(it, agents, judge, seconds=seconds, say=say) for it in contenders(terms))]


def _participants(stack: ExitStack, supervisor: Supervisor, folder: Path, ground: Ground) -> list[Peer]:
    """Start the agents and have each warm up; each has an `answer` to that."""
    switchboard = stack.enter_context(Switchboard())
    plan = ground.plan(contenders(ground.terms)[0])
    names = []
    for number, slowdown in enumerate(ground.terms.slowdowns):
        names.append(f"agent-{number}")
        own = folder / names[-1]
        own.mkdir()
        orders = {
            "folder": str(own),
            "plan": plan.to_dict(),
            "data": str(ground.data[number]),
            "model_dir": str(ground.model_dir),
            "seconds": slowdown * ground.terms.train_seconds,
        }
        (own / "orders.json").write_text(json.dumps(orders), "utf-8")
        arguments = [str(switchboard.port), names[-1], str(own / "orders.json")]
        supervisor.start(python_program(names[-1], _PARTICIPANT, arguments, stage=3, log=own / "log"))
    agents = [switchboard.peer(name, supervisor.check) for name in names]
    for agent in agents:
        stack.callback(agent.end)
        agent.begin("warm_up")
    return agents


def _flower(
    rounds: FlowerRun, agents: Sequence[Peer], ground: Ground, folder: Path, judge: CalibrationModel, say: Say
) -> Run:
    """Let Flower's FedAvg run its rounds: every agent trains, then all replies are averaged."""
    for node, agent in zip(rounds.nodes, agents, strict=True):
        agent.ask("join_flower", port=node.ask("expect_trainer")["port"])
        node.ask("meet_trainer")
    files = [folder / f"round-{number}" for number in range(ground.terms.rounds + 1)]
    write_flat(files[0], ground.start, manifest_of(ground.start))
    made_at = [time.time()]
    for number in range(ground.terms.rounds):
        messages = rounds.app.ask("begin_round", file=str(files[number]))["messages"]
        for node, agent in zip(rounds.nodes, agents, strict=True):
            node.begin("train", folder=str(folder / agent.name), sequence=number)
        rounds.pull_as_answered(rounds.nodes, [messages[node.about["node"]] for node in rounds.nodes])
        rounds.app.begin("end_round", file=str(files[number + 1]))
        for _ in rounds.nodes:
            rounds.app.answer()
        made_at.append(float(rounds.app.answer()["ended"]))
        say(f"Flower: round {number + 1} after {made_at[-1] - made_at[0]:.1f} s")
    counts = []
    for node, agent in zip(rounds.nodes, agents, strict=True):
        node.ask("dismiss_trainer")
        counts.append(agent.ask("leave"))
    adapters = [read_flat(file, manifest_of(ground.start)) for file in files]
    return _judged(FLOWER, ground, judge, list(zip(made_at, adapters, strict=True)), counts)


def _judged(
    name: str,
    ground: Ground,
    judge: CalibrationModel,
    versions: Sequence[tuple[float, Factors]],
    counts: Sequence[dict[str, int]],
) -> Run:
    """Return a run; `versions` are Unix seconds and factors, the start first."""
    began = versions[0][0]
    return Run(
        name=name,
        points=tuple(Point(seconds=at - began, loss=judge.loss(factors, ground.test)) for at, factors in versions),
        trainings=sum(count["trainings"] for count in counts),
        late=sum(count["late"] for count in counts),
    )


class _Ours:
    """A coordinator, a store and a worker that leads a federation for each contender.

    Raises:
        LocalProcessFailed: A process does not get ready.
    """

    def __init__(
        self,
        stack: ExitStack,
        supervisor: Supervisor,
        folder: Path,
        ground: Ground,
        ways: Sequence[Contender],
    ) -> None:
        self._ground = ground
        deployment = stack.enter_context(embedded(supervisor, folder / "ours", base_model=ground.model_dir))
        self._address = deployment.agent_address
        self._operator = stack.enter_context(OperatorClient(deployment.operator_address))
        start = bytes(encode(ground.start, Encoding.FP32))
        for way in ways:
            calibration = ground.calibration if way.calibrated else b""
            self._operator.create_federation(ground.plan(way), start, calibration)
        wait_for_leaders(self._operator, {way.name for way in ways}, check=supervisor.check)

    def run(self, way: Contender, agents: Sequence[Peer], judge: CalibrationModel, *, seconds: float, say: Say) -> Run:
        """Let the agents be AlignFed's for so many seconds; in rounds, until there are as many as Flower's."""
        began, deadline = time.time(), time.monotonic() + seconds * (LONGEST if way.waits else 1.0)
        for agent in agents:
            agent.begin("join_federation", coordinator=self._address, federation=way.name)
        for agent in agents:
            agent.answer()
        head = 0
        while time.monotonic() < deadline and not (way.waits and head >= self._ground.terms.rounds):
            time.sleep(LOOK_SECONDS)
            head = self._operator.federation(way.name).head.id.number
        for agent in agents:
            agent.begin("leave")
        counts = [agent.answer() for agent in agents]
        self._operator.pause(way.name)
        say(f"AlignFed, {way.name}: version {head} after {time.time() - began:.1f} s")
        return _judged(way.name, self._ground, judge, [(began, self._ground.start), *self._made(way, began)], counts)

    def _made(self, way: Contender, began: float) -> list[tuple[float, Factors]]:
        """Return when each version was made by the worker's clock, and its factors."""
        plan = self._ground.plan(way)
        found = [it for it in reversed(self._operator.versions(way.name, limit=PAGE)) if it.deltas]
        versions = []
        for it in found:
            _, payload = self._operator.adapter(way.name, it.id.number, kind=AdapterKind.TRAINING)
            versions.append((max(it.created_at, began), decode(payload, plan.tensors, Encoding.FP32)))
        return versions
