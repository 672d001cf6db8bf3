"""confluent-kafka (librdkafka) as a member of a restless group, see journal.py. The assignor `consumer` has
it join by the newer protocol (KIP-848), whose broker says how often it is to be heard of.
"""

from confluent_kafka import Consumer, KafkaException, TopicPartition

import journal


def protocol(assignor):
    if assignor == "consumer":
        return {"group.protocol": "consumer"}
    return {
        "partition.assignment.strategy": assignor,
        "session.timeout.ms": journal.SESSION_MS,
        "heartbeat.interval.ms": journal.HEARTBEAT_MS,
    }


class Member(journal.Journal):
    def __init__(self, bootstrap, group, topic, assignor, path, die):
        super().__init__(path, die)
        self.topic = topic
        config = {
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "max.poll.interval.ms": journal.REBALANCE_MS,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 20,
            "reconnect.backoff.max.ms": journal.RECONNECT_MS,
        }
        self.consumer = Consumer(config | protocol(assignor))
        self.consumer.subscribe(
            [topic], on_assign=self.on_assign, on_revoke=self.on_revoke, on_lost=self.on_lost
        )

    def on_assign(self, consumer, partitions):
        # None where it has learnt meanwhile that it is no member any more.
        self.assigned(-1, consumer.memberid() or "-", journal.numbers(partitions))

    def on_revoke(self, _, partitions):
        self.write_runs()
        self.reached("revoked")
        self.commit(journal.numbers(partitions))
        self.gone("revoked", journal.numbers(partitions))

    def on_lost(self, _, partitions):
        self.gone("lost", journal.numbers(partitions))

    def commit(self, partitions):
        """Commits what was taken of these. That it may fail belongs to this case."""
        offsets = [
            TopicPartition(self.topic, p, self.open[p]) for p in partitions if p in self.open
        ]
        if not offsets:
            return
        self.committing()
        try:
            answered = self.consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException:
            return
        for p in answered:
            if p.error is None:
                self.acknowledged(p.partition, p.offset)

    def step(self):
        message, count = self.consumer.poll(journal.POLL_S), 0
        while message is not None:
            if message.error() is None:
                self.take(message.partition(), message.offset())
            count += 1
            message = self.consumer.poll(0) if count < journal.AT_ONCE else None
        self.write_runs()
        if journal.commits_now(count):
            self.commit(list(self.open))


if __name__ == "__main__":
    journal.run(Member)
