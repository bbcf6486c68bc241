"""Dashboard *Fleet*: is anything published, who takes part, what waits, and is anything promised broken."""

from __future__ import annotations

from deploy.grafana.boards import Board, Section
from deploy.grafana.panels import Look, Query, bars, lines, number, rows

F = 'federation="$federation"'
_AGENTS_OWN = "Only of agents that Prometheus scrapes."

NOW = Section(
    "Now",
    [
        number(
            "Global version",
            "Number of the head. Good: it rises. Flat while deltas wait is bad.",
            Look(unit="none", span=4, height=5),
            Query(f"max(alignfed_global_version{{{F}}})"),
        ),
        number(
            "Age of the head",
            "Since the head was published. Old is fine with an empty queue; with deltas waiting, over 15 minutes is "
            "late.",
            Look(unit="s", span=4, height=5, warn=900, bad=1800, alert="AlignFedVersionStalled"),
            Query(f"federation:alignfed_version_age_seconds:min{{{F}}}"),
        ),
        number(
            "Merging",
            "Whether an operator has paused merging. Paused: agents go on, deltas pile up until the queue is full.",
            Look(unit="none", span=4, height=5, warn=1, words=((0, "runs"), (1, "paused"))),
            Query(f"max(alignfed_federation_paused{{{F}}})"),
        ),
        number(
            "Agents active within an hour",
            "Agents that called within an hour. Good: about as many as are switched on.",
            Look(unit="none", span=4, height=5),
            Query(f'max(alignfed_active_agents{{{F},window="1h"}})'),
        ),
        number(
            "Deltas waiting",
            "Accepted and not merged yet. Good: below two buffers. Rising for hours: the worker is too slow.",
            Look(unit="none", span=4, height=5, alert="AlignFedUnmergedAge"),
            Query(f"max(alignfed_queue_deltas{{{F}}})"),
        ),
        number(
            "Oldest delta waits",
            "Good: below buffer.timeout_seconds (10 minutes by default) and the time of a merge.",
            Look(unit="s", span=4, height=5, warn=900, bad=1800, alert="AlignFedUnmergedAge"),
            Query(f"federation:alignfed_unmerged_age_seconds:max{{{F}}}"),
        ),
    ],
)

THROUGHPUT = Section(
    "Versions and throughput",
    [
        lines(
            "Versions",
            "Head by number. A straight slope is good; steps with long treads mean that little arrives or merging "
            "stalls.",
            Look(unit="none"),
            Query(f"max(alignfed_global_version{{{F}}})", "head"),
        ),
        lines(
            "Deltas per second",
            "Accepted by coordinators and merged by the worker. Good: the same. Accepted above merged for long: a "
            "backlog.",
            Look(unit="ops"),
            Query(
                f'sum(rate(alignfed_delta_staleness_versions_count{{{F},stage="accept"}}[$__rate_interval]))',
                "accepted",
            ),
            Query(
                f'sum(rate(alignfed_delta_staleness_versions_count{{{F},stage="merge"}}[$__rate_interval]))', "merged"
            ),
        ),
        lines(
            "Uploads by outcome",
            "Good: accepted, some duplicates after lost connections. rejected_* is lost work; queue_full and "
            "uploads_busy mean overload; store_* the store.",
            Look(unit="ops", alert="AlignFedUploadsRejected"),
            Query(f"sum by (outcome) (rate(alignfed_uploads_total{{{F}}}[$__rate_interval]))", "{{outcome}}"),
        ),
        lines(
            "Merges by outcome",
            "Good: committed. gated: a candidate was worse than the head. conflict, fenced: the lease moved. failed: "
            "see the worker's log.",
            Look(unit="ops", alert="AlignFedMergesGated"),
            Query(f"sum by (outcome) (rate(alignfed_merges_total{{{F}}}[$__rate_interval]))", "{{outcome}}"),
        ),
    ],
)

AGENTS = Section(
    "Agents",
    [
        lines(
            "Active agents",
            "Seen within an hour and within a day. A fall of the first is a network or power fault before it is "
            "anything else.",
            Look(unit="none", span=8),
            Query(f"max by (window) (alignfed_active_agents{{{F}}})", "within {{window}}"),
        ),
        lines(
            "Active agents by tier",
            "Agents of a day, by the speed tier they named. Good: every tier that was deployed is there.",
            Look(unit="none", span=8),
            Query(f"max by (tier) (alignfed_tier_active_agents{{{F}}})", "{{tier}}"),
        ),
        lines(
            "Versions that agents lag behind",
            "Head minus the version an agent holds when it polls. Good: a median of 0 or 1. A high 90th percentile: "
            "agents that train long or poll seldom.",
            Look(unit="none", span=8),
            Query(
                "histogram_quantile(0.5, sum by (le) "
                f"(rate(alignfed_agent_version_lag_versions_bucket{{{F}}}[$__rate_interval]))) >= 0",
                "median",
            ),
            Query(
                "histogram_quantile(0.9, sum by (le) "
                f"(rate(alignfed_agent_version_lag_versions_bucket{{{F}}}[$__rate_interval]))) >= 0",
                "90 %",
            ),
        ),
        lines(
            "Training step",
            f"Mean duration of an optimiser step. {_AGENTS_OWN} Good: steady per machine.",
            Look(unit="s", span=8, log=True, absent="no agent is scraped"),
            Query(
                f"rate(alignfed_agent_training_step_seconds_sum{{{F}}}[$__rate_interval])"
                f" / (rate(alignfed_agent_training_step_seconds_count{{{F}}}[$__rate_interval]) > 0)",
                "{{instance}}",
            ),
        ),
        lines(
            "Outboxes",
            f"Deltas that agents keep: pending ones are not uploaded yet. {_AGENTS_OWN} Pending above 1 for long: the "
            "line or the coordinator is too slow.",
            Look(unit="none", span=8, absent="no agent is scraped"),
            Query(f"sum by (state) (alignfed_agent_outbox_deltas{{{F}}})", "{{state}}"),
        ),
        lines(
            "Calls tried again",
            f"By reason, per second. {_AGENTS_OWN} Good: 0. The reasons are those of docs/contract.md.",
            Look(unit="ops", span=8),
            Query(
                f"sum by (reason) (rate(alignfed_agent_retries_total{{{F}}}[$__rate_interval])) or vector(0)",
                "{{reason}}",
            ),
        ),
    ],
)

QUEUE = Section(
    "Queue",
    [
        lines(
            "Deltas in the queue",
            "Waiting, claimed by the worker, and what fills a buffer. Good: waiting saws up to the buffer and back.",
            Look(unit="none", span=8),
            Query(f"max(alignfed_queue_deltas{{{F}}})", "waiting"),
            Query(f"max(alignfed_queue_pending_deltas{{{F}}})", "claimed"),
            Query(f"max(alignfed_buffer_size_deltas{{{F}}})", "buffer"),
        ),
        lines(
            "Age of the oldest delta",
            "Good: saws below the buffer's timeout. A slope of one second per second: nothing is merged.",
            Look(unit="s", span=8, warn=900, bad=1800, alert="AlignFedUnmergedAge"),
            Query(f"federation:alignfed_unmerged_age_seconds:max{{{F}}}", "oldest"),
        ),
        lines(
            "From acceptance to publication",
            "Time of merged deltas. Good: 99 % below 5 minutes, which is what the objective `merged` promises.",
            Look(unit="s", span=8, warn=300, log=True, alert="AlignFedMergeSloBurnsFast"),
            *(
                Query(
                    f"histogram_quantile({quantile}, sum by (le) "
                    f"(rate(alignfed_delta_end_to_end_seconds_bucket{{{F}}}[$__rate_interval]))) >= 0",
                    legend,
                )
                for quantile, legend in ((0.5, "median"), (0.9, "90 %"), (0.99, "99 %"))
            ),
        ),
    ],
)

PROMISES = Section(
    "Objectives and alerts",
    [
        bars(
            "Error budget left of 30 days",
            "1: untouched. 0: used up; then stability goes before change. Negative: overdrawn.",
            Look(unit="percentunit", span=8, warn=0.25, bad=0, falling=True, alert="AlignFedUploadSloBurnsSlowly"),
            Query(f"federation_slo:alignfed_error_budget_left:ratio30d{{{F}}}", "{{slo}}"),
        ),
        lines(
            "Burn rate of an hour",
            "How fast the last hour used the error budget: 1 lasts 30 days. Above 14.4, with the last 5 minutes as "
            "bad, somebody is paged.",
            Look(unit="none", span=8, warn=1, bad=14.4, alert="AlignFedUploadSloBurnsFast"),
            Query(f"federation_slo:alignfed_error_budget_burn:ratio1h{{{F}}}", "{{slo}}"),
        ),
        rows(
            "Alerts that fire",
            "One row per alert, of this federation and of the processes that all share. Good: a single row without a "
            "name, value 0. What to do stands in the operator's guide under the alert's name.",
            Look(unit="none", span=8),
            Query(
                'count by (alertname, severity) (ALERTS{alertstate="firing",federation=~"$federation|"}) or vector(0)',
            ),
        ),
    ],
)

FLEET = Board(
    name="fleet",
    title="Fleet",
    text="Is anything published, who takes part, what waits, and is anything promised broken.",
    sections=[NOW, THROUGHPUT, AGENTS, QUEUE, PROMISES],
)
