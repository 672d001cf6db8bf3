//! The classic protocol: members choose a leader's assignment through JoinGroup and SyncGroup.

pub(crate) mod group;
pub(crate) mod join;
mod leave;
pub(crate) mod member;
pub(crate) mod rebalance;
pub(crate) mod subscription;
mod sync;
