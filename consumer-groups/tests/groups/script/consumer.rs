//! Commands about groups of the newer protocol.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidewheel_consumer_groups::TopicInfo;
use tidewheel_consumer_groups::records::consumer::TopicIdPartition;
use tidewheel_consumer_groups::request::ConsumerHeartbeatRequest;
use tidewheel_protocol::Uuid;

use super::{Script, Words, partition, split_commas};

/// Topics that there are or were, with their ids.
#[derive(Default)]
pub(super) struct Topics {
    now: BTreeMap<Arc<str>, TopicInfo>,
    names: BTreeMap<Uuid, String>,
}

impl Topics {
    fn id(&self, name: &str) -> Uuid {
        let mut known = self.names.iter();
        let known = known.find(|(_, known)| known.as_str() == name);
        known.map_or(Uuid([0xff; 16]), |(id, _)| *id)
    }

    pub(super) fn name(&self, id: Uuid) -> &str {
        self.names.get(&id).map_or("?", String::as_str)
    }
}

impl Script {
    pub(super) fn set_topics(&mut self, words: &Words) {
        let before = std::mem::take(&mut self.topics.now);
        for &(name, partitions) in &words.named {
            let partitions = partitions.parse().unwrap();
            let id = before.get(name).map_or_else(
                || {
                    let mut shown = name.to_owned();
                    while self.topics.names.values().any(|known| *known == shown) {
                        shown.push('\'');
                    }
                    let id = Uuid([u8::try_from(self.topics.names.len() + 1).unwrap(); 16]);
                    self.topics.names.insert(id, shown);
                    id
                },
                |known| known.id,
            );
            self.topics
                .now
                .insert(name.into(), TopicInfo { id, partitions });
        }
        let topics = self.topics.now.iter();
        self.runner
            .set_topics(topics.map(|(name, topic)| (Arc::clone(name), *topic)));
    }

    pub(super) fn consumer_heartbeat(&mut self, words: &Words) -> ConsumerHeartbeatRequest {
        let epoch: i32 = words.at(3).parse().unwrap();
        let joins = epoch == 0 && !words.has("bare");
        let name = words.at(2).replace("''", "");
        let owned = words.get("owned").or(joins.then_some(""));
        let owned = owned.map(|owned| {
            let all = owned.split(',').filter(|name| !name.is_empty());
            let named = all.map(|name| {
                let (topic, partition) = partition(name);
                let topic_id = self.topics.id(&topic);
                TopicIdPartition {
                    topic_id,
                    partition,
                }
            });
            named.collect::<BTreeSet<_>>()
        });
        if name.is_empty() {
            let full = Uuid(self.requests.to_be_bytes()).to_string();
            let made = self.made.entry("#".to_owned()).or_default();
            *made += 1;
            self.aliases.insert(format!("#{made}"), full);
        }
        let topics = words.get("topics").map(|topics| match topics {
            "" => Vec::new(),
            topics => split_commas(topics).into_iter().map(Arc::from).collect(),
        });
        let wants = words.get("regex").is_none() && joins;
        ConsumerHeartbeatRequest {
            group_id: words.group(),
            member_id: self.full(&name),
            chooses_member_id: !words.has("v0"),
            epoch,
            instance_id: words.text("instance"),
            rack_id: words.text("rack"),
            client_id: words.text("client").unwrap_or_else(|| "c".into()),
            client_host: "/127.0.0.1".into(),
            rebalance_timeout_ms: words.number("rebalance").unwrap_or(if joins {
                60_000
            } else {
                -1
            }),
            topics: topics.or(wants.then(|| vec!["t".into()])),
            regex: words.text("regex"),
            assignor: words.text("assignor"),
            owned,
            new_member_uuid: self.requests,
        }
    }
}
