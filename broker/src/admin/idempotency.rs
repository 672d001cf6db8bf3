//! A request that is sent again with the `Idempotency-Key` of an earlier one is answered like it, and done once.
//!
//! What became of the last ones is kept in memory, for a while and until the next start.

use std::collections::{HashMap, VecDeque};
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::{HeaderMap, StatusCode};
use siphasher::sip::SipHasher13;
use tidewheel_config::limits;

use super::problem::Problem;
use crate::clock;

/// The header.
const NAME: &str = "idempotency-key";

/// Requests that had a key, and what became of them.
#[derive(Debug)]
pub(crate) struct Repeats<T>(Arc<Mutex<Known<T>>>);

impl<T> Default for Repeats<T> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Known {
            requests: HashMap::new(),
            order: VecDeque::new(),
        })))
    }
}

#[derive(Debug)]
struct Known<T> {
    requests: HashMap<Key, Asked<T>>,
    /// The oldest first, with the steady ms at which each came. May name some that are forgotten.
    order: VecDeque<(Key, i64)>,
}

/// What names a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    /// What it is about: the same key there means the same request.
    about: String,
    key: String,
}

#[derive(Debug)]
struct Asked<T> {
    /// Of what was asked for.
    digest: u64,
    outcome: Outcome<T>,
}

#[derive(Debug)]
enum Outcome<T> {
    /// It is under way.
    Open,
    /// It was begun, and nobody knows how it ended.
    Unknown,
    Done(T),
}

/// A request with a key that is to be done.
#[derive(Debug)]
pub(crate) struct First<T> {
    known: Arc<Mutex<Known<T>>>,
    key: Key,
    attempt: Attempt,
}

/// Nobody began to carry it out, or it came to nothing.
const WAITING: u8 = 0;
const BEGUN: u8 = 1;
/// Nobody waits for it any more.
const GIVEN_UP: u8 = 2;

/// Whether a request may have been carried out, wherever that is done.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attempt(Arc<AtomicU8>);

impl Attempt {
    /// It is carried out now; `false` where it must not be any more, since the next request was told that it is the
    /// first.
    pub(crate) fn begin(&self) -> bool {
        self.goes_from_waiting_to(BEGUN)
    }

    /// It is known to have done nothing.
    pub(crate) fn came_to_nothing(&self) {
        self.0.store(WAITING, Ordering::SeqCst);
    }

    fn give_up(&self) -> bool {
        self.goes_from_waiting_to(GIVEN_UP)
    }

    fn goes_from_waiting_to(&self, state: u8) -> bool {
        let order = Ordering::SeqCst;
        self.0
            .compare_exchange(WAITING, state, order, order)
            .is_ok()
    }
}

/// What is to be done with a request that has a key.
#[derive(Debug)]
pub(crate) enum Turn<T> {
    First(First<T>),
    /// It was done before, with this answer.
    Again(T),
}

fn locked<T>(known: &Mutex<Known<T>>) -> MutexGuard<'_, Known<T>> {
    // Nothing panics while it is held.
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The key of a request about something, if it has one.
///
/// # Errors
/// Where it is none that is kept.
pub(crate) fn key(headers: &HeaderMap, about: &str) -> Result<Option<Key>, Problem> {
    let mut values = headers.get_all(NAME).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let max = limits::ADMIN_REPEAT_KEY_LEN_MAX;
    let text = value
        .to_str()
        .ok()
        .filter(|text| (1..=max).contains(&text.len()));
    match (text, values.next()) {
        (Some(text), None) => Ok(Some(Key {
            about: about.to_owned(),
            key: text.to_owned(),
        })),
        _ => {
            let detail = format!("it must be there once, with 1 to {max} plain characters");
            Err(Problem::invalid("Idempotency-Key", detail))
        }
    }
}

impl<T: Clone> Repeats<T> {
    /// Whether a request is the first with its key.
    ///
    /// # Errors
    /// Where the first one was another, is under way, or ended nobody knows how.
    pub(crate) fn turn(&self, key: Key, asked: &impl Hash) -> Result<Turn<T>, Problem> {
        self.turn_at(key, asked, clock::steady_ms())
    }

    fn turn_at(&self, key: Key, asked: &impl Hash, now_ms: i64) -> Result<Turn<T>, Problem> {
        let mut hasher = SipHasher13::new();
        asked.hash(&mut hasher);
        let digest = hasher.finish();
        let mut known = locked(&self.0);
        known.forget_old(now_ms);
        let conflict = |kind, detail: &str| {
            let problem = Problem::new(StatusCode::CONFLICT, kind, "it was asked for before");
            Err(problem.detail(detail))
        };
        match known.requests.get(&key) {
            Some(before) if before.digest != digest => {
                let kind = "/problems/key-of-another-request";
                let other = Problem::new(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    kind,
                    "the Idempotency-Key is that of another request",
                );
                Err(other)
            }
            Some(before) => match &before.outcome {
                Outcome::Done(answer) => Ok(Turn::Again(answer.clone())),
                Outcome::Open => conflict("/problems/under-way", "the first request is under way"),
                Outcome::Unknown => {
                    let detail = "nobody knows how the first request ended: look before you ask with another key";
                    conflict("/problems/outcome-unknown", detail)
                }
            },
            None => {
                known.make_room();
                let outcome = Outcome::Open;
                known
                    .requests
                    .insert(key.clone(), Asked { digest, outcome });
                known.order.push_back((key.clone(), now_ms));
                Ok(Turn::First(First {
                    known: Arc::clone(&self.0),
                    key,
                    attempt: Attempt::default(),
                }))
            }
        }
    }
}

impl<T> Known<T> {
    fn forget_old(&mut self, now_ms: i64) {
        let kept_ms = i64::try_from(limits::ADMIN_REPEATS_KEPT.as_millis()).unwrap_or(i64::MAX);
        while let Some((key, came_ms)) = self.order.front() {
            if now_ms.saturating_sub(*came_ms) < kept_ms {
                return;
            }
            self.requests.remove(key);
            self.order.pop_front();
        }
    }

    /// For one more. Those under way stay; there are no more of them than requests.
    fn make_room(&mut self) {
        if self.order.len() < limits::ADMIN_REPEATS_MAX {
            return;
        }
        let is_open = |key| {
            let asked = self.requests.get(key);
            asked.is_some_and(|asked| matches!(asked.outcome, Outcome::Open))
        };
        let oldest = self.order.iter().position(|(key, _)| !is_open(key));
        if let Some((key, _)) = oldest.and_then(|at| self.order.remove(at)) {
            self.requests.remove(&key);
        }
    }
}

impl<T> First<T> {
    /// Where to say whether it may have been carried out: where it was not, the next one is the first.
    pub(crate) fn attempt(&self) -> Attempt {
        self.attempt.clone()
    }

    /// It was carried out.
    pub(crate) fn done(self, answer: T) {
        self.settle(Outcome::Done(answer));
    }

    fn settle(&self, outcome: Outcome<T>) {
        if let Some(asked) = locked(&self.known).requests.get_mut(&self.key) {
            asked.outcome = outcome;
        }
    }
}

impl<T> Drop for First<T> {
    fn drop(&mut self) {
        let mut known = locked(&self.known);
        let Some(asked) = known.requests.get_mut(&self.key) else {
            return;
        };
        match &asked.outcome {
            Outcome::Done(_) | Outcome::Unknown => {}
            Outcome::Open if self.attempt.give_up() => {
                known.requests.remove(&self.key);
                known.order.retain(|(key, _)| *key != self.key);
            }
            Outcome::Open => asked.outcome = Outcome::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use axum::response::IntoResponse;

    use super::*;

    fn named(key: &str) -> Key {
        Key {
            about: "orders".to_owned(),
            key: key.to_owned(),
        }
    }

    /// The answer that is told again, or the status of a refusal; `None` for the first.
    fn turn(repeats: &Repeats<i32>, key: &str, asked: &str) -> Result<i32, Option<u16>> {
        match repeats.turn_at(named(key), &asked, 0) {
            Ok(Turn::Again(answer)) => Ok(answer),
            Ok(Turn::First(_)) => Err(None),
            Err(problem) => Err(Some(problem.into_response().status().as_u16())),
        }
    }

    fn first(repeats: &Repeats<i32>, key: &str) -> First<i32> {
        match repeats.turn_at(named(key), &"x", 0).unwrap() {
            Turn::First(first) => first,
            Turn::Again(answer) => panic!("{answer}"),
        }
    }

    #[test]
    fn what_was_done_is_told_again_and_nothing_is_done_twice() {
        let repeats = Repeats::<i32>::default();
        let under_way = first(&repeats, "a");
        assert_eq!(turn(&repeats, "a", "x"), Err(Some(409)));
        assert!(under_way.attempt().begin());
        assert_eq!(turn(&repeats, "a", "x"), Err(Some(409)));
        under_way.done(7);
        assert_eq!(turn(&repeats, "a", "x"), Ok(7));
        assert_eq!(turn(&repeats, "a", "y"), Err(Some(422)));
        assert_eq!(turn(&repeats, "b", "x"), Err(None));
    }

    #[test]
    fn what_was_refused_may_be_tried_again_and_what_hangs_may_not() {
        let repeats = Repeats::<i32>::default();
        drop(first(&repeats, "before it began"));
        assert_eq!(turn(&repeats, "before it began", "x"), Err(None));
        let refused = first(&repeats, "refused");
        assert!(refused.attempt().begin());
        refused.attempt().came_to_nothing();
        drop(refused);
        assert_eq!(turn(&repeats, "refused", "y"), Err(None));
        let cut = first(&repeats, "cut");
        assert!(cut.attempt().begin());
        drop(cut);
        assert_eq!(turn(&repeats, "cut", "x"), Err(Some(409)));
        let late = first(&repeats, "late");
        let attempt = late.attempt();
        drop(late);
        assert!(!attempt.begin(), "it would be done by the next one, too");
        assert_eq!(turn(&repeats, "late", "x"), Err(None));
    }

    #[test]
    fn the_last_ones_are_kept_for_a_while() {
        let repeats = Repeats::<i32>::default();
        for number in 0..limits::ADMIN_REPEATS_MAX + 5 {
            first(&repeats, &number.to_string()).done(1);
        }
        let known = locked(&repeats.0);
        assert_eq!(known.requests.len(), limits::ADMIN_REPEATS_MAX);
        assert_eq!(known.order.len(), limits::ADMIN_REPEATS_MAX);
        drop(known);
        assert_eq!(turn(&repeats, "5", "x"), Ok(1), "the oldest of them");
        assert_eq!(turn(&repeats, "7", "x"), Ok(1));
        let kept_ms = i64::try_from(limits::ADMIN_REPEATS_KEPT.as_millis()).unwrap();
        let later = repeats.turn_at(named("7"), &"x", kept_ms);
        assert!(matches!(later, Ok(Turn::First(_))));
        drop(later);
        assert_eq!(locked(&repeats.0).order.len(), 0);
    }

    #[test]
    fn a_key_stands_there_once_and_is_not_long() {
        let of = |values: &[String]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(NAME, HeaderValue::try_from(value).unwrap());
            }
            let key = key(&headers, "orders");
            key.map_err(|problem| problem.into_response().status().as_u16())
        };
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&["a b".to_owned()]), Ok(Some(named("a b"))));
        let max = limits::ADMIN_REPEAT_KEY_LEN_MAX;
        assert!(of(&["x".repeat(max)]).is_ok());
        for wrong in [
            vec![String::new()],
            vec!["x".repeat(max + 1)],
            vec!["a".to_owned(); 2],
            vec!["ä".to_owned()],
        ] {
            assert_eq!(of(&wrong), Err(400), "{wrong:?}");
        }
    }
}
