"""Dashboard *Fairness*: who is merged, whose weight counts, who is left out. Never by name: `alignfed agents` tells."""

from __future__ import annotations

from deploy.grafana.boards import Board, Section
from deploy.grafana.panels import Look, Query, bars, curve, lines, number

F = 'federation="$federation"'
DAY = f'{F},window="1d"'
TENTHS = tuple(f"{tenth / 10:.1f}" for tenth in range(1, 11))

EVEN = " or ".join(f'label_replace(vector({tenth}), "agents", "{tenth}", "", "")' for tenth in TENTHS)
"""The Lorenz curve of a fleet in which all get the same."""

_WHO = "Over the agents active in a day, those with nothing merged included."

NOW = Section(
    "Now",
    [
        number(
            "Jain's index of merges",
            f"1: all agents were merged equally often; 0.5: as if half of them shared it all. {_WHO}",
            Look(unit="percentunit", span=4, height=5, warn=0.6, bad=0.3, falling=True, alert="AlignFedFairnessDrift"),
            Query(f"max(alignfed_participation_jain_ratio{{{DAY}}})"),
        ),
        number(
            "Gini of merges",
            f"0: all the same; above 0.6 a few do nearly everything. {_WHO}",
            Look(unit="percentunit", span=4, height=5, warn=0.4, bad=0.6),
            Query(f"max(alignfed_participation_gini_ratio{{{DAY}}})"),
        ),
        number(
            "Jain's index of weight",
            f"As for merges, of the weight that deltas got. {_WHO}",
            Look(unit="percentunit", span=4, height=5, warn=0.6, bad=0.3, falling=True, alert="AlignFedFairnessDrift"),
            Query(f"max(alignfed_weight_jain_ratio{{{DAY}}})"),
        ),
        number(
            "Gini of weight",
            "As for merges, of the weight that deltas got. Above that of merges: the recipe adds to the imbalance. "
            f"{_WHO}",
            Look(unit="percentunit", span=4, height=5, warn=0.4, bad=0.6),
            Query(f"max(alignfed_weight_gini_ratio{{{DAY}}})"),
        ),
        number(
            "Unserved agents",
            "Active agents with nothing merged. Good: 0, apart from newcomers. Above 20 % for hours: agents work in "
            "vain.",
            Look(unit="percentunit", span=4, height=5, warn=0.1, bad=0.2, alert="AlignFedAgentsUnserved"),
            Query(f"max(alignfed_unserved_agents_ratio{{{DAY}}})"),
        ),
        number(
            "Share of the top 1 %",
            "Share of merged deltas that the most served 1 % (at least one agent) have. In a fleet of n equal agents "
            "up to 100 it is 1/n.",
            Look(unit="percentunit", span=4, height=5),
            Query(f"max(alignfed_participation_top1pct_share_ratio{{{F}}})"),
        ),
    ],
)

SHARES = Section(
    "Who has which share",
    [
        curve(
            "Lorenz curve",
            "Share of merges and of weight that the least served fraction of agents holds. The nearer to the even "
            "line the fairer; a curve that stays at 0 shows how many are left out.",
            Look(unit="percentunit", height=10, alert="AlignFedFairnessDrift"),
            "agents",
            Query(f"max by (agents) (alignfed_participation_lorenz_ratio{{{F}}})", "merges"),
            Query(f"max by (agents) (alignfed_weight_lorenz_ratio{{{F}}})", "weight"),
            Query(EVEN, "even"),
        ),
        bars(
            "Weight by speed tier",
            "Share of the aggregation weight per tier, and the tier's share of agents. Good: alike. Slow tiers far "
            "below theirs: their data hardly count.",
            Look(unit="percentunit", height=10),
            Query(f"max by (tier) (alignfed_tier_weight_share_ratio{{{F}}})", "{{tier}}: weight"),
            Query(
                f"max by (tier) (alignfed_tier_active_agents{{{F}}})"
                f" / on () group_left () sum(max by (tier) (alignfed_tier_active_agents{{{F}}}))",
                "{{tier}}: agents",
            ),
        ),
    ],
)

OVER_TIME = Section(
    "Over time",
    [
        lines(
            "Jain's index",
            f"Of merges and of weight. {_WHO} Good: steady or rising. A step down with a rising number of agents is "
            "only newcomers.",
            Look(unit="percentunit", alert="AlignFedFairnessDrift"),
            Query(f"max by (window) (alignfed_participation_jain_ratio{{{F}}})", "merges, {{window}}"),
            Query(f"max by (window) (alignfed_weight_jain_ratio{{{F}}})", "weight, {{window}}"),
        ),
        lines(
            "Gini coefficient",
            f"Of merges and of weight. {_WHO} Good: steady or falling.",
            Look(unit="percentunit"),
            Query(f"max by (window) (alignfed_participation_gini_ratio{{{F}}})", "merges, {{window}}"),
            Query(f"max by (window) (alignfed_weight_gini_ratio{{{F}}})", "weight, {{window}}"),
        ),
        lines(
            "Unserved agents",
            "Share of active agents with nothing merged. Good: falls after agents have joined. A plateau: someone "
            "cannot upload, or is rejected.",
            Look(unit="percentunit", span=8, alert="AlignFedAgentsUnserved"),
            Query(f"max by (window) (alignfed_unserved_agents_ratio{{{F}}})", "{{window}}"),
        ),
        lines(
            "Weight by speed tier",
            "Share of the aggregation weight per tier. Good: parallel lines. One that swallows the others: a tier "
            "dominates.",
            Look(unit="percentunit", span=8),
            Query(f"max by (tier) (alignfed_tier_weight_share_ratio{{{F}}})", "{{tier}}"),
        ),
        lines(
            "Agents the figures are about",
            "Read the other panels with it: shares among three agents say little.",
            Look(unit="none", span=8),
            Query(f"max by (window) (alignfed_active_agents{{{F}}})", "within {{window}}"),
        ),
    ],
)

FAIRNESS = Board(
    name="fairness",
    title="Fairness",
    text="Who is merged, whose weight counts, who is left out. Agents are no labels: `alignfed agents` names them.",
    sections=[NOW, SHARES, OVER_TIME],
)
