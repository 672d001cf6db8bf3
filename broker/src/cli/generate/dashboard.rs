//! The dashboard, by the groups of panels that operators of Kafka know.

use serde_json::{Value, json};

/// A group of panels under a heading.
pub(super) struct Row {
    title: &'static str,
    pub(super) panels: &'static [Panel],
}

/// A chart.
pub(super) struct Panel {
    title: &'static str,
    /// Grafana's name of the unit.
    unit: &'static str,
    /// Queries with their legends.
    pub(super) queries: &'static [(&'static str, &'static str)],
}

const fn panel(
    title: &'static str,
    unit: &'static str,
    queries: &'static [(&'static str, &'static str)],
) -> Panel {
    Panel {
        title,
        unit,
        queries,
    }
}

/// Of every query: `$instance` is chosen above the charts.
pub(super) const ROWS: &[Row] = &[
    Row {
        title: "Health",
        panels: &[
            panel(
                "State (3 is running)",
                "none",
                &[(
                    "tidewheel_broker_state{instance=~\"$instance\"}",
                    "{{instance}}",
                )],
            ),
            panel(
                "Damaged partitions, offline directories",
                "none",
                &[
                    (
                        "tidewheel_partitions_damaged{instance=~\"$instance\"}",
                        "damaged {{instance}}",
                    ),
                    (
                        "sum by (instance) (tidewheel_log_dir_offline{instance=~\"$instance\"})",
                        "offline {{instance}}",
                    ),
                ],
            ),
            panel(
                "Free space",
                "bytes",
                &[
                    (
                        "tidewheel_disk_free_bytes{instance=~\"$instance\"}",
                        "free {{instance}} {{dir}}",
                    ),
                    (
                        "tidewheel_disk_total_bytes{instance=~\"$instance\"}",
                        "all {{instance}} {{dir}}",
                    ),
                ],
            ),
            panel(
                "Partitions still to recover",
                "none",
                &[(
                    "tidewheel_recovery_remaining_partitions{instance=~\"$instance\"}",
                    "{{instance}}",
                )],
            ),
        ],
    },
    Row {
        title: "Requests",
        panels: &[
            panel(
                "Requests",
                "reqps",
                &[(
                    "sum by (api) (rate(tidewheel_requests_total{instance=~\"$instance\"}[$__rate_interval]))",
                    "{{api}}",
                )],
            ),
            panel(
                "Errors",
                "reqps",
                &[(
                    "sum by (api, error) (rate(tidewheel_requests_total{instance=~\"$instance\",error!=\"NONE\"}[$__rate_interval]))",
                    "{{api}} {{error}}",
                )],
            ),
            panel(
                "Requests in flight",
                "none",
                &[(
                    "sum by (api) (tidewheel_requests_in_flight{instance=~\"$instance\"})",
                    "{{api}}",
                )],
            ),
            panel(
                "Sizes, mean",
                "bytes",
                &[
                    (
                        "sum by (api) (rate(tidewheel_request_size_bytes_sum{instance=~\"$instance\"}[$__rate_interval])) / sum by (api) (rate(tidewheel_request_size_bytes_count{instance=~\"$instance\"}[$__rate_interval]))",
                        "request {{api}}",
                    ),
                    (
                        "sum by (api) (rate(tidewheel_response_size_bytes_sum{instance=~\"$instance\"}[$__rate_interval])) / sum by (api) (rate(tidewheel_response_size_bytes_count{instance=~\"$instance\"}[$__rate_interval]))",
                        "answer {{api}}",
                    ),
                ],
            ),
        ],
    },
    Row {
        title: "Throughput",
        panels: &[
            panel(
                "Bytes in",
                "Bps",
                &[(
                    "sum by (topic) (rate(tidewheel_topic_bytes_in_total{instance=~\"$instance\"}[$__rate_interval]))",
                    "{{topic}}",
                )],
            ),
            panel(
                "Bytes out",
                "Bps",
                &[(
                    "sum by (topic) (rate(tidewheel_topic_bytes_out_total{instance=~\"$instance\"}[$__rate_interval]))",
                    "{{topic}}",
                )],
            ),
            panel(
                "Records in",
                "cps",
                &[(
                    "sum by (topic) (rate(tidewheel_topic_records_in_total{instance=~\"$instance\"}[$__rate_interval]))",
                    "{{topic}}",
                )],
            ),
            panel(
                "Errors by topic",
                "cps",
                &[
                    (
                        "sum by (topic, error) (rate(tidewheel_topic_produce_errors_total{instance=~\"$instance\"}[$__rate_interval]))",
                        "produce {{topic}} {{error}}",
                    ),
                    (
                        "sum by (topic, error) (rate(tidewheel_topic_fetch_errors_total{instance=~\"$instance\"}[$__rate_interval]))",
                        "fetch {{topic}} {{error}}",
                    ),
                ],
            ),
        ],
    },
    Row {
        title: "Producers",
        panels: &[
            panel(
                "Produce, 99th percentile by phase",
                "s",
                &[(
                    "histogram_quantile(0.99, sum by (phase, le) (rate(tidewheel_request_duration_seconds_bucket{instance=~\"$instance\",api=\"Produce\"}[$__rate_interval])))",
                    "{{phase}}",
                )],
            ),
            panel(
                "Syncs",
                "s",
                &[
                    (
                        "histogram_quantile(0.5, sum by (le) (rate(tidewheel_log_flush_duration_seconds_bucket{instance=~\"$instance\"}[$__rate_interval])))",
                        "median",
                    ),
                    (
                        "histogram_quantile(0.99, sum by (le) (rate(tidewheel_log_flush_duration_seconds_bucket{instance=~\"$instance\"}[$__rate_interval])))",
                        "99th percentile",
                    ),
                ],
            ),
            panel(
                "Appends to the page cache, 99th percentile",
                "s",
                &[(
                    "histogram_quantile(0.99, sum by (le) (rate(tidewheel_log_append_duration_seconds_bucket{instance=~\"$instance\"}[$__rate_interval])))",
                    "append",
                )],
            ),
            panel(
                "Bytes not synced yet",
                "bytes",
                &[(
                    "tidewheel_log_unflushed_bytes{instance=~\"$instance\"}",
                    "{{instance}}",
                )],
            ),
        ],
    },
    Row {
        title: "Consumers",
        panels: &[
            panel(
                "Fetch, 99th percentile by phase",
                "s",
                &[(
                    "histogram_quantile(0.99, sum by (phase, le) (rate(tidewheel_request_duration_seconds_bucket{instance=~\"$instance\",api=\"Fetch\"}[$__rate_interval])))",
                    "{{phase}}",
                )],
            ),
            panel(
                "Lag in records",
                "none",
                &[(
                    "topk(20, sum by (group) (tidewheel_group_lag_sum{instance=~\"$instance\"}))",
                    "{{group}}",
                )],
            ),
            panel(
                "Lag in time",
                "s",
                &[(
                    "topk(20, max by (group) (tidewheel_group_lag_seconds_max{instance=~\"$instance\"}))",
                    "{{group}}",
                )],
            ),
            panel(
                "Members and rebalances",
                "none",
                &[
                    (
                        "sum by (group) (tidewheel_group_members{instance=~\"$instance\"})",
                        "members {{group}}",
                    ),
                    (
                        "sum by (group) (increase(tidewheel_group_rebalances_total{instance=~\"$instance\"}[$__rate_interval])) > 0",
                        "rebalances {{group}}",
                    ),
                ],
            ),
        ],
    },
    Row {
        title: "Logs",
        panels: &[
            panel(
                "Size by topic",
                "bytes",
                &[(
                    "sum by (topic) (tidewheel_topic_size_bytes{instance=~\"$instance\"})",
                    "{{topic}}",
                )],
            ),
            panel(
                "Segments deleted",
                "cps",
                &[(
                    "sum by (reason) (rate(tidewheel_log_segments_deleted_total{instance=~\"$instance\"}[$__rate_interval]))",
                    "{{reason}}",
                )],
            ),
            panel(
                "Compaction",
                "Bps",
                &[
                    (
                        "sum(rate(tidewheel_log_compaction_read_bytes_total{instance=~\"$instance\"}[$__rate_interval]))",
                        "read",
                    ),
                    (
                        "sum(rate(tidewheel_log_compaction_kept_bytes_total{instance=~\"$instance\"}[$__rate_interval]))",
                        "kept",
                    ),
                ],
            ),
            panel(
                "Open files and maps of logs",
                "none",
                &[
                    (
                        "tidewheel_log_open_files{instance=~\"$instance\"}",
                        "files {{instance}}",
                    ),
                    (
                        "tidewheel_log_open_maps{instance=~\"$instance\"}",
                        "maps {{instance}}",
                    ),
                ],
            ),
        ],
    },
    Row {
        title: "Delayed records",
        panels: &[
            panel(
                "Pending",
                "none",
                &[(
                    "sum by (topic) (tidewheel_delayed_pending{instance=~\"$instance\"})",
                    "{{topic}}",
                )],
            ),
            panel(
                "Taken, delivered, cancelled, expired and lost",
                "cps",
                &[
                    (
                        "sum(rate(tidewheel_delayed_accepted_total{instance=~\"$instance\"}[$__rate_interval]))",
                        "taken",
                    ),
                    (
                        "sum(rate(tidewheel_delayed_delivered_total{instance=~\"$instance\"}[$__rate_interval]))",
                        "delivered",
                    ),
                    (
                        "sum(rate(tidewheel_delayed_cancelled_total{instance=~\"$instance\"}[$__rate_interval]))",
                        "cancelled",
                    ),
                    (
                        "sum(rate(tidewheel_delayed_expired_total{instance=~\"$instance\"}[$__rate_interval]))",
                        "expired",
                    ),
                    (
                        "sum(rate(tidewheel_delayed_lost_total{instance=~\"$instance\"}[$__rate_interval]))",
                        "lost",
                    ),
                ],
            ),
            panel(
                "Late by, 99th percentile",
                "s",
                &[(
                    "histogram_quantile(0.99, sum by (le) (rate(tidewheel_delayed_delivery_lateness_seconds_bucket{instance=~\"$instance\"}[$__rate_interval])))",
                    "late",
                )],
            ),
            panel(
                "Due and not delivered",
                "s",
                &[
                    (
                        "tidewheel_delayed_oldest_overdue_seconds{instance=~\"$instance\"}",
                        "oldest {{instance}}",
                    ),
                    (
                        "tidewheel_delayed_clock_held{instance=~\"$instance\"}",
                        "held by the clock {{instance}}",
                    ),
                ],
            ),
        ],
    },
    Row {
        title: "Fetch sessions",
        panels: &[
            panel(
                "Sessions",
                "none",
                &[(
                    "tidewheel_fetch_sessions{instance=~\"$instance\"}",
                    "{{instance}}",
                )],
            ),
            panel(
                "Partitions in sessions",
                "none",
                &[(
                    "tidewheel_fetch_session_partitions{instance=~\"$instance\"}",
                    "{{instance}}",
                )],
            ),
            panel(
                "Evicted",
                "cps",
                &[(
                    "rate(tidewheel_fetch_session_evictions_total{instance=~\"$instance\"}[$__rate_interval])",
                    "{{instance}}",
                )],
            ),
        ],
    },
    Row {
        title: "Connections",
        panels: &[
            panel(
                "Connections",
                "none",
                &[(
                    "sum by (listener) (tidewheel_connections{instance=~\"$instance\"})",
                    "{{listener}}",
                )],
            ),
            panel(
                "Opened",
                "cps",
                &[(
                    "sum(rate(tidewheel_connections_accepted_total{instance=~\"$instance\"}[$__rate_interval]))",
                    "opened",
                )],
            ),
            panel(
                "Closed",
                "cps",
                &[(
                    "sum by (reason) (rate(tidewheel_connections_closed_total{instance=~\"$instance\"}[$__rate_interval]))",
                    "{{reason}}",
                )],
            ),
            panel(
                "Refused and asked to wait",
                "none",
                &[
                    (
                        "sum by (mechanism) (rate(tidewheel_auth_failures_total{instance=~\"$instance\"}[$__rate_interval]))",
                        "wrong {{mechanism}} a second",
                    ),
                    (
                        "sum by (kind) (rate(tidewheel_throttle_seconds_total{instance=~\"$instance\"}[$__rate_interval]))",
                        "seconds to wait a second: {{kind}}",
                    ),
                ],
            ),
            panel(
                "Memory left for requests and answers",
                "bytes",
                &[(
                    "min by (pool) (tidewheel_memory_pool_free_bytes{instance=~\"$instance\"})",
                    "{{pool}}",
                )],
            ),
        ],
    },
    Row {
        title: "System",
        panels: &[
            panel(
                "Processor",
                "percentunit",
                &[
                    (
                        "rate(process_cpu_seconds_total{instance=~\"$instance\"}[$__rate_interval]) and on (instance, job) tidewheel_build_info",
                        "process {{instance}}",
                    ),
                    (
                        "rate(tidewheel_runtime_busy_seconds_total{instance=~\"$instance\"}[$__rate_interval]) / tidewheel_runtime_workers",
                        "workers {{instance}}",
                    ),
                ],
            ),
            panel(
                "Memory",
                "bytes",
                &[
                    (
                        "tidewheel_process_anonymous_memory_bytes{instance=~\"$instance\"}",
                        "own {{instance}}",
                    ),
                    (
                        "process_resident_memory_bytes{instance=~\"$instance\"} and on (instance, job) tidewheel_build_info",
                        "with mapped files {{instance}}",
                    ),
                ],
            ),
            panel(
                "Descriptors",
                "none",
                &[
                    (
                        "process_open_fds{instance=~\"$instance\"} and on (instance, job) tidewheel_build_info",
                        "open {{instance}}",
                    ),
                    (
                        "process_max_fds{instance=~\"$instance\"} and on (instance, job) tidewheel_build_info",
                        "allowed {{instance}}",
                    ),
                ],
            ),
            panel(
                "Tasks that wait for a worker",
                "none",
                &[(
                    "tidewheel_runtime_global_queue_depth{instance=~\"$instance\"}",
                    "{{instance}}",
                )],
            ),
        ],
    },
];

/// Where Grafana finds the data: chosen when the dashboard is imported.
fn source() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}

/// The dashboard as Grafana imports it.
pub(super) fn dashboard() -> Value {
    json!({
        "uid": "tidewheel",
        "title": "Tidewheel",
        "tags": ["tidewheel", "kafka"],
        "schemaVersion": 39,
        "editable": true,
        "refresh": "30s",
        "time": { "from": "now-1h", "to": "now" },
        "templating": { "list": [
            {
                "name": "datasource",
                "label": "Data source",
                "type": "datasource",
                "query": "prometheus"
            },
            {
                "name": "instance",
                "label": "Broker",
                "type": "query",
                "datasource": source(),
                "query": "label_values(tidewheel_build_info, instance)",
                "refresh": 2,
                "multi": true,
                "includeAll": true,
                "allValue": ".*",
                "current": { "text": "All", "value": "$__all" }
            }
        ] },
        "panels": panels()
    })
}

/// Two panels in a line, below the heading of their row.
fn panels() -> Vec<Value> {
    const WIDTH: usize = 12;
    const HEIGHT: usize = 8;
    let mut panels = Vec::new();
    let mut y = 0;
    for row in ROWS {
        panels.push(json!({
            "id": panels.len() + 1,
            "type": "row",
            "title": row.title,
            "collapsed": false,
            "panels": [],
            "gridPos": { "x": 0, "y": y, "w": 2 * WIDTH, "h": 1 }
        }));
        y += 1;
        for (at, panel) in row.panels.iter().enumerate() {
            let place = json!({
                "x": at % 2 * WIDTH, "y": y + at / 2 * HEIGHT, "w": WIDTH, "h": HEIGHT
            });
            panels.push(chart(panels.len() + 1, panel, &place));
        }
        y += row.panels.len().div_ceil(2) * HEIGHT;
    }
    panels
}

fn chart(id: usize, panel: &Panel, place: &Value) -> Value {
    let target = |(at, (query, legend)): (u8, &(&str, &str))| {
        json!({
            "refId": char::from(b'A' + at).to_string(),
            "datasource": source(),
            "expr": query,
            "legendFormat": legend
        })
    };
    let targets: Vec<Value> = (0..).zip(panel.queries).map(target).collect();
    json!({
        "id": id,
        "type": "timeseries",
        "title": panel.title,
        "datasource": source(),
        "gridPos": place,
        "fieldConfig": {
            "defaults": { "unit": panel.unit, "min": 0, "custom": { "showPoints": "never" } },
            "overrides": []
        },
        "options": {
            "legend": { "displayMode": "list", "placement": "bottom", "showLegend": true },
            "tooltip": { "mode": "multi", "sort": "desc" }
        },
        "targets": targets
    })
}
