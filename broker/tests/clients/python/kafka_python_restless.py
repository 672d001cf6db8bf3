"""kafka-python as a member of a restless group, see journal.py."""

import time

from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition, errors
from kafka.consumer.subscription_state import ConsumerRebalanceListener
from kafka.coordinator.assignors.range import RangePartitionAssignor

import harness
import journal

COMMIT_MS = 5_000


class Member(journal.Journal, ConsumerRebalanceListener):
    """The library calls a listener where it cannot commit: what was not committed comes again."""

    def __init__(self, bootstrap, group, topic, assignor, path, die):
        super().__init__(path, die)
        harness.check(assignor == "range", f"{assignor} is not for kafka-python")
        self.topic = topic
        config = {
            "bootstrap_servers": bootstrap,
            "group_id": group,
            "partition_assignment_strategy": (RangePartitionAssignor,),
            "session_timeout_ms": journal.SESSION_MS,
            "max_poll_interval_ms": journal.REBALANCE_MS,
            "heartbeat_interval_ms": journal.HEARTBEAT_MS,
            "enable_auto_commit": False,
            "auto_offset_reset": "earliest",
            "fetch_max_wait_ms": 20,
            "max_poll_records": journal.AT_ONCE,
            "reconnect_backoff_max_ms": journal.RECONNECT_MS,
        }
        self.consumer = insisting(lambda: KafkaConsumer(**config))
        # See kafka_python_client.py.
        insisting(lambda: self.consumer.partitions_for_topic(topic))
        self.consumer.subscribe([topic], listener=self)

    def on_partitions_assigned(self, assigned):
        own = self.consumer.group_metadata()
        self.assigned(own.generation_id, own.member_id, journal.numbers(assigned))

    def on_partitions_revoked(self, revoked):
        self.reached("revoked")
        self.gone("revoked", journal.numbers(revoked))

    def on_partitions_lost(self, lost):
        self.gone("lost", journal.numbers(lost))

    def commit(self):
        """Commits what was taken. That it may fail belongs to this case."""
        sent = dict(self.open)
        if not sent:
            return
        self.committing()
        offsets = {TopicPartition(self.topic, p): OffsetAndMetadata(at, "", -1) for p, at in sent.items()}
        try:
            self.consumer.commit(offsets, timeout_ms=COMMIT_MS)
        except errors.KafkaError:
            return
        for partition, offset in sent.items():
            self.acknowledged(partition, offset)

    def step(self):
        count = 0
        try:
            for records in self.consumer.poll(int(journal.POLL_S * 1000)).values():
                for m in records:
                    self.take(m.partition, m.offset)
                    count += 1
        except errors.KafkaError:
            time.sleep(journal.POLL_S)  # the broker is away
        self.write_runs()
        if journal.commits_now(count):
            self.commit()


def insisting(call):
    """The broker may be away."""
    while True:
        try:
            return call()
        except errors.KafkaError:
            time.sleep(journal.POLL_S)


if __name__ == "__main__":
    journal.run(Member)
