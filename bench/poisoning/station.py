"""Carries one trial out: the fleet with its attackers, the server with its defence, and the backdoor's success."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from alignfed.codec import Factors
from bench.federation.fleet import Layout, make_fleet
from bench.federation.regimes import Regime, Tier
from bench.findings.tuning import UNTUNED
from bench.poisoning.attack import Attack, get_attack
from bench.poisoning.attacks import ATTACKS
from bench.poisoning.attacks.backdoor import triggered, unmoved
from bench.poisoning.conspiracy import Conspiracy, attackers_among
from bench.poisoning.defences import get_protection
from bench.poisoning.outcome import HONEST, Outcome, Trial, fates_of
from bench.simulator.engine import Engine
from bench.simulator.scenario import Scenario, Settled
from bench.simulator.simulation import Setup, simulate

LAYOUT = Layout.TIED
"""Rare domains on slow machines alone: where an honest delta is most unlike the others."""

FLEET = Regime(
    name="poisoned",
    tiers=(Tier(agents=6, speed=8), Tier(agents=8, speed=4), Tier(agents=6, speed=1)),
    buffer_size=6,
    duration_seconds=36.0,
)
"""Twenty agents, so that tenths of them are whole ones, and buffers in which some are honest as a rule."""

QUICK_FLEET = dataclasses.replace(FLEET, name="poisoned-quick", duration_seconds=18.0)

_BY_LOSS, _GREEDY = "by loss", "greedy"


def carry_out(trial: Trial, engine: Engine, regime: Regime = FLEET) -> Outcome:
    """Run one trial to its end.

    Raises:
        PlanInvalid: The attack or the defence does not exist.
        DataUnusable: The data do not suffice for the fleet.
    """
    protection = get_protection(trial.defence)
    attack = Attack(name=HONEST) if trial.clean else get_attack(trial.attack, ATTACKS)
    agents = make_fleet(regime, LAYOUT, engine.federation.domains, seed=trial.seed)
    attackers = attackers_among(agents, trial.share, trial.placement)
    conspiracy = Conspiracy(
        attack, attackers, agents=len(agents), vocabulary=engine.stacked.vocabulary, tokenise=engine.sequences
    )
    settled: list[Settled] = []
    result = simulate(
        Setup(
            regime=regime,
            layout=LAYOUT,
            recipe=protection.recipe,
            server_learning_rate=UNTUNED,
            seed=trial.seed,
        ),
        engine,
        score=_backdoor_score(engine),
        scenario=Scenario(
            conduct=conspiracy.conduct,
            defence=protection.begin(engine.probe("")),
            evaluation_shares=(1.0,),
            told=settled.append,
        ),
    )
    honest = [delta for delta in settled if delta.agent_id not in attackers]
    return Outcome(
        trial=trial,
        base=result.base,
        served=result.final.served,
        backdoor_by_loss=result.solved[_BY_LOSS],
        backdoor_greedy=result.solved[_GREEDY],
        fresh=fates_of(delta for delta in honest if not delta.staleness_versions),
        stale=fates_of(delta for delta in honest if delta.staleness_versions),
        attackers=fates_of(delta for delta in settled if delta.agent_id in attackers),
        merges=result.merges,
        gated=result.gated,
        guard_seconds=result.server.guard_seconds,
        merge_seconds=result.server.seconds,
    )


def _backdoor_score(engine: Engine) -> Callable[[Factors], dict[str, float]]:
    held_out = [row for domain in engine.federation.domains for row in domain.test]
    pairs = [(triggered(row), unmoved(row)) for row in held_out if unmoved(row).answer]
    targets = engine.sequences(tuple(target for target, _ in pairs))
    truths = engine.sequences(tuple(truth for _, truth in pairs))

    def score(factors: Factors) -> dict[str, float]:
        adapter = engine.stacked.flatten([factors])
        losses, exact = engine.stacked.answers(adapter, targets)
        true_losses, _ = engine.stacked.answers(adapter, truths)
        return {
            _BY_LOSS: float((losses < true_losses).float().mean()),
            _GREEDY: float(exact.float().mean()),
        }

    return score
