"""Dashboard *Store and RPC*: do processes run, does the store keep up, how fast are calls answered."""

from __future__ import annotations

from deploy.grafana.boards import Board, Section
from deploy.grafana.panels import Look, Query, bars, lines, number, rows

F = 'federation="$federation"'

NOW = Section(
    "Now",
    [
        number(
            "Processes without the store",
            "Processes whose last look at the store failed. Good: 0.",
            Look(unit="none", span=6, height=5, bad=1, alert="AlignFedStoreDown"),
            Query("sum(1 - alignfed_store_connected)"),
        ),
        number(
            "Memory of the store",
            "Of its maxmemory. At 100 % it refuses writes. 0 where no limit is set, which leaves it to the machine's.",
            Look(unit="percentunit", span=6, height=5, warn=0.7, bad=0.8, alert="AlignFedStoreMemoryHigh"),
            Query("store:alignfed_memory_used:ratio or vector(0)"),
        ),
        number(
            "Coordinators and workers that are down",
            "Targets that Prometheus cannot scrape. Good: 0.",
            Look(unit="none", span=6, height=5, bad=1, alert="AlignFedTargetDown"),
            Query('sum(1 - up{job=~"alignfed-coordinator|alignfed-worker"})'),
        ),
        number(
            "Certificate expires in",
            "Of the coordinator whose certificate ends first. Good: more than 14 days.",
            Look(
                unit="s", span=6, height=5, warn=14 * 86400, bad=2 * 86400, falling=True, words=((-1, "no TLS"),),
                alert="AlignFedCertificateExpires",
            ),
            Query("min(alignfed_tls_certificate_expiry_timestamp_seconds - time()) or vector(-1)"),
        ),
    ],
)  # fmt: skip

STORE_CALLS = Section(
    "Store",
    [
        lines(
            "Memory",
            "Used, and the limit; a limit of 0 is none. Good: used follows the queue up and down. A slope: deltas "
            "pile up, or too many versions are retained.",
            Look(unit="bytes", span=8, alert="AlignFedStoreMemoryHigh"),
            Query("max(alignfed_store_memory_used_bytes)", "used"),
            Query("max(alignfed_store_memory_limit_bytes)", "limit"),
        ),
        lines(
            "Calls by operation",
            "Calls to the store per second, from all processes.",
            Look(unit="ops", span=8),
            Query("sum by (op) (rate(alignfed_store_command_duration_seconds_count[$__rate_interval]))", "{{op}}"),
        ),
        lines(
            "Slowest calls by operation",
            "99th percentile of five minutes. Good: below 30 ms on one network. All rising together: the store's "
            "machine or disk; one alone: large payloads.",
            Look(unit="s", span=8, log=True),
            Query("op:alignfed_store_command_duration_seconds:p99_5m", "{{op}}"),
        ),
    ],
)

CALLS = Section(
    "Calls of agents and operators",
    [
        lines(
            "Calls by method",
            "Per second, of all coordinators. Good: even; a surge of one method is agents that try again.",
            Look(unit="ops", span=8),
            Query("sum by (method) (rate(alignfed_rpc_server_duration_seconds_count[$__rate_interval]))", "{{method}}"),
        ),
        lines(
            "Calls that failed, by code",
            "Per second. Good: 0. UNAVAILABLE: store or overload; FAILED_PRECONDITION and INVALID_ARGUMENT: agents; "
            "INTERNAL: a fault of ours, see the log.",
            Look(unit="ops", span=8, alert="AlignFedUploadSloBurnsFast"),
            Query(
                'sum by (code) (rate(alignfed_rpc_server_duration_seconds_count{code!="OK"}[$__rate_interval]))'
                " or vector(0)",
                "{{code}}",
            ),
        ),
        lines(
            "Slowest calls by method",
            "99th percentile of five minutes. Long polls and watches last as long as agents want; uploads and "
            "downloads as long as their line takes.",
            Look(unit="s", span=8, log=True),
            Query("method:alignfed_rpc_server_duration_seconds:p99_5m", "{{method}}"),
        ),
        lines(
            "What polls take beyond their wait",
            "Of this federation. Good: 99 % below 0.25 s, which is what the objective `polls` promises.",
            Look(unit="s", span=8, bad=0.25, log=True, alert="AlignFedPollSloBurnsFast"),
            *(
                Query(
                    f"histogram_quantile({quantile}, sum by (le) "
                    f"(rate(alignfed_poll_overhead_seconds_bucket{{{F}}}[$__rate_interval]))) >= 0",
                    legend,
                )
                for quantile, legend in ((0.5, "median"), (0.99, "99 %"))
            ),
        ),
        lines(
            "Traffic",
            "Payload bytes of this federation per second: deltas in, adapters out. Out far above in: agents fetch each "
            "version for few deltas.",
            Look(unit="Bps", span=8),
            Query(f"sum(rate(alignfed_upload_bytes_total{{{F}}}[$__rate_interval]))", "deltas in"),
            Query(f"sum(rate(alignfed_download_bytes_total{{{F}}}[$__rate_interval]))", "adapters out"),
        ),
        lines(
            "Uploads being served",
            "Per coordinator, those in line not included. Good: below the limit on uploads at a time; at the limit "
            "agents are told to come back.",
            Look(unit="none", span=8, alert="AlignFedUploadSloBurnsFast"),
            Query("max by (instance) (alignfed_uploads_in_progress)", "{{instance}}"),
        ),
    ],
)

PROCESSES = Section(
    "Processes and the lease",
    [
        lines(
            "Lease",
            "Fencing token of the lease, and leases lost while held within an hour. Good: a flat token, nothing "
            "lost. A token that climbs: workers take it from each other, or restart.",
            Look(unit="none", span=8, alert="AlignFedNoWorkerLeads"),
            Query(f"max(alignfed_lease_epoch{{{F}}})", "token"),
            Query(f"sum(increase(alignfed_lease_lost_total{{{F}}}[1h])) or vector(0)", "lost"),
        ),
        lines(
            "Memory of processes",
            "Resident bytes. Coordinators stay below a few hundred MB whatever the deltas' size; workers hold the base "
            "model.",
            Look(unit="bytes", span=8),
            Query('process_resident_memory_bytes{job=~"alignfed-.*"}', "{{job}} {{instance}}"),
        ),
        lines(
            "Processor time of processes",
            "Cores in use. A coordinator near 1 is at its limit: add another. A worker uses what --threads allows as "
            "it merges.",
            Look(unit="none", span=8),
            Query('rate(process_cpu_seconds_total{job=~"alignfed-.*"}[$__rate_interval])', "{{job}} {{instance}}"),
        ),
        rows(
            "What runs where",
            "Component and version per process. Good: one version of each component, except while you upgrade.",
            Look(unit="none"),
            Query("max by (job, instance, component, version) (alignfed_build_info)"),
        ),
        bars(
            "Open files of processes",
            "Of the limit. Above 80 % a coordinator soon refuses connections: raise LimitNOFILE.",
            Look(unit="percentunit", warn=0.6, bad=0.8),
            Query('process_open_fds{job=~"alignfed-.*"} / process_max_fds{job=~"alignfed-.*"}', "{{job}} {{instance}}"),
        ),
    ],
)

STORE = Board(
    name="store",
    title="Store and RPC",
    text="Do processes run, does the store keep up, how fast are calls answered. Mostly of all federations together.",
    sections=[NOW, STORE_CALLS, CALLS, PROCESSES],
)
