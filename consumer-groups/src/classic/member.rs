//! A member of a classic group.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use crate::records::GroupMember;
use crate::request::{JoinProtocol, JoinRequest, ReplyToken};

/// Estimated bytes of a member beside its texts and metadata, its timer included.
const MEMBER_BYTES: usize = 768;
/// Estimated bytes of a supported protocol beside its name and metadata.
const PROTOCOL_BYTES: usize = 64;

/// A member of a classic group.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) id: Arc<str>,
    pub(crate) instance_id: Option<Arc<str>>,
    pub(crate) client_id: Arc<str>,
    pub(crate) client_host: Arc<str>,
    pub(crate) rebalance_timeout_ms: i32,
    pub(crate) session_timeout_ms: i32,
    /// The most wanted first. Each name once.
    pub(crate) protocols: Vec<JoinProtocol>,
    pub(crate) assignment: Bytes,
    /// The parked JoinGroup.
    pub(crate) awaiting_join: Option<ReplyToken>,
    /// The parked SyncGroup.
    pub(crate) awaiting_sync: Option<ReplyToken>,
    /// Whether the member has joined no generation yet. It does not know its id then and cannot send
    /// heartbeats, so a parked JoinGroup does not stand for one.
    pub(crate) is_new: bool,
}

/// What is kept of a list of protocols: copies, so that no frame stays alive, each name once.
pub(crate) fn kept_protocols(protocols: &[JoinProtocol]) -> Vec<JoinProtocol> {
    let mut names = BTreeSet::new();
    let first = |protocol: &&JoinProtocol| names.insert(Arc::clone(&protocol.name));
    let copy = |protocol: &JoinProtocol| JoinProtocol {
        name: Arc::clone(&protocol.name),
        metadata: Bytes::copy_from_slice(&protocol.metadata),
    };
    protocols.iter().filter(first).map(copy).collect()
}

/// Estimated bytes of a list of protocols.
pub(crate) fn protocol_bytes(protocols: &[JoinProtocol]) -> usize {
    let bytes = |p: &JoinProtocol| PROTOCOL_BYTES + p.name.len() + p.metadata.len();
    protocols.iter().map(bytes).sum()
}

impl Member {
    /// A member that asks to join and is not parked yet.
    pub(crate) fn joining(id: Arc<str>, request: &JoinRequest) -> Member {
        Member {
            id,
            instance_id: request.instance_id.clone(),
            client_id: Arc::clone(&request.client_id),
            client_host: Arc::clone(&request.client_host),
            rebalance_timeout_ms: request.rebalance_timeout_ms.max(0),
            session_timeout_ms: request.session_timeout_ms,
            protocols: kept_protocols(&request.protocols),
            assignment: Bytes::new(),
            awaiting_join: None,
            awaiting_sync: None,
            is_new: true,
        }
    }

    /// A member as the log tells of it.
    pub(crate) fn recorded(member: &GroupMember, protocol_name: &Arc<str>) -> Member {
        Member {
            id: Arc::clone(&member.member_id),
            instance_id: member.instance_id.clone(),
            client_id: Arc::clone(&member.client_id),
            client_host: Arc::clone(&member.client_host),
            rebalance_timeout_ms: member.rebalance_timeout_ms,
            session_timeout_ms: member.session_timeout_ms,
            protocols: vec![JoinProtocol {
                name: Arc::clone(protocol_name),
                metadata: Bytes::copy_from_slice(&member.subscription),
            }],
            assignment: Bytes::copy_from_slice(&member.assignment),
            awaiting_join: None,
            awaiting_sync: None,
            is_new: false,
        }
    }

    /// What the log is to say about the member.
    pub(crate) fn to_record(&self, protocol_name: &str, assignment: Bytes) -> GroupMember {
        GroupMember {
            member_id: Arc::clone(&self.id),
            instance_id: self.instance_id.clone(),
            client_id: Arc::clone(&self.client_id),
            client_host: Arc::clone(&self.client_host),
            rebalance_timeout_ms: self.rebalance_timeout_ms,
            session_timeout_ms: self.session_timeout_ms,
            subscription: self.metadata(protocol_name).cloned().unwrap_or_default(),
            assignment,
        }
    }

    /// What the member says for a protocol, if it supports it.
    pub(crate) fn metadata(&self, protocol_name: &str) -> Option<&Bytes> {
        let mut protocols = self.protocols.iter();
        protocols
            .find(|protocol| *protocol.name == *protocol_name)
            .map(|protocol| &protocol.metadata)
    }

    /// Whether silence does not mean that the member is gone: it waits for us.
    pub(crate) fn is_excused(&self) -> bool {
        !self.is_new && (self.awaiting_join.is_some() || self.awaiting_sync.is_some())
    }

    /// Estimated bytes that the member takes.
    pub(crate) fn bytes(&self) -> usize {
        let texts = [
            Some(&self.id),
            self.instance_id.as_ref(),
            Some(&self.client_id),
        ];
        let texts: usize = texts.into_iter().flatten().map(|text| text.len()).sum();
        let host = self.client_host.len();
        MEMBER_BYTES + texts + host + self.assignment.len() + protocol_bytes(&self.protocols)
    }
}
