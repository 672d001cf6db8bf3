//! Group membership and committed offsets: decides, and touches nothing else.
//!
//! [`GroupCoordinator`] is a state machine. It does no I/O, reads no clock and draws no random number:
//! requests, time and random bits are arguments. What it decides leaves as an [`Output`]: records for
//! the log `__consumer_offsets`, and replies to requests, also to ones that were parked earlier.
//!
//! # What is in the log and what is not
//!
//! *Hard* state is what the log says: committed offsets, and for each group its last finished
//! generation with members and assignments. It changes in [`GroupCoordinator::replay`] and nowhere else,
//! both when the log is read at start and right after an append. *Soft* state is the rebalance under
//! way: who has joined, who waits, which requests are parked, and session deadlines. It changes when a
//! request is handled, and is lost with the process, which costs the members one rebalance.
//!
//! Of a group of the newer protocol (KIP-848) all is hard state but the deadlines: its members are led to
//! what they are to read by records, so neither a restart nor a refused append costs them anything.
//!
//! # What the coordinator is told beside requests
//!
//! The topics that there are ([`GroupCoordinator::set_topics`]) and what is set on single groups
//! ([`GroupCoordinator::set_times`]), before it begins to serve and after every change. Neither leads to an
//! output: members learn of it with their next heartbeats.
//!
//! # The contract with whoever runs it
//!
//! 1. `handle` or `tick` returns an [`Output`]. Before anything else is asked of the same coordinator, its
//!    records are appended, in order, in one batch or several.
//! 2. Once the log has taken them (their order is fixed; they need not be durable yet), each goes
//!    through `replay`. So every decision stands on all that was appended before.
//! 3. The replies leave when all that was appended up to then, by this output or earlier ones, is as
//!    durable as acknowledged data has to be: then nobody is told what a crash may take back.
//!    Replies to Heartbeat may leave at once, those to ConsumerGroupHeartbeat may not.
//! 4. If the log refuses records, `append_failed` is called instead of `replay`, and what it returns is
//!    an output like any other. Where it took a first part of them, in batches of their own, that part is
//!    replayed before, and `append_failed` hears of the rest. Hard state does not change by the call. Soft
//!    state that the records were to finish is taken back: a generation that could not be stored is followed
//!    by a rebalance, a static member that could not be replaced stays. Members who left stay away, as they
//!    would after a crash of theirs: the log names them until the next generation, or until it takes the
//!    record that nobody is left, which `tick` brings again; a restart before lets their sessions run out.
//! 5. If records that were replayed turn out not to be durable, the log directory is offline for good.
//!    `close` answers everything that is parked, and the coordinator is dropped.
//! 6. `now_ms` is the wall clock, by which offsets expire. When that is set, `clock_was_set` comes before
//!    anything else, so that sessions and rebalances last as long as they should.
#![forbid(unsafe_code)]

pub mod error;
pub mod records;
pub mod reply;
pub mod request;

mod by_age;
mod classic;
mod consumer;
mod coordinator;
mod deadlines;
mod footprint;
mod offsets;
mod topics;

pub use consumer::NamePattern;
pub use coordinator::{GroupCoordinator, GroupTimes, GroupView, OffsetView};
pub use error::GroupError;
pub use footprint::{GroupLimits, HeldBytes, Listed};
pub use records::{OffsetsRecord, OffsetsRecordError};
pub use reply::{GroupReply, Output};
pub use request::{GroupRequest, ReplyToken};
pub use topics::{TopicInfo, Topics};
