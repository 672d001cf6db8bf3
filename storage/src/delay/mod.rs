//! Delayed delivery: records that are accepted now and become visible later.
//!
//! [`DelayQueue`] is the store of a log directory; its head says how records move through it and why none
//! is lost or comes twice. Which records are delayed, and until when, is decided by [`request`] from the
//! settings of the topic; [`retry`] does so for retry topics, and [`dead_letter`] says what goes to dead-letter topics.
//! [`WallClock`] says when the wall clock can
//! be believed.

mod block;
mod bucket;
mod buckets;
mod checkpointing;
mod clock;
mod damage;
pub mod dead_letter;
mod delay_log;
mod fire;
mod group;
mod holding;
mod holes;
mod in_log_dir;
mod key;
mod maintain;
mod opening;
mod outlook;
mod partitions;
mod pending;
mod producers;
mod queue;
mod read_ahead;
mod record;
mod recount;
mod replay;
pub mod request;
pub mod retry;
mod scan;
mod sequences;
mod snapshot;
mod tail;
#[cfg(test)]
mod test_queue;
mod tombstones;
mod turn;
mod unspilled;
mod wheel;

pub use checkpointing::DelayCheckpoint;
pub use clock::{CLOCK_ACCEPT_MS, CLOCK_TOLERANCE_MS, ClockReading, ClockVerdict, WallClock};
pub use damage::DelayDamage;
pub use delay_log::DelaySync;
pub use fire::{DamagedRecord, Delivery, Fired};
pub use group::{Accepted, DelayGroup, DelayOperation, DelayedBatch};
pub(crate) use in_log_dir::DELAY_DIR;
pub use key::{DUE_MS_MAX, DelayKey, PartitionId, TICKET_MAX};
pub use opening::{DelayOpenReport, ImmediateRepair, PartitionTail, TailReader};
pub use outlook::DelayOutlook;
pub use partitions::DelayCount;
pub use pending::{
    PendingFate, PendingLook, PendingPage, PendingQuery, PendingRecord, PendingSearch,
};
pub use producers::DelayedProducerBatch;
pub use queue::{DelayOptions, DelayQueue, DelayTotals};
pub use record::{DELAY_ID_LEN_MAX, ProducerStamp};
pub use recount::{DelayRecount, RecountStep};
pub(crate) use sequences::{merge_delayed, note_delayed};
pub use tail::read_tail;
pub use turn::DueBatch;
pub use wheel::{TimingWheel, WheelEntry};
