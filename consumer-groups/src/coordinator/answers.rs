//! DescribeGroups and ListGroups.

use std::sync::Arc;

use tidewheel_protocol::consumer_protocol::PROTOCOL_TYPE;

use super::{Group, GroupCoordinator, Membership};
use crate::classic::group::{ClassicGroup, State};
use crate::classic::member::Member;
use crate::consumer::removal;
use crate::error::GroupError;
use crate::records::OffsetsRecord;
use crate::reply::{DescribedMember, GroupDescription, GroupReply, ListedGroup};
use crate::request::{DescribeRequest, ListRequest};

/// The type of classic groups in ListGroups.
const CLASSIC: &str = "classic";
/// The type of groups of the newer protocol in ListGroups.
const CONSUMER: &str = "consumer";

fn described(group: &ClassicGroup) -> GroupDescription {
    let is_stable = group.state == State::Stable;
    let protocol_name = group.protocol_name.clone().filter(|_| is_stable);
    let protocol_name = protocol_name.unwrap_or_default();
    let member = |member: &Member| DescribedMember {
        member_id: Arc::clone(&member.id),
        instance_id: member.instance_id.clone(),
        client_id: Arc::clone(&member.client_id),
        client_host: Arc::clone(&member.client_host),
        metadata: member.metadata(&protocol_name).cloned().unwrap_or_default(),
        assignment: member.assignment.clone(),
    };
    GroupDescription {
        state: group.state_name(),
        protocol_type: group.protocol_type.clone().unwrap_or_default(),
        members: group.members().values().map(member).collect(),
        protocol_name,
    }
}

impl Membership {
    /// The records that end an empty group.
    pub(super) fn end(&self, group_id: &Arc<str>) -> Vec<OffsetsRecord> {
        let group_id = || Arc::clone(group_id);
        match self {
            Membership::Classic(_) => vec![OffsetsRecord::GroupMetadata {
                group_id: group_id(),
                value: None,
            }],
            Membership::Consumer(group) => {
                let record = |change| OffsetsRecord::ConsumerGroup {
                    group_id: group_id(),
                    change,
                };
                removal::end(group).into_iter().map(record).collect()
            }
        }
    }
}

fn matches(filter: &[String], name: &str) -> bool {
    filter.is_empty()
        || filter
            .iter()
            .any(|wanted| wanted.trim().eq_ignore_ascii_case(name))
}

impl GroupCoordinator {
    pub(super) fn describe(&self, request: &DescribeRequest) -> GroupReply {
        let group = self.groups.get(&request.group_id);
        GroupReply::Describe(match group.map(|group| &group.membership) {
            Some(Membership::Classic(group)) => Ok(described(group)),
            Some(Membership::Consumer(_)) | None => Err(GroupError::GroupIdNotFound),
        })
    }

    pub(super) fn list(&self, request: &ListRequest) -> GroupReply {
        let listed = |(group_id, group): (&Arc<str>, &Group)| {
            let (state, group_type, protocol_type) = match &group.membership {
                Membership::Classic(group) => {
                    (group.state_name(), CLASSIC, group.protocol_type.clone())
                }
                Membership::Consumer(group) => {
                    (group.state_name(), CONSUMER, Some(PROTOCOL_TYPE.into()))
                }
            };
            let is_wanted = matches(&request.states, state) && matches(&request.types, group_type);
            is_wanted.then(|| ListedGroup {
                group_id: Arc::clone(group_id),
                protocol_type: protocol_type.unwrap_or_default(),
                state,
                group_type,
            })
        };
        GroupReply::List(self.groups.iter().filter_map(listed).collect())
    }
}
