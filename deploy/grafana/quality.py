"""Dashboard *Quality*: does the adapter get better, what is thrown away, and do agents drift apart."""

from __future__ import annotations

from deploy.grafana.boards import Board, Section
from deploy.grafana.panels import Look, Query, curve_of_values, heat, lines, number

F = 'federation="$federation"'

LOSS = Section(
    "Calibration loss",
    [
        number(
            "Calibration loss of the head",
            "Mean loss on the judge rows, nats per token. Good: falls, then levels off. Absent without a calibration "
            "set.",
            Look(unit="none", span=8, height=6, alert="AlignFedCalibrationLossJump", absent="not judged"),
            Query(f"federation:alignfed_calibration_loss:max{{{F}}}"),
        ),
        number(
            "Above the best of a day",
            "How much worse the head is than the best version of the last 24 hours. Good: near 0. Above 15 % "
            "somebody is paged: roll back.",
            Look(unit="percentunit", span=8, height=6, warn=0.05, bad=0.15, alert="AlignFedCalibrationLossJump"),
            Query(
                f"federation:alignfed_calibration_loss:max{{{F}}}"
                f" / on (federation) min by (federation) (min_over_time(alignfed_calibration_loss{{{F}}}[1d])) - 1"
            ),
        ),
        number(
            "Candidates gated in an hour",
            "Candidates that were not published because the judge found them much worse. Good: 0; now and then one "
            "is what the judge is for.",
            Look(unit="none", span=8, height=6, warn=1, bad=3, alert="AlignFedMergesGated"),
            Query(f'sum(increase(alignfed_merges_total{{{F},outcome="gated"}}[1h])) or vector(0)'),
        ),
        curve_of_values(
            "Calibration loss by version",
            "Mean loss on the judge rows over the version's number, in the chosen time. Good: falls. A step up is a "
            "version worth looking at: `alignfed versions FEDERATION NUMBER`.",
            Look(unit="none", alert="AlignFedCalibrationLossJump"),
            Query(f"max(alignfed_global_version{{{F}}})", "version"),
            Query(f"max(alignfed_calibration_loss{{{F}}})", "loss"),
        ),
        lines(
            "Change of the loss per version",
            "Calibration loss of a version minus its parent's: median and worst tenth. Good: both at or below 0. A "
            "worst tenth above 0 with a median below is usual.",
            Look(unit="none"),
            *(
                Query(
                    f"histogram_quantile({quantile}, sum by (le) "
                    f"(rate(alignfed_calibration_loss_change_bucket{{{F}}}[$__rate_interval]))) > -Inf",
                    legend,
                )
                for quantile, legend in ((0.5, "median"), (0.9, "worst tenth"))
            ),
        ),
    ],
)

LOST = Section(
    "What is not merged",
    [
        lines(
            "Candidates by outcome",
            "Per second. Good: only committed. Gated ones cost the work of a whole buffer.",
            Look(unit="ops", span=8, alert="AlignFedMergesGated"),
            Query(f"federation_outcome:alignfed_merges:rate5m{{{F}}}", "{{outcome}}"),
        ),
        lines(
            "Deltas rejected by the worker",
            "Accepted deltas that were then rejected, by reason, per second. Good: 0. DELTA_NORM_TOO_LARGE: an agent's "
            "learning rate or data are off. CANDIDATE_GATED: see above.",
            Look(unit="ops", span=8),
            Query(
                f"sum by (reason) (rate(alignfed_deltas_rejected_total{{{F}}}[$__rate_interval])) or vector(0)",
                "{{reason}}",
            ),
        ),
        lines(
            "Dead letters",
            "Deltas that were given up and wait for an operator. Good: 0.",
            Look(unit="none", span=8, warn=1, alert="AlignFedDeadLetters"),
            Query(f"max(alignfed_dead_letter_deltas{{{F}}}) or vector(0)", "waiting"),
            Query(
                f"sum(increase(alignfed_delta_redeliveries_total{{{F}}}[1h])) or vector(0)", "claimed again in an hour"
            ),
        ),
    ],
)

DRIFT = Section(
    "Drift between agents",
    [
        heat(
            "Agreement of deltas with their merge",
            "Cosine between a delta and the step its merge took; darker: more deltas. Good: a band above 0. A band "
            "that sinks: agents' data or learning rates pull apart.",
            Look(unit="none"),
            Query(
                f"sum by (le) (increase(alignfed_delta_agreement_cosine_ratio_bucket{{{F}}}[$__rate_interval]))",
                "{{le}}",
            ),
        ),
        lines(
            "Agreement over time",
            "Median and lowest tenth of the same cosine. Good: steady. A lowest tenth below 0: some agents pull "
            "against the fleet.",
            Look(unit="none"),
            *(
                Query(
                    f"histogram_quantile({quantile}, sum by (le) "
                    f"(rate(alignfed_delta_agreement_cosine_ratio_bucket{{{F}}}[$__rate_interval]))) > -Inf",
                    legend,
                )
                for quantile, legend in ((0.5, "median"), (0.1, "lowest tenth"))
            ),
        ),
        lines(
            "Norm of deltas over the bound",
            "Above 1 a delta is rejected by itself. Good: a median near 0.1, as the bound is ten times the usual "
            "norm. 0 while there is no bound yet.",
            Look(unit="none", span=8, bad=1, log=True),
            *(
                Query(
                    f"histogram_quantile({quantile}, sum by (le) "
                    f"(rate(alignfed_delta_norm_ratio_bucket{{{F}}}[$__rate_interval]))) >= 0 or vector(0)",
                    legend,
                )
                for quantile, legend in ((0.5, "median"), (0.99, "99 %"))
            ),
        ),
        lines(
            "Training loss of agents",
            "Loss of the last step. Only of agents that Prometheus scrapes. Good: falls over days; it jumps from row "
            "to row.",
            Look(unit="none", span=8, absent="no agent is scraped"),
            Query(f"avg(alignfed_agent_training_loss{{{F}}})", "mean"),
            Query(f"max(alignfed_agent_training_loss{{{F}}})", "highest"),
        ),
        lines(
            "Time per stage of a merge",
            "Mean seconds. Good: the sum is well below the time between versions; judging usually takes most.",
            Look(unit="s", span=8),
            Query(
                f"sum by (stage) (rate(alignfed_merge_duration_seconds_sum{{{F}}}[$__rate_interval]))"
                f" / (sum by (stage) (rate(alignfed_merge_duration_seconds_count{{{F}}}[$__rate_interval])) > 0)",
                "{{stage}}",
            ),
        ),
    ],
)

QUALITY = Board(
    name="quality",
    title="Quality",
    text="Does the adapter get better, what is thrown away, and do agents drift apart.",
    sections=[LOSS, LOST, DRIFT],
)
