use std::path::Path;

use bytes::Bytes;
use tidewheel_protocol::messages::fetch::{FetchPartition, FetchRequest, FetchTopic};
use tidewheel_protocol::messages::produce::{
    PartitionProduceData, ProduceRequest, TopicProduceData,
};
use tidewheel_protocol::{Message, RecordBatchBuilder, StrBytes};

use super::families::{FAMILIES, Family, KAFKA_EXPORTER_FAMILIES};
use super::*;
use crate::api::{Answer, Reply, dispatch};
use crate::broker::{NewPartitions, NewTopic, create_partitions, create_topics};
use crate::clock;
use crate::groups::find_groups;
use crate::partition::Acks;
use crate::testing::{self, commit};

async fn scraped(broker: &Arc<Broker>, page: MetricsPage) -> String {
    let text = scrape(
        broker,
        Stage::RUNNING,
        page,
        MetricsFormat::Classic,
        Vec::new(),
    )
    .await;
    text.expect("nobody else scrapes")
}

fn assert_has(text: &str, lines: &[&str]) {
    for line in lines {
        let has = text.lines().any(|other| other == *line);
        assert!(has, "{line} is missing in\n{text}");
    }
}

/// What Prometheus' own tool finds wrong with the text; where there is none that is said.
fn promtool_says(text: &str) -> Vec<String> {
    use std::io::Write;
    use std::process::{Command, Stdio};
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]).stdin(Stdio::piped());
    let mut promtool = match promtool.stderr(Stdio::piped()).spawn() {
        Ok(promtool) => promtool,
        Err(error) => {
            let is_required = std::env::var("CI").is_ok_and(|ci| ci == "true");
            assert!(!is_required, "promtool of the package prometheus: {error}");
            println!("ignored: promtool of the package prometheus: {error}");
            return Vec::new();
        }
    };
    let mut stdin = promtool.stdin.take().unwrap();
    stdin.write_all(text.as_bytes()).unwrap();
    drop(stdin);
    let said = promtool.wait_with_output().unwrap().stderr;
    let said = String::from_utf8(said).unwrap();
    said.lines().map(str::to_owned).collect()
}

/// Asks and waits for the answer.
async fn asked<Q: Message>(broker: &Arc<Broker>, version: i16, request: &Q) -> Answer {
    let reply = dispatch(testing::call(broker, version, request)).await;
    match reply.unwrap() {
        Reply::Now(answer) => answer,
        Reply::Started(answer)
        | Reply::Alone(answer)
        | Reply::Later(answer)
        | Reply::Barrier(answer) => answer.await,
    }
}

/// A batch whose records were written so long ago.
fn batch(records: i64, age_ms: i64) -> Bytes {
    let at = clock::now_ms() - age_ms;
    let builder = (0..records).fold(RecordBatchBuilder::new(), |builder, _| {
        builder.record(at, None, Some(b"value"))
    });
    builder.build().unwrap().bytes
}

async fn produce(broker: &Arc<Broker>, topic: &str, index: i32, records: Bytes) {
    let request = ProduceRequest {
        acks: 1,
        timeout_ms: 1_000,
        topic_data: vec![TopicProduceData {
            name: StrBytes::from(topic),
            partition_data: vec![PartitionProduceData {
                index,
                records: Some(records),
            }],
            ..TopicProduceData::default()
        }],
        ..ProduceRequest::default()
    };
    asked(broker, 9, &request).await;
}

async fn fetch(broker: &Arc<Broker>, topic: &str, offset: i64) {
    let request = FetchRequest {
        max_bytes: 1 << 20,
        session_epoch: -1,
        topics: vec![FetchTopic {
            topic: StrBytes::from(topic),
            partitions: vec![FetchPartition {
                partition: 0,
                fetch_offset: offset,
                partition_max_bytes: 1 << 20,
                ..FetchPartition::default()
            }],
            ..FetchTopic::default()
        }],
        ..FetchRequest::default()
    };
    asked(broker, 12, &request).await;
}

#[tokio::test]
async fn a_scrape_tells_what_clients_did() {
    let dir = tempfile::tempdir().unwrap();
    let broker = testing::broker(dir.path(), &[]);
    testing::create_topic(&broker, "orders", 2).await;
    let records = batch(3, 0);
    let bytes = records.len();
    produce(&broker, "orders", 0, records.clone()).await;
    produce(&broker, "orders", 0, Bytes::from_static(b"no batch")).await;
    produce(&broker, "orders", 7, records).await;
    fetch(&broker, "orders", 0).await;
    fetch(&broker, "orders", 99).await;
    let text = scraped(&broker, MetricsPage::Default).await;
    let bytes_in = format!("tidewheel_topic_bytes_in_total{{topic=\"orders\"}} {bytes}");
    let bytes_out = format!("tidewheel_topic_bytes_out_total{{topic=\"orders\"}} {bytes}");
    let size =
        format!("tidewheel_partition_size_bytes{{topic=\"orders\",partition=\"0\"}} {bytes}");
    assert_has(
        &text,
        &[
            "tidewheel_broker_state 3",
            "tidewheel_requests_total{api=\"Produce\",version=\"9\",error=\"NONE\"} 1",
            "tidewheel_requests_total{api=\"Produce\",version=\"9\",error=\"CORRUPT_MESSAGE\"} 1",
            "tidewheel_requests_total{api=\"Produce\",version=\"9\",error=\"UNKNOWN_TOPIC_OR_PARTITION\"} 1",
            "tidewheel_requests_total{api=\"Fetch\",version=\"12\",error=\"NONE\"} 1",
            "tidewheel_requests_total{api=\"Fetch\",version=\"12\",error=\"OFFSET_OUT_OF_RANGE\"} 1",
            "tidewheel_topic_records_in_total{topic=\"orders\"} 3",
            "tidewheel_topic_produce_errors_total{topic=\"orders\",error=\"CORRUPT_MESSAGE\"} 1",
            "tidewheel_topic_produce_errors_total{topic=\"orders\",error=\"UNKNOWN_TOPIC_OR_PARTITION\"} 1",
            "tidewheel_topic_fetch_errors_total{topic=\"orders\",error=\"OFFSET_OUT_OF_RANGE\"} 1",
            "tidewheel_topic_partitions{topic=\"orders\"} 2",
            "tidewheel_partition_high_watermark{topic=\"orders\",partition=\"0\"} 3",
            "tidewheel_partition_log_end_offset{topic=\"orders\",partition=\"0\"} 3",
            "tidewheel_partition_log_start_offset{topic=\"orders\",partition=\"0\"} 0",
            "tidewheel_partition_segments{topic=\"orders\",partition=\"1\"} 1",
            "tidewheel_partitions 2",
            "tidewheel_partitions_damaged 0",
            "tidewheel_log_append_duration_seconds_count 2",
            "tidewheel_groups 0",
            "tidewheel_delayed_overdue 0",
            "tidewheel_delayed_accepted_total 0",
            "tidewheel_delayed_clock_held 0",
            "tidewheel_delayed_rejected_total{reason=\"time\"} 0",
            "tidewheel_delayed_near_entries 0",
            "tidewheel_fetch_sessions 0",
            "tidewheel_throttle_seconds_total{kind=\"delayed_pending\"} 0",
            "tidewheel_metrics_omitted{of=\"partitions\"} 0",
            &bytes_in,
            &bytes_out,
            &size,
        ],
    );
    assert!(
        text.contains("\ntidewheel_disk_free_bytes{dir=\""),
        "{text}"
    );
    assert!(
        !text.contains("auth_failures_total{"),
        "nobody wants tokens"
    );
    // Two of its names are against the rules.
    let mut said = promtool_says(&text);
    said.retain(|line| !line.contains("should not have \"_sum\" suffix"));
    assert_eq!(said, Vec::<String>::new());
}

#[tokio::test]
async fn how_long_producers_were_asked_to_wait_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let broker = testing::broker(dir.path(), &[]);
    let mut topic = NewTopic::with_defaults("later", broker.config());
    for (name, value) in [("delay.mode", "both"), ("delay.max.pending.records", "10")] {
        let value = Some(value.to_owned());
        topic.configs.push((name.to_owned(), value));
    }
    let made = create_topics(&broker, vec![topic], false, limits::METADATA_CHANGE_WAIT).await;
    assert!(made.iter().all(Result::is_ok), "{made:?}");
    let waited = async || {
        let text = scraped(&broker, MetricsPage::Default).await;
        let prefix = "tidewheel_throttle_seconds_total{kind=\"delayed_pending\"} ";
        let value = text.lines().find_map(|line| line.strip_prefix(prefix));
        value.unwrap().parse::<f64>().unwrap()
    };
    // Half a second at nine tenths of what may be pending, a second where it is full.
    for (records, expected) in [(8, 0.0), (1, 0.5), (1, 1.5)] {
        produce(&broker, "later", 0, batch(records, -3_600_000)).await;
        assert!((waited().await - expected).abs() < 1e-9, "{expected}");
    }
}

#[tokio::test]
async fn the_lag_of_groups_is_told_in_records_and_seconds() {
    let dir = tempfile::tempdir().unwrap();
    let broker = testing::broker(dir.path(), &["offsets.topic.num.partitions=3"]);
    testing::create_topic(&broker, "orders", 3).await;
    find_groups(&broker).await.unwrap();
    let hour_ms = 3_600_000;
    produce(&broker, "orders", 0, batch(10, hour_ms)).await;
    produce(&broker, "orders", 1, batch(2, 0)).await;
    commit(&broker, "slow", "orders", &[4, 1, 0]);
    commit(&broker, "done", "orders", &[10, 2]);
    commit(&broker, "beyond", "gone", &[5]);
    let text = scraped(&broker, MetricsPage::Default).await;
    assert_has(
        &text,
        &[
            "tidewheel_groups 3",
            "tidewheel_group_members{group=\"slow\"} 0",
            "tidewheel_group_state{group=\"slow\",state=\"Empty\"} 1",
            "tidewheel_group_lag_max{group=\"slow\"} 6",
            "tidewheel_group_lag_sum{group=\"slow\"} 7",
            "tidewheel_group_lag{group=\"slow\",topic=\"orders\",partition=\"2\"} 0",
            "tidewheel_group_lag_sum{group=\"done\"} 0",
            "tidewheel_group_lag_seconds_max{group=\"done\"} 0",
            "tidewheel_group_lag_sum{group=\"beyond\"} 0",
        ],
    );
    let age = |text: &str| -> f64 {
        let prefix = "tidewheel_group_lag_seconds_max{group=\"slow\"} ";
        let value = text.lines().find_map(|line| line.strip_prefix(prefix));
        value.unwrap().parse().unwrap()
    };
    let first = age(&text);
    assert!((3_600.0..3_900.0).contains(&first), "{first}");
    // Where nobody may look at records, what is known is told all the same.
    let _turn = broker.try_look_up().unwrap();
    commit(&broker, "slow", "orders", &[5]);
    let later = age(&scraped(&broker, MetricsPage::Default).await);
    assert!(later >= first, "{later}");
    commit(&broker, "new", "orders", &[0]);
    let text = scraped(&broker, MetricsPage::Default).await;
    assert_has(&text, &["tidewheel_group_lag_sum{group=\"new\"} 10"]);
    assert!(
        !text.contains("lag_seconds_max{group=\"new\"}"),
        "not known: {text}"
    );
}

#[tokio::test]
async fn the_page_for_kafka_exporters_dashboards_has_its_names_and_values() {
    let dir = tempfile::tempdir().unwrap();
    let broker = testing::broker(dir.path(), &["offsets.topic.num.partitions=1"]);
    testing::create_topic(&broker, "orders", 2).await;
    find_groups(&broker).await.unwrap();
    produce(&broker, "orders", 0, batch(10, 0)).await;
    commit(&broker, "billing", "orders", &[4]);
    let text = scraped(&broker, MetricsPage::KafkaExporter).await;
    assert_has(
        &text,
        &[
            "kafka_brokers 1",
            "kafka_broker_info{id=\"1\",address=\"localhost:1\"} 1",
            "kafka_topic_partitions{topic=\"orders\"} 2",
            "kafka_topic_partitions{topic=\"__consumer_offsets\"} 1",
            "kafka_topic_partition_current_offset{topic=\"orders\",partition=\"0\"} 10",
            "kafka_topic_partition_oldest_offset{topic=\"orders\",partition=\"0\"} 0",
            "kafka_topic_partition_leader{topic=\"orders\",partition=\"1\"} 1",
            "kafka_topic_partition_leader_is_preferred{topic=\"orders\",partition=\"1\"} 1",
            "kafka_topic_partition_replicas{topic=\"orders\",partition=\"1\"} 1",
            "kafka_topic_partition_in_sync_replica{topic=\"orders\",partition=\"1\"} 1",
            "kafka_topic_partition_under_replicated_partition{topic=\"orders\",partition=\"1\"} 0",
            "kafka_consumergroup_members{consumergroup=\"billing\"} 0",
            "kafka_consumergroup_current_offset{consumergroup=\"billing\",topic=\"orders\",partition=\"0\"} 4",
            // As kafka_exporter has it: a topic is there as a whole where a group has committed anything in it.
            "kafka_consumergroup_current_offset{consumergroup=\"billing\",topic=\"orders\",partition=\"1\"} -1",
            "kafka_consumergroup_current_offset_sum{consumergroup=\"billing\",topic=\"orders\"} 3",
            "kafka_consumergroup_lag{consumergroup=\"billing\",topic=\"orders\",partition=\"0\"} 6",
            "kafka_consumergroup_lag{consumergroup=\"billing\",topic=\"orders\",partition=\"1\"} -1",
            "kafka_consumergroup_lag_sum{consumergroup=\"billing\",topic=\"orders\"} 6",
        ],
    );
    // Offsets may be any numbers.
    commit(&broker, "wild", "orders", &[i64::MIN, i64::MAX]);
    commit(&broker, "wilder", "orders", &[i64::MAX, i64::MAX]);
    let wild = scraped(&broker, MetricsPage::KafkaExporter).await;
    let lag = format!(
        "kafka_consumergroup_lag{{consumergroup=\"wild\",topic=\"orders\",partition=\"0\"}} {}",
        i64::MAX
    );
    assert_has(&wild, &[&lag]);
    scraped(&broker, MetricsPage::Detailed).await;
    assert!(!text.contains("tidewheel_"), "{text}");
    // Two of its names are against the rules.
    let mut said = promtool_says(&text);
    said.retain(|line| !line.contains("should not have \"_sum\" suffix"));
    assert_eq!(said, Vec::<String>::new());
    let told: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .collect();
    assert_eq!(told.len(), KAFKA_EXPORTER_FAMILIES.len());
}

/// 10,000 partitions and 1,000 groups that have each read ten of them.
async fn large(dir: &Path) -> Arc<Broker> {
    let broker = testing::broker(dir, &["tidewheel.max.partitions=20000"]);
    let topic = |at: usize| NewTopic {
        partitions: 10,
        ..NewTopic::with_defaults(&format!("a-topic-named-{at:04}"), broker.config())
    };
    let topics = (0..1_000).map(topic).collect();
    let made = create_topics(&broker, topics, false, limits::METADATA_CHANGE_WAIT).await;
    assert!(made.iter().all(Result::is_ok));
    find_groups(&broker).await.unwrap();
    for at in 0..1_000 {
        let topic = format!("a-topic-named-{at:04}");
        commit(&broker, &format!("group-{at:04}"), &topic, &[0; 10]);
    }
    broker
}

#[tokio::test]
async fn a_scrape_of_many_partitions_and_groups_stays_small() {
    let dir = tempfile::tempdir().unwrap();
    let broker = large(dir.path()).await;
    // With what clients that ask for everything add.
    for at in 0..600 {
        let topic = format!("a-topic-named-{at:04}");
        produce(&broker, &topic, 7_000, Bytes::new()).await;
        fetch(&broker, &topic, 99).await;
    }
    // Every API was asked for, with and without an error.
    let meter = broker.metrics().meter();
    for api in crate::api::APIS {
        let now = clock::instant();
        let timer = meter.begin(api.key.code(), 100, now).unwrap();
        timer.finish(Left {
            turn: now,
            answered: now,
            written: now,
            bytes: 100,
        });
        for version in 0..3 {
            meter.answered(api.key, version, 0);
            meter.answered(api.key, version, 3);
        }
    }
    let text = scraped(&broker, MetricsPage::Default).await;
    assert!(text.len() < 1024 * 1024, "{} bytes", text.len());
    assert_has(
        &text,
        &[
            "tidewheel_partitions 10050",
            "tidewheel_groups 1000",
            "tidewheel_group_lag_sum{group=\"group-0999\"} 0",
            "tidewheel_metrics_omitted{of=\"partitions\"} 10050",
            "tidewheel_metrics_omitted{of=\"groups\"} 0",
            "tidewheel_metrics_omitted{of=\"group_partitions\"} 10000",
        ],
    );
    assert!(
        !text.contains("partition=\""),
        "no series for each partition"
    );
    let detailed = scraped(&broker, MetricsPage::Detailed).await;
    assert_has(
        &detailed,
        &[
            "tidewheel_partition_segments{topic=\"a-topic-named-0999\",partition=\"9\"} 1",
            "tidewheel_group_lag{group=\"group-0999\",topic=\"a-topic-named-0999\",partition=\"9\"} 0",
            "tidewheel_metrics_omitted{of=\"partitions\"} 0",
        ],
    );
}

#[tokio::test]
async fn scrapes_take_turns_and_one_that_hangs_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let broker = testing::broker(dir.path(), &[]);
    let turn = Arc::clone(&broker.metrics().scrapes).try_acquire_owned();
    tokio::time::pause();
    let scraped = scrape(
        &broker,
        Stage::RUNNING,
        MetricsPage::Default,
        MetricsFormat::Classic,
        Vec::new(),
    )
    .await;
    assert_eq!(scraped, None);
    drop(turn);
    tokio::time::resume();
    assert!(
        scrape(
            &broker,
            Stage::RUNNING,
            MetricsPage::Default,
            MetricsFormat::Classic,
            Vec::new(),
        )
        .await
        .is_some()
    );
}

#[tokio::test]
async fn groups_with_members_or_lag_come_before_names_that_others_make() {
    let dir = tempfile::tempdir().unwrap();
    let broker = testing::broker(dir.path(), &["offsets.topic.num.partitions=1"]);
    testing::create_topic(&broker, "orders", 1).await;
    find_groups(&broker).await.unwrap();
    produce(&broker, "orders", 0, batch(2, 0)).await;
    let count = limits::METRICS_GROUPS_BYTES / limits::METRICS_SERIES_BYTES;
    for at in 0..count {
        commit(&broker, &format!("!{at}"), "orders", &[2]);
    }
    commit(&broker, &"!".repeat(1_000), "orders", &[0]);
    commit(&broker, "zebra", "orders", &[0]);
    let text = scraped(&broker, MetricsPage::Default).await;
    assert_has(&text, &["tidewheel_group_lag_sum{group=\"zebra\"} 2"]);
    assert!(!text.contains("!!!!"), "a name that takes the room of many");
    assert!(!text.contains("tidewheel_metrics_omitted{of=\"groups\"} 0"));
    let detailed = scraped(&broker, MetricsPage::Detailed).await;
    assert!(detailed.contains("!!!!"));
}

#[tokio::test]
async fn partitions_that_are_added_are_counted_with_the_others_of_their_topic() {
    let dir = tempfile::tempdir().unwrap();
    let broker = testing::broker(dir.path(), &[]);
    let taken = fill_names(&broker);
    testing::create_topic(&broker, "late", 1).await;
    drop(taken);
    let wanted = NewPartitions {
        topic: "late".to_owned(),
        count: 2,
        assignments: None,
    };
    let wait = limits::METADATA_CHANGE_WAIT;
    let grown = create_partitions(&broker, vec![wanted], false, wait).await;
    assert!(grown.iter().all(Result::is_ok), "{grown:?}");
    produce(&broker, "late", 1, batch(3, 0)).await;
    let text = scraped(&broker, MetricsPage::Default).await;
    assert_has(
        &text,
        &["tidewheel_topic_records_in_total{topic=\"<others>\"} 3"],
    );
}

/// Takes all the room that names of topics have.
fn fill_names(broker: &Broker) -> Vec<Arc<TopicTraffic>> {
    let room = limits::METRICS_TOPICS_BYTES / limits::METRICS_SERIES_BYTES;
    let names = (0..room).map(|at| Arc::from(format!("t{at}")));
    names
        .map(|name| broker.metrics().traffic().of(&name))
        .collect()
}

#[tokio::test]
async fn delayed_records_of_topics_without_series_of_their_own_are_told_together() {
    let dir = tempfile::tempdir().unwrap();
    let broker = testing::broker(dir.path(), &[]);
    let create = async |name: &str| {
        let mut topic = NewTopic::with_defaults(name, broker.config());
        let mode = Some("timestamp".to_owned());
        topic.configs.push(("delay.mode".to_owned(), mode));
        let made = create_topics(&broker, vec![topic], false, limits::METADATA_CHANGE_WAIT).await;
        assert!(made.iter().all(Result::is_ok), "{made:?}");
    };
    create("early").await;
    let taken = fill_names(&broker);
    create("late").await;
    create("later").await;
    drop(taken);
    for name in ["early", "late", "later"] {
        let topics = broker.topics();
        let place = (&**topics.named(name).unwrap(), 0);
        let now_ms = clock::now_ms();
        // It is due in an hour.
        let records = batch(2, -3_600_000);
        let begun =
            crate::delays::produce(&broker, place, records, Acks::All, true, now_ms).unwrap();
        drop(begun);
    }
    let topics = broker.topics();
    let place = (&**topics.named("early").unwrap(), 0);
    // Before 1970.
    let now_ms = clock::now_ms();
    let records = batch(1, now_ms + 60_000);
    let refused = crate::delays::produce(&broker, place, records, Acks::All, true, now_ms);
    assert!(refused.is_err());
    let text = scraped(&broker, MetricsPage::Default).await;
    assert_has(
        &text,
        &[
            "tidewheel_delayed_pending{topic=\"early\"} 2",
            "tidewheel_delayed_pending{topic=\"<others>\"} 4",
            "tidewheel_delayed_accepted_total 6",
            "tidewheel_delayed_oldest_overdue_seconds 0",
            "tidewheel_delayed_rejected_total{reason=\"time\"} 1",
            "tidewheel_delayed_rejected_total{reason=\"limits\"} 0",
            "tidewheel_delayed_near_entries 0",
            "tidewheel_delayed_promoted_total 0",
        ],
    );
    assert!(!text.contains("tidewheel_delayed_spill_lag_bytes 0\n"));
    assert!(!text.contains("pending{topic=\"late"), "{text}");
    broker.metrics().delayed().delivered(1_000, 1_700);
    let text = scraped(&broker, MetricsPage::Default).await;
    assert_has(
        &text,
        &[
            "tidewheel_delayed_delivery_lateness_seconds_bucket{le=\"0.5\"} 0",
            "tidewheel_delayed_delivery_lateness_seconds_bucket{le=\"1.0\"} 1",
            "tidewheel_delayed_delivery_lateness_seconds_sum 0.7",
        ],
    );
    let mut said = promtool_says(&text);
    said.retain(|line| !line.contains("should not have \"_sum\" suffix"));
    assert_eq!(said, Vec::<String>::new());
}

/// The rows `| family | type | labels | meaning |` of the page.
#[test]
fn the_page_about_metrics_lists_all_of_them() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let page = std::fs::read_to_string(page).unwrap();
    let row = |family: &&Family| {
        let labels = family.labels.join(", ");
        let Family { name, help, .. } = family;
        format!("| `{name}` | {} | {labels} | {help} |", family.kind.name())
    };
    let listed: Vec<&str> = page
        .lines()
        .filter(|line| line.starts_with("| `"))
        .collect();
    let all = FAMILIES.iter().chain(KAFKA_EXPORTER_FAMILIES);
    let expected: Vec<String> = all.map(row).collect();
    assert_eq!(listed.join("\n"), expected.join("\n"));
}
