//! Everybody who takes part, connected.

use crate::client::TopicInfo;
use crate::error::BenchError;
use crate::load::consumer::{Assignment, Consumer, Purpose};
use crate::load::librdkafka::Applications;
use crate::load::producer::{ProducerSetup, Share};
use crate::load::recording::Recording;
use crate::values::Rate;
use crate::workload::{Client, Mode, Workload};

/// Everybody who takes part, connected.
pub(super) struct Crew {
    pub(super) producers: Vec<(ProducerSetup, Share)>,
    pub(super) followers: Vec<Consumer>,
    pub(super) catch_up: Vec<Consumer>,
    /// Those of librdkafka, in the place of the others.
    pub(super) applications: Applications,
}

impl Crew {
    pub(super) async fn assemble(
        workload: &Workload,
        brokers: &[String],
        topics: &[TopicInfo],
        recording: Option<Recording>,
    ) -> Result<Self, BenchError> {
        let mut crew = Self {
            producers: Vec::new(),
            followers: Vec::new(),
            catch_up: Vec::new(),
            applications: Applications::default(),
        };
        if workload.client == Client::Librdkafka {
            crew.applications = Applications::open(workload, brokers, topics).await?;
            return Ok(crew);
        }
        crew.add_consumers(workload, topics).await?;
        crew.add_producers(workload, topics, recording).await?;
        Ok(crew)
    }

    async fn add_consumers(
        &mut self,
        workload: &Workload,
        topics: &[TopicInfo],
    ) -> Result<(), BenchError> {
        let purpose = match workload.mode {
            Mode::Consume if workload.repeat => Purpose::Repeat,
            Mode::Consume => Purpose::ReadAll,
            Mode::Produce | Mode::E2e | Mode::Mixed | Mode::Replay | Mode::Delayed => {
                Purpose::Follow
            }
        };
        for topic in topics.iter().filter(|_| workload.mode.consumes()) {
            for _ in 0..workload.subscriptions {
                for assignment in divide(topic, workload.consumers) {
                    let consumer = Consumer::open(workload, assignment, purpose).await?;
                    self.followers.push(consumer);
                }
            }
            for _ in 0..workload.catch_up {
                for assignment in divide(topic, 1) {
                    let consumer = Consumer::open(workload, assignment, Purpose::CatchUp).await?;
                    self.catch_up.push(consumer);
                }
            }
        }
        if workload.mode == Mode::Consume {
            self.followers.retain(|consumer| consumer.remaining() > 0);
            if self.followers.is_empty() {
                return Err(BenchError::usage(
                    "there is nothing to consume: the topic is empty",
                ));
            }
        }
        Ok(())
    }

    async fn add_producers(
        &mut self,
        workload: &Workload,
        topics: &[TopicInfo],
        recording: Option<Recording>,
    ) -> Result<(), BenchError> {
        for (share, topic) in Share::all(workload, topics) {
            let mut setup = ProducerSetup::open(workload, topic, share).await?;
            setup.recording = recording.as_ref().map(|all| all.share(share));
            self.producers.push((setup, share));
        }
        Ok(())
    }

    /// Records that are due per second, over all producers.
    pub(super) fn records_per_second(&self, workload: &Workload) -> Option<f64> {
        match workload.rate {
            Rate::Max => None,
            Rate::Records(rate) => Some(rate),
            Rate::Bytes(rate) => Some(rate / self.mean_value()?.max(1.0)),
        }
    }

    /// The mean of the values that producers send, in bytes.
    pub(super) fn mean_value(&self) -> Option<f64> {
        let own = self.producers.first().map(|(setup, _)| setup.mean_value());
        own.or_else(|| self.applications.mean_value())
    }

    /// How many take part.
    pub(super) fn len(&self) -> usize {
        let applications = &self.applications;
        let others = applications.producers.len() + applications.consumers.len();
        self.producers.len() + self.followers.len() + self.catch_up.len() + others
    }
}

/// The partitions of a topic for so many consumers, each at one broker.
pub(super) fn divide(topic: &TopicInfo, consumers: u32) -> Vec<Assignment> {
    let mut assignments: Vec<Assignment> = Vec::new();
    for consumer in 0..consumers as usize {
        let before = assignments.len();
        let mine = topic.leaders.iter().skip(consumer);
        for leader in mine.step_by(consumers as usize) {
            let known = assignments[before..]
                .iter_mut()
                .find(|assignment| assignment.leader == leader.address);
            match known {
                Some(assignment) => assignment.partitions.push(leader.partition),
                None => assignments.push(Assignment {
                    topic: topic.name.clone(),
                    leader: leader.address.clone(),
                    partitions: vec![leader.partition],
                }),
            }
        }
    }
    assignments
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Leader;

    #[test]
    fn partitions_are_divided_between_consumers_and_by_leader() {
        let leader = |partition: i32, address: &str| Leader {
            partition,
            address: address.to_owned(),
        };
        let topic = TopicInfo {
            name: "t".to_owned(),
            leaders: vec![
                leader(0, "a"),
                leader(1, "a"),
                leader(2, "b"),
                leader(3, "a"),
            ],
        };
        let divided = |consumers| -> Vec<(String, Vec<i32>)> {
            let parts = divide(&topic, consumers).into_iter();
            parts.map(|one| (one.leader, one.partitions)).collect()
        };
        assert_eq!(
            divided(1),
            [("a".into(), vec![0, 1, 3]), ("b".into(), vec![2])]
        );
        assert_eq!(
            divided(2),
            [
                ("a".into(), vec![0]),
                ("b".into(), vec![2]),
                ("a".into(), vec![1, 3])
            ]
        );
        assert_eq!(divided(9).len(), 4);
    }
}
