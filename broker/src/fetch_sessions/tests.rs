//! Sessions against Kafka's rules, by hand and against a model that is nothing but lists.

use std::time::Duration;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use tidewheel_protocol::messages::fetch::{
    FetchPartition, FetchTopic, FetchableTopicResponse, ForgottenTopic, PartitionData,
};
use tidewheel_protocol::{StrBytes, Uuid};

use super::*;

const NAME: &str = "t";
const LATER: i64 = 120_001;

fn partition(number: i32) -> SessionPartition {
    SessionPartition {
        topic: SessionTopic::new(Some(NAME), Uuid::ZERO).unwrap(),
        fetch: fetch(number, 0),
        high_watermark: 0,
        log_start_offset: 0,
    }
}

fn fetch(number: i32, fetch_offset: i64) -> FetchPartition {
    FetchPartition {
        partition: number,
        fetch_offset,
        ..FetchPartition::default()
    }
}

/// A session of partitions `0..count`, with the lowest id that is free.
fn create(sessions: &FetchSessions, count: i32, now_ms: i64) -> i32 {
    let mut ids = 1..;
    let partitions = (0..count).map(partition).collect();
    sessions.create(false, partitions, now_ms, || ids.next().unwrap())
}

fn change<'a>(
    epoch: i32,
    topics: &'a [FetchTopic],
    forgotten: &'a [ForgottenTopic],
) -> SessionChange<'a> {
    SessionChange {
        epoch,
        by_id: false,
        topics,
        forgotten,
    }
}

fn adds(partitions: impl IntoIterator<Item = (i32, i64)>) -> FetchTopic {
    let partitions = partitions.into_iter();
    FetchTopic {
        topic: StrBytes::from(NAME),
        partitions: partitions
            .map(|(number, offset)| fetch(number, offset))
            .collect(),
        ..FetchTopic::default()
    }
}

fn forgets(partitions: impl IntoIterator<Item = i32>) -> ForgottenTopic {
    ForgottenTopic {
        topic: StrBytes::from(NAME),
        partitions: partitions.into_iter().collect(),
        ..ForgottenTopic::default()
    }
}

/// Goes on without a change.
fn next(sessions: &FetchSessions, id: i32, epoch: i32, now_ms: i64) -> Result<bool, ErrorCode> {
    let gone_on = sessions.go_on(id, change(epoch, &[], &[]), now_ms);
    gone_on.map(|going| going.is_some())
}

/// A turn that nobody else has.
fn take_turn(going: Going) -> Turn {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(going.turn())
}

#[test]
fn epochs_count_up_and_wrap_to_1() {
    let sessions = FetchSessions::new(10);
    let id = create(&sessions, 1, 0);
    for epoch in [0, 2, -1, -2, i32::MAX] {
        let refused = next(&sessions, id, epoch, 0);
        assert_eq!(refused, Err(ErrorCode::InvalidFetchSessionEpoch));
    }
    assert_eq!(next(&sessions, id, 1, 0), Ok(true));
    sessions.find(id).unwrap().set_epoch(i32::MAX);
    assert_eq!(next(&sessions, id, i32::MAX, 0), Ok(true));
    assert_eq!(next(&sessions, id, 1, 0), Ok(true));
    assert_eq!(next(&sessions, id, 2, 0), Ok(true));
}

#[test]
fn who_names_no_session_or_a_closed_one_hears_so() {
    let sessions = FetchSessions::new(10);
    let unknown = Err(ErrorCode::FetchSessionIdNotFound);
    let id = create(&sessions, 1, 0);
    for other in [NO_SESSION, -1, id + 1, i32::MAX, i32::MIN] {
        assert_eq!(next(&sessions, other, 1, 0), unknown);
        sessions.close(other);
    }
    assert_eq!(next(&sessions, id, 1, 0), Ok(true));
    sessions.close(id);
    assert_eq!(next(&sessions, id, 2, 0), unknown);
}

/// An epoch is looked at before the way in which topics are named, as in Kafka.
#[test]
fn names_and_ids_do_not_mix() {
    let sessions = FetchSessions::new(10);
    let id = create(&sessions, 1, 0);
    for (epoch, error) in [
        (2, ErrorCode::InvalidFetchSessionEpoch),
        (1, ErrorCode::FetchSessionTopicIdError),
    ] {
        let by_id = SessionChange {
            by_id: true,
            ..change(epoch, &[], &[])
        };
        assert_eq!(sessions.go_on(id, by_id, 0).unwrap_err(), error);
    }
    assert_eq!(next(&sessions, id, 1, 0), Ok(true));
}

#[test]
fn without_slots_there_are_no_sessions() {
    assert_eq!(create(&FetchSessions::new(0), 1, 0), NO_SESSION);
}

#[test]
fn a_full_cache_evicts_what_was_not_used_for_two_minutes() {
    let sessions = FetchSessions::new(2);
    let [first, second] = [(); 2].map(|()| create(&sessions, 5, 0));
    assert_eq!(next(&sessions, first, 1, 1), Ok(true));
    assert_eq!(create(&sessions, 5, LATER - 1), NO_SESSION);
    assert_eq!(create(&sessions, 1, LATER), second, "its id is free again");
    assert_eq!(next(&sessions, first, 2, LATER), Ok(true));
    let counts = SessionCounts {
        sessions: 2,
        partitions: 6,
        evicted: 1,
    };
    assert_eq!(sessions.counts(), counts);
}

/// A session of which nothing was heard since is new, however old it is: Kafka's rule.
#[test]
fn larger_sessions_take_the_place_of_the_smallest_that_is_not_new() {
    let sessions = FetchSessions::new(3);
    let ids = [7, 5, 6].map(|count| create(&sessions, count, 0));
    assert_eq!(create(&sessions, 100, LATER - 1), NO_SESSION, "all are new");
    for id in ids {
        assert_eq!(next(&sessions, id, 1, LATER), Ok(true));
    }
    assert_eq!(create(&sessions, 5, LATER), NO_SESSION, "no larger");
    assert_eq!(create(&sessions, 6, LATER), ids[1], "the smallest went");
    assert_eq!(create(&sessions, 7, LATER), ids[2]);
    assert_eq!(
        create(&sessions, 7, LATER),
        NO_SESSION,
        "the others are new"
    );
}

#[test]
fn a_session_has_bounds_when_it_is_made_and_when_it_grows() {
    let sessions = FetchSessions::new(10);
    let max = i32::try_from(limits::FETCH_SESSION_PARTITIONS_MAX).unwrap();
    assert_eq!(create(&sessions, max + 1, 0), NO_SESSION);
    let id = create(&sessions, max, 0);
    let swap = [adds([(max, 0)])];
    let gone = [forgets([0])];
    let swapped = sessions.go_on(id, change(1, &swap, &gone), 0);
    assert!(swapped.unwrap().is_some());
    let grown = sessions.go_on(id, change(2, &[adds([(0, 0)])], &[]), 0);
    assert_eq!(grown.unwrap_err(), ErrorCode::FetchSessionIdNotFound);
    assert!(sessions.find(id).is_none());
    assert_eq!(
        limits::FETCH_SESSIONS_PARTITIONS_MAX,
        sessions.room.available_permits()
    );
    let id = create(&sessions, 1, 0);
    let many = [adds((0..i32::MAX).zip(0..100_000))];
    let grown = sessions.go_on(id, change(1, &many, &[]), 0);
    assert_eq!(grown.unwrap_err(), ErrorCode::FetchSessionIdNotFound);
    let long = "x".repeat(limits::TOPIC_NAME_LEN_MAX + 1);
    assert!(SessionTopic::new(Some(&long), Uuid::ZERO).is_none());
}

#[test]
fn all_sessions_share_one_room_and_a_request_under_way_keeps_its_part() {
    let sessions = FetchSessions::new(1_000);
    let max = i32::try_from(limits::FETCH_SESSION_PARTITIONS_MAX).unwrap();
    let count = limits::FETCH_SESSIONS_PARTITIONS_MAX / limits::FETCH_SESSION_PARTITIONS_MAX;
    let ids: Vec<i32> = (0..count).map(|_| create(&sessions, max, 0)).collect();
    assert!(!ids.contains(&NO_SESSION));
    assert_eq!(create(&sessions, 1, 0), NO_SESSION);
    assert_eq!(
        create(&sessions, 0, 0),
        NO_SESSION,
        "an empty one takes some"
    );
    let going = sessions.go_on(ids[0], change(1, &[], &[]), 0).unwrap();
    let turn = take_turn(going.unwrap());
    sessions.close(ids[0]);
    assert_eq!(create(&sessions, 1, 0), NO_SESSION);
    drop(turn);
    assert_eq!(create(&sessions, max, 0), ids[0]);
    assert_eq!(create(&sessions, max, LATER), ids[0], "room of an idle one");
}

/// A request that is taken in ends the wait of the one before it, and looks when that has let go.
#[tokio::test(start_paused = true)]
async fn one_request_at_a_time_has_the_partitions() {
    let sessions = FetchSessions::new(1);
    let id = create(&sessions, 1, 0);
    let go_on = |epoch| sessions.go_on(id, change(epoch, &[], &[]), 0);
    let first = go_on(1).unwrap().unwrap().turn().await;
    let moment = Duration::from_secs(1);
    let waits = tokio::time::timeout(moment, first.is_over()).await;
    assert!(waits.is_err() && first.is_current());
    let mut second = Box::pin(go_on(2).unwrap().unwrap().turn());
    first.is_over().await;
    assert!(!first.is_current());
    let none: Vec<FetchableTopicResponse<Bytes>> = Vec::new();
    let answer = first.answer(none, std::iter::empty());
    assert_eq!(answer.unwrap_err(), ErrorCode::InvalidFetchSessionEpoch);
    assert!(tokio::time::timeout(moment, &mut second).await.is_err());
    drop(first);
    let second = second.await;
    assert!(second.is_current());
    sessions.close(id);
    second.is_over().await;
    assert!(second.is_current(), "as in Kafka it is answered");
}

/// What the model knows of a partition: its number, offset, and what was told.
type Known = (i32, i64, i64, i64);

/// A session as Kafka's text describes it: a list.
#[derive(Default)]
struct Model {
    epoch: i32,
    partitions: Vec<Known>,
}

/// What a look finds: high watermark, log start, bytes of records, error, diverging epoch.
type Found = (i64, i64, usize, i16, i32);

impl Model {
    fn take_in(&mut self, added: &[(i32, i64)], forgotten: &[i32]) {
        for (number, offset) in added {
            match self.partitions.iter_mut().find(|known| known.0 == *number) {
                Some(known) => known.1 = *offset,
                None => self.partitions.push((*number, *offset, -1, -1)),
            }
        }
        self.partitions
            .retain(|known| !forgotten.contains(&known.0));
        self.epoch += 1;
    }

    /// The numbers of the partitions that the client hears of.
    fn answer(&mut self, found: impl Fn(i32) -> Found) -> Vec<i32> {
        let mut told = Vec::new();
        for known in self.partitions.clone() {
            let (high_watermark, log_start, records, error, diverging) = found(known.0);
            let at = self.partitions.iter().position(|other| other.0 == known.0);
            let mut now = self.partitions.remove(at.unwrap());
            now.2 = if error == 0 { high_watermark } else { -1 };
            now.3 = log_start;
            let at = if records > 0 {
                self.partitions.len()
            } else {
                at.unwrap()
            };
            self.partitions.insert(at, now);
            let changed = (known.2, known.3) != (high_watermark, log_start);
            if changed || records > 0 || error != 0 || diverging >= 0 {
                told.push(known.0);
            }
        }
        told
    }
}

fn data(number: i32, found: Found) -> PartitionData<Bytes> {
    let (high_watermark, log_start_offset, records, error_code, diverging) = found;
    let mut data = PartitionData {
        partition_index: number,
        high_watermark,
        log_start_offset,
        error_code,
        records: Some(Bytes::from(vec![0; records])),
        ..PartitionData::default()
    };
    data.diverging_epoch.epoch = diverging;
    data
}

/// One request: what it adds, what it forgets, and what is found for each partition.
type Step = (Vec<(i32, i64)>, Vec<i32>, Vec<Found>);

fn step() -> impl Strategy<Value = Step> {
    let found = (0..2_i64, 0..2_i64, 0..2_usize, 0..2_i16, -1..1_i32);
    (vec((0..8, 0..9_i64), 0..4), vec(0..8, 0..3), vec(found, 8))
}

/// A session as the cache sees it.
#[derive(Clone, Copy, Debug)]
struct Kept {
    id: i32,
    created_ms: i64,
    used_ms: i64,
    len: usize,
    epoch: i32,
    /// It was used when it was no longer new.
    replaceable: bool,
}

/// Who has to go for a session of `len` partitions, by Kafka's rule; `None` where there is no place.
fn evicted(kept: &[Kept], slots: usize, len: usize, now_ms: i64) -> Option<Option<i32>> {
    if kept.len() < slots {
        return Some(None);
    }
    let oldest = kept.iter().min_by_key(|kept| (kept.used_ms, kept.id))?;
    if now_ms - oldest.used_ms >= LATER {
        return Some(Some(oldest.id));
    }
    let old = kept.iter().filter(|kept| kept.replaceable);
    let smallest = old.min_by_key(|kept| (kept.len, kept.id))?;
    (len > smallest.len).then_some(Some(smallest.id))
}

proptest! {
    /// Which sessions there are after requests of any kind and pauses is what Kafka's rule says.
    #[test]
    fn the_cache_evicts_by_kafkas_rule(steps in vec((0..4, 0..4_usize, 0..3_usize), 1..60)) {
        let slots = 3;
        let sessions = FetchSessions::new(slots);
        let mut kept: Vec<Kept> = Vec::new();
        let (mut now_ms, mut ids) = (0, 1..);
        for (kind, number, pause) in steps {
            now_ms += [1, 70_000, LATER][pause];
            let which = number % slots;
            match kind {
                0 if which < kept.len() => sessions.close(kept.remove(which).id),
                1 if which < kept.len() => {
                    let used = &mut kept[which];
                    let gone_on = next(&sessions, used.id, used.epoch, now_ms);
                    prop_assert_eq!(gone_on, Ok(used.len > 0));
                    used.epoch += 1;
                    used.used_ms = now_ms;
                    used.replaceable = now_ms - used.created_ms >= LATER;
                    // Who goes on with an empty one has ended it.
                    kept.retain(|kept| kept.epoch == 1 || kept.len > 0);
                }
                _ => {
                    let partitions = (0..4).take(number).map(partition).collect();
                    let made = sessions.create(false, partitions, now_ms, || ids.next().unwrap());
                    let place = evicted(&kept, slots, number, now_ms);
                    prop_assert_eq!(made != NO_SESSION, place.is_some());
                    if let Some(gone) = place {
                        kept.retain(|kept| Some(kept.id) != gone);
                        kept.push(Kept {
                            id: made,
                            created_ms: now_ms,
                            used_ms: now_ms,
                            len: number,
                            epoch: 1,
                            replaceable: false,
                        });
                    }
                }
            }
            let mut there: Vec<i32> = sessions.lock().entries.keys().copied().collect();
            there.sort_unstable();
            let mut expected: Vec<i32> = kept.iter().map(|kept| kept.id).collect();
            expected.sort_unstable();
            prop_assert_eq!(there, expected);
            let cache = sessions.lock();
            prop_assert_eq!(cache.last_used.len(), kept.len());
            prop_assert!(cache.replaceable.len() <= kept.len());
        }
    }

    /// The model's partitions, offsets, order, and what it tells are the session's.
    #[test]
    fn a_session_does_what_a_list_does(steps in vec(step(), 1..30)) {
        let sessions = FetchSessions::new(1);
        let id = create(&sessions, 3, 0);
        let mut model = Model {
            epoch: 1,
            partitions: (0..3).map(|number| (number, 0, 0, 0)).collect(),
        };
        for (added, forgotten, found) in steps {
            let epoch = model.epoch;
            model.take_in(&added, &forgotten);
            let (added, forgotten) = ([adds(added)], [forgets(forgotten)]);
            let going = sessions.go_on(id, change(epoch, &added, &forgotten), 0).unwrap();
            let Some(going) = going else {
                prop_assert!(model.partitions.is_empty());
                prop_assert!(sessions.find(id).is_none());
                return Ok(());
            };
            let turn = take_turn(going);
            let mut seen = Vec::new();
            turn.each(|place, known| {
                let offset = known.fetch.fetch_offset;
                let told = (known.high_watermark, known.log_start_offset);
                let number = known.fetch.partition;
                seen.push((place, (number, offset, told.0, told.1)));
            });
            let shown: Vec<Known> = seen.iter().map(|(_, known)| *known).collect();
            prop_assert_eq!(&shown, &model.partitions);
            prop_assert_eq!(
                sessions.room.available_permits() + shown.len(),
                limits::FETCH_SESSIONS_PARTITIONS_MAX
            );
            let of = |number: i32| found[usize::try_from(number).unwrap()];
            let partitions = shown.iter().map(|known| data(known.0, of(known.0)));
            let topic = FetchableTopicResponse {
                partitions: partitions.collect(),
                ..FetchableTopicResponse::default()
            };
            let places = seen.iter().map(|(place, _)| *place);
            let told = turn.answer(vec![topic], places).unwrap();
            let told = told.iter().flat_map(|topic| &topic.partitions);
            let told: Vec<i32> = told.map(|data| data.partition_index).collect();
            prop_assert_eq!(told, model.answer(of));
        }
    }
}
