//! Which topics the members of a consumer group are subscribed to, as far as it can be known.

use std::collections::BTreeSet;

use bytes::{Bytes, BytesMut};
use tidewheel_config::limits;
use tidewheel_protocol::consumer_protocol::ConsumerProtocolSubscription;
use tidewheel_protocol::{DecodeError, Reader, StrBytes};

use super::group::{ClassicGroup, State};

/// What decides when an offset expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expiry {
    /// Not while the group is as it is.
    Never,
    /// So long after the commit.
    AfterCommit,
    /// So long after this moment, in ms since 1970.
    After(i64),
}

/// Topics that a group is subscribed to.
#[derive(Debug)]
pub(crate) enum Subscription<'a> {
    /// Exactly these, of a group of the newer protocol.
    Names(BTreeSet<&'a str>),
    /// Exactly these.
    Topics(BTreeSet<StrBytes>),
    /// Nobody knows, so it may be any.
    Unknown,
    /// The group's members do not subscribe, or not in a way that concerns the coordinator.
    None,
}

impl Subscription<'_> {
    /// Whether offsets of the topic are in use.
    pub(crate) fn may_contain(&self, topic: &str) -> bool {
        match self {
            Subscription::Names(names) => names.contains(topic),
            Subscription::Topics(topics) => topics.contains(&StrBytes::from(topic)),
            Subscription::Unknown => true,
            Subscription::None => false,
        }
    }
}

impl ClassicGroup {
    /// What the group is subscribed to, read from its members' metadata now: it is asked for rarely.
    pub(crate) fn subscription(&self) -> Subscription<'static> {
        if !self.uses_consumer_protocol() {
            return Subscription::None;
        }
        let protocol = self.protocol_name.as_deref().unwrap_or_default();
        let mut topics = BTreeSet::new();
        for member in self.members().values() {
            let read = member.metadata(protocol).map(subscribed_topics);
            let Some(Ok(read)) = read else {
                return Subscription::Unknown;
            };
            topics.extend(read);
            if topics.len() > limits::GROUP_SUBSCRIBED_TOPICS_MAX {
                return Subscription::Unknown;
            }
        }
        Subscription::Topics(topics)
    }

    /// When offsets of topics that nobody is subscribed to expire.
    pub(crate) fn expiry(&self) -> Expiry {
        match (&self.protocol_type, self.state) {
            (None, _) => Expiry::AfterCommit,
            (Some(_), State::Empty) => {
                let since = self.state_timestamp_ms.map(Expiry::After);
                since.unwrap_or(Expiry::AfterCommit)
            }
            (Some(_), State::Stable) if self.uses_consumer_protocol() => Expiry::AfterCommit,
            (Some(_), _) => Expiry::Never,
        }
    }
}

/// The topics in a consumer's metadata. Every version begins like version 0, and what newer ones add does
/// not matter here, so it may be anything.
fn subscribed_topics(metadata: &Bytes) -> Result<Vec<StrBytes>, DecodeError> {
    let mut reader = Reader::new(metadata.clone());
    let version = reader.read_i16()?;
    if version < 0 {
        return Err(DecodeError::NegativeVersion(version));
    }
    let mut as_oldest = BytesMut::from(&[0, 0][..]);
    as_oldest.extend_from_slice(&reader.take_rest());
    let subscription = ConsumerProtocolSubscription::decode(as_oldest.freeze())?;
    Ok(subscription.topics)
}
