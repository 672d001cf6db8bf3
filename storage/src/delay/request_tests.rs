//! What is delayed, what is not, and what is refused.

use proptest::prelude::*;

use super::*;

const NOW: i64 = 1_700_000_000_000;

fn config(mode: DelayMode) -> DelayConfig {
    DelayConfig {
        mode,
        ..DelayConfig::default()
    }
}

fn header(key: &str, value: &[u8]) -> RecordHeader {
    RecordHeader {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Some(Bytes::copy_from_slice(value)),
    }
}

fn one(timestamp: i64, headers: &[(&str, &[u8])]) -> RecordBatch {
    let headers = headers.iter().map(|(key, value)| header(key, value));
    RecordBatchBuilder::new()
        .record_with_headers(timestamp, Some(b"k"), Some(b"v"), headers.collect())
        .build()
        .unwrap()
}

/// When the only record is due; `None` for at once.
fn due(
    mode: DelayMode,
    timestamp: i64,
    headers: &[(&str, &[u8])],
) -> Result<Option<i64>, DelayError> {
    let batch = one(timestamp, headers);
    Ok(match plan(&batch, &config(mode), NOW, || false)? {
        DelayPlan::Immediate => None,
        DelayPlan::Delayed { operations, .. } => match operations.as_slice() {
            [DelayOperation::Add(add)] => Some(add.due_ms),
            other => panic!("{other:?}"),
        },
    })
}

#[test]
fn the_mode_says_what_counts_and_a_header_comes_before_the_timestamp() {
    use DelayMode::{Both, Header, None, Timestamp};
    let until = format!("{}", NOW + 50);
    let headers: [(&str, &[u8]); 1] = [("delay-until", until.as_bytes())];
    for (mode, expected) in [
        (None, Option::None),
        (Timestamp, Some(NOW + 90)),
        (Header, Some(NOW + 50)),
        (Both, Some(NOW + 50)),
    ] {
        assert_eq!(due(mode, NOW + 90, &headers), Ok(expected), "{mode:?}");
    }
    assert_eq!(due(Both, NOW + 90, &[]), Ok(Some(NOW + 90)));
    assert_eq!(due(Both, NOW, &[("delay-ms", b"7")]), Ok(Some(NOW + 7)));
    // A header that asks for now says so, whatever the timestamp.
    assert_eq!(due(Both, NOW + 90, &[("delay-ms", b"0")]), Ok(Option::None));
}

/// Cases V1 and V2.
#[test]
fn the_edges_of_now_and_of_the_limit_are_exact() {
    let max = DelayConfig::MAX_MS;
    for (timestamp, expected) in [
        (-1, Some(None)),
        (0, Some(None)),
        // Now, and in a year, in seconds.
        (NOW / 1_000, Some(None)),
        (NOW / 1_000 + 31_536_000, Some(None)),
        (NOW - 1, Some(None)),
        (NOW, Some(None)),
        (NOW + 1, Some(Some(NOW + 1))),
        (NOW + max, Some(Some(NOW + max))),
        (NOW + max + 1, None),
        (i64::MAX, None),
        (-2, None),
        (i64::MIN, None),
    ] {
        let found = due(DelayMode::Timestamp, timestamp, &[]);
        match expected {
            Some(due_ms) => assert_eq!(found, Ok(due_ms), "{timestamp}"),
            None => assert!(
                matches!(found, Err(DelayError::Timestamp { .. })),
                "{timestamp}"
            ),
        }
    }
}

/// Case V2.
#[test]
fn a_refused_time_names_the_limit_and_guesses_the_unit() {
    let text = |timestamp| {
        due(DelayMode::Timestamp, timestamp, &[])
            .unwrap_err()
            .to_string()
    };
    assert!(text(NOW + DelayConfig::MAX_MS + 1).contains("delay.max.ms 31622400000"));
    assert!(text((NOW + 30_000) * 1_000).ends_with("it looks like microseconds"));
    assert!(text((NOW + 30_000) * 1_000_000).ends_with("it looks like nanoseconds"));
    assert!(!text(NOW + 2 * DelayConfig::MAX_MS).contains("looks like"));
}

/// Case V3.
#[test]
fn headers_that_cannot_be_understood_refuse_the_batch_and_name_the_record() {
    let long = [b'1'; 1 << 20];
    let utf16 = "5"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect::<Vec<_>>();
    let bad: [&[(&str, &[u8])]; 17] = [
        &[("delay-ms", b"")],
        &[("delay-ms", b"+5")],
        &[("delay-ms", b"-5")],
        &[("delay-ms", b" 5")],
        &[("delay-ms", b"5 ")],
        &[("delay-ms", b"5e3")],
        &[("delay-ms", b"12345678901234567890")],
        &[("delay-ms", b"9999999999999999999")],
        &[("delay-ms", &utf16)],
        &[("delay-ms", &long)],
        &[("delay-ms", b"5"), ("delay-ms", b"5")],
        &[("delay-ms", b"5"), ("delay-until", b"5")],
        &[("delay-ms", b"5"), ("expire-ms", b"5"), ("expire-at", b"5")],
        &[("delay-ms", b"5"), ("delay-id", b"")],
        &[
            ("delay-ms", b"5"),
            ("delay-id", &[b'x'; DELAY_ID_LEN_MAX + 1]),
        ],
        &[("delay-ms", b"5"), ("delay-op", b"cancel")],
        &[("delay-id", b"a"), ("delay-op", b"Cancel")],
    ];
    for headers in bad {
        let found = due(DelayMode::Header, NOW, headers);
        let Err(DelayError::Invalid { errors }) = found else {
            panic!("{headers:?} gave {found:?}");
        };
        assert_eq!(errors[0].0, 0);
    }
    let null = RecordHeader {
        key: Bytes::from_static(b"delay-ms"),
        value: None,
    };
    let batch = RecordBatchBuilder::new()
        .record(NOW, None, None)
        .record_with_headers(NOW, None, None, vec![null])
        .build()
        .unwrap();
    let found = plan(&batch, &config(DelayMode::Both), NOW, || false);
    assert!(matches!(found, Err(DelayError::Invalid { errors }) if errors[0].0 == 1));
}

fn batch_of(delays: &[i64]) -> RecordBatch {
    let mut builder = RecordBatchBuilder::new().compression(Compression::Lz4);
    for delay in delays {
        builder = builder.record(NOW + delay, None, Some(b"value"));
    }
    builder.build().unwrap()
}

/// Times of what is appended at once, and due times with the number of records.
fn parts(delays: &[i64]) -> (Vec<i64>, Vec<(i64, i32)>) {
    let config = config(DelayMode::Timestamp);
    let DelayPlan::Delayed {
        immediate,
        operations,
    } = plan(&batch_of(delays), &config, NOW, || false).unwrap()
    else {
        return (delays.to_vec(), Vec::new());
    };
    let at_once = immediate.map_or(Vec::new(), |batch| {
        let records = batch.records(1 << 20).unwrap();
        records
            .map(|record| record.unwrap().timestamp - NOW)
            .collect()
    });
    let later = operations.iter().map(|operation| match operation {
        DelayOperation::Add(add) => {
            let header = RecordBatch::parse(add.batch.clone()).unwrap().header;
            (add.due_ms - NOW, header.record_count)
        }
        other => panic!("{other:?}"),
    });
    (at_once, later.collect())
}

/// Cases B1, B2 and B5: a later record may have an earlier timestamp.
#[test]
fn a_batch_stays_whole_split_or_mixed() {
    assert_eq!(
        parts(&[30_000, 30_003, 30_010]),
        (vec![], vec![(30_010, 3)])
    );
    assert_eq!(
        parts(&[30_000, 30_000, 30_011]),
        (vec![], vec![(30_000, 2), (30_011, 1)])
    );
    assert_eq!(parts(&[-5, 100, 0]), (vec![-5, 0], vec![(100, 1)]));
    assert_eq!(parts(&[100, -1]), (vec![-1], vec![(100, 1)]));
    assert_eq!(parts(&[-1, 100]), (vec![-1], vec![(100, 1)]));
    assert_eq!(parts(&[-3, -2]), (vec![-3, -2], vec![]));
    let days: Vec<i64> = (1..=366).map(|day| day * 86_400_000).collect();
    assert_eq!(parts(&days).1.len(), 366);
}

#[test]
fn the_whole_batch_is_kept_byte_for_byte() {
    let batch = batch_of(&[30_000, 30_001]);
    let config = config(DelayMode::Both);
    let DelayPlan::Delayed { operations, .. } = plan(&batch, &config, NOW, || false).unwrap()
    else {
        panic!("it is delayed");
    };
    assert!(matches!(&operations[..], [DelayOperation::Add(add)] if add.batch == batch.bytes));
}

#[test]
fn cancelling_and_replacing_name_an_id_and_add_is_the_default() {
    let operations = |headers: &[(&str, &[u8])]| match plan(
        &one(NOW, headers),
        &config(DelayMode::Header),
        NOW,
        || false,
    )
    .unwrap()
    {
        DelayPlan::Immediate => (false, Vec::new()),
        DelayPlan::Delayed {
            immediate,
            operations,
        } => (immediate.is_some(), operations),
    };
    let id = Bytes::from_static(b"a");
    let cancel = DelayOperation::Cancel { id: id.clone() };
    let cancelled = operations(&[("delay-id", b"a"), ("delay-op", b"cancel")]);
    assert_eq!(cancelled, (false, vec![cancel.clone()]));
    let now = operations(&[("delay-id", b"a"), ("delay-op", b"replace")]);
    assert_eq!(now, (true, vec![cancel]));
    for (op, replaces) in [(None, false), (Some(&b"replace"[..]), true)] {
        let mut headers: Vec<(&str, &[u8])> = vec![("delay-id", b"a"), ("delay-ms", b"9")];
        headers.extend(op.map(|op| ("delay-op", op)));
        let (_, found) = operations(&headers);
        let [DelayOperation::Add(add)] = &found[..] else {
            panic!("{found:?}");
        };
        assert_eq!((add.replace, &add.id), (replaces, &id));
    }
    let (_, expiring) = operations(&[("delay-ms", b"9"), ("expire-ms", b"20")]);
    assert!(
        matches!(&expiring[..], [DelayOperation::Add(add)] if add.expires_ms == Some(NOW + 20))
    );
}

/// Case B4.
#[test]
fn a_lying_header_is_not_believed_and_a_sound_one_only_where_the_topic_says_so() {
    let batch = batch_of(&[-100, 5_000]);
    for max_timestamp in [-1, 0, NOW - 200, NOW] {
        let lying = batch.with_max_timestamp(max_timestamp);
        let trusting = DelayConfig {
            trust_header: true,
            ..config(DelayMode::Timestamp)
        };
        let found = |config| plan(&lying, &config, NOW, || false).unwrap() != DelayPlan::Immediate;
        assert!(found(config(DelayMode::Timestamp)), "{max_timestamp}");
        assert_eq!(
            found(trusting),
            max_timestamp < NOW - 100,
            "{max_timestamp}"
        );
    }
    let past = batch_of(&[-100, -50]).with_max_timestamp(NOW + 5_000);
    let found = plan(&past, &config(DelayMode::Timestamp), NOW, || false).unwrap();
    assert_eq!(found, DelayPlan::Immediate, "too high a one delays nothing");
}

#[test]
fn what_asks_for_a_past_time_waits_only_behind_others_that_are_due() {
    let planned = |headers: &[(&str, &[u8])], queues: bool| {
        let config = config(DelayMode::Both);
        plan(&one(NOW - 5, headers), &config, NOW, || queues).unwrap()
    };
    let past = (NOW - 3).to_string();
    let headers: [(&str, &[u8]); 1] = [("delay-until", past.as_bytes())];
    assert_eq!(planned(&headers, false), DelayPlan::Immediate);
    assert_eq!(
        planned(&[], true),
        DelayPlan::Immediate,
        "asked for nothing"
    );
    let DelayPlan::Delayed { operations, .. } = planned(&headers, true) else {
        panic!("it overtakes");
    };
    assert!(matches!(&operations[..], [DelayOperation::Add(add)] if add.due_ms == NOW - 3));
}

#[test]
fn headers_are_bounded_in_all_and_not_by_record() {
    let empty = RecordHeader {
        key: Bytes::new(),
        value: None,
    };
    let batch = |each: usize| {
        let records = 0..5;
        let builder = records.fold(RecordBatchBuilder::new(), |builder, _| {
            builder.record_with_headers(NOW, None, None, vec![empty.clone(); each])
        });
        builder.compression(Compression::Lz4).build().unwrap()
    };
    let max = DELAY_BATCH_HEADERS_MAX;
    let planned = |each| plan(&batch(each), &config(DelayMode::Both), NOW, || false);
    assert_eq!(planned(max / 5), Ok(DelayPlan::Immediate));
    let refused = DelayError::Batch(BatchError::TooManyHeaders { max });
    assert_eq!(planned(max / 5 + 1), Err(refused));
}

#[test]
fn skew_below_the_threshold_is_no_delay() {
    let config = DelayConfig {
        threshold_ms: 100,
        ..config(DelayMode::Both)
    };
    let delayed =
        |ahead| plan(&batch_of(&[ahead]), &config, NOW, || false).unwrap() != DelayPlan::Immediate;
    assert!(!delayed(100) && delayed(101));
}

proptest! {
    #[test]
    fn every_record_is_kept_once_and_none_is_early(
        delays in prop::collection::vec(prop_oneof![-20i64..40, 0i64..1_000_000], 1..40),
    ) {
        let (at_once, later) = parts(&delays);
        let count: i32 = later.iter().map(|(_, count)| count).sum();
        prop_assert_eq!(at_once.len() + usize::try_from(count).unwrap(), delays.len());
        if later.is_empty() {
            prop_assert!(delays.iter().all(|delay| *delay <= 0));
        } else {
            prop_assert!(at_once.iter().all(|delay| *delay <= 0));
            let most = *delays.iter().max().unwrap();
            prop_assert_eq!(later.iter().map(|(due_ms, _)| *due_ms).max().unwrap(), most);
        }
    }

    #[test]
    fn no_header_makes_it_panic(
        key in "delay-(ms|until|id|op)|expire-(at|ms)",
        value in prop::option::of(prop::collection::vec(any::<u8>(), 0..30)),
        timestamp in any::<i64>(),
        now in any::<i64>(),
    ) {
        let header = RecordHeader { key: Bytes::from(key), value: value.map(Bytes::from) };
        let builder = RecordBatchBuilder::new();
        let batch = builder.record_with_headers(timestamp, None, None, vec![header]).build().unwrap();
        plan(&batch, &config(DelayMode::Both), now, || false).ok();
    }
}
