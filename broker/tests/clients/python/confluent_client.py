"""confluent-kafka (librdkafka) against a broker. See harness.py for the cases."""

import time

from confluent_kafka import (
    Consumer,
    ElectionType,
    KafkaError,
    KafkaException,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

import admin
import groups
import harness
from admin import Description, Setting
from harness import Record, check

ADMIN_TIMEOUT_S = 20


def only(futures):
    """The result for the one thing that was asked for."""
    (future,) = futures.values()
    return future.result(ADMIN_TIMEOUT_S)


class Member(groups.Member):
    protocol = {"heartbeat.interval.ms": groups.HEARTBEAT_MS}

    def __init__(self, common, group, topic, auto_commit):
        super().__init__()
        self.topic = topic
        config = {
            "group.id": group,
            "enable.auto.commit": auto_commit,
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 20,
        }
        self.consumer = Consumer(common | self.protocol | config)
        self.consumer.subscribe([topic], on_assign=self.assigned)

    def step(self):
        for m in self.consumer.consume(100, 0.02):
            if m.error():
                raise KafkaException(m.error())
            self.take(m.partition(), m.offset())

    def owned(self):
        return [p.partition for p in self.consumer.assignment()]

    def commit(self, offsets):
        sent = [TopicPartition(self.topic, p, at, text) for p, (at, text) in offsets.items()]
        for answered in self.consumer.commit(offsets=sent, asynchronous=False):
            check(answered.error is None, f"commit: {answered}")

    def committed(self, partitions):
        asked = [TopicPartition(self.topic, p) for p in partitions]
        seen = self.consumer.committed(asked, timeout=10)
        return {p.partition: (p.offset, p.metadata or "") for p in seen}

    def leave(self):
        self.consumer.close()


class Confluent(admin.Library):
    lacks = {"admin/log-dirs", "admin/list-reassignments", "admin/describe-producers"}
    out_of_range = KafkaError._AUTO_OFFSET_RESET

    def __init__(self, bootstrap):
        self.common = {"bootstrap.servers": bootstrap}
        self.admin = AdminClient(self.common)
        self.consumer = Consumer(
            self.common
            | {
                "group.id": "unused",
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "fetch.wait.max.ms": 20,
                "enable.partition.eof": False,
            }
        )

    def refresh(self, topic):
        self.consumer.list_topics(topic, timeout=10)

    def producer(self, codec="none", acks=-1, idempotent=False, **more):
        config = {"compression.codec": codec, "acks": acks, "enable.idempotence": idempotent}
        config |= {"batch.num.messages": 25, "linger.ms": 5}
        return Producer(self.common | config | more)

    def produce(self, topic, records, codec, acks, idempotent):
        producer = self.producer(codec, acks, idempotent)
        placed = [None] * len(records)

        def delivered(index, error, message):
            if error is None:
                placed[index] = (message.partition(), message.offset() if acks != 0 else None)
            else:
                placed[index] = error

        for n, r in enumerate(records):
            producer.produce(
                topic,
                key=r.key,
                value=r.value,
                headers=r.headers,
                timestamp=r.timestamp or 0,
                partition=-1 if r.partition is None else r.partition,
                on_delivery=lambda e, m, n=n: delivered(n, e, m),
            )
            producer.poll(0)
        left = producer.flush(30)
        check(left == 0, f"{left} records were not delivered in 30 s")
        failed = [p for p in placed if isinstance(p, KafkaError)]
        if failed:
            raise KafkaException(failed[0])
        return placed

    def read(self, topic, partition, offset, count, timeout_s):
        self.consumer.assign([TopicPartition(topic, partition, offset)])
        out, until = [], time.monotonic() + timeout_s
        while len(out) < count and (left := until - time.monotonic()) > 0:
            for m in self.consumer.consume(count - len(out), min(left, 0.2)):
                if m.error():
                    raise KafkaException(m.error())
                headers = [(k, v) for k, v in m.headers() or []]
                out.append(
                    Record(m.key(), m.value(), headers, m.timestamp()[1], partition, m.offset())
                )
        self.consumer.unassign()
        return out

    def end_offset(self, topic, partition):
        return self.consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)[1]

    def offset_for_time(self, topic, partition, timestamp):
        asked = [TopicPartition(topic, partition, timestamp)]
        found = self.consumer.offsets_for_times(asked, timeout=10)[0]
        check(found.error is None, f"offsets_for_times: {found.error}")
        return found.offset if found.offset >= 0 else None

    def close(self):
        self.consumer.close()

    def code(self, error):
        return error.args[0].code() if isinstance(error, KafkaException) else None

    def make(self, topic, partitions, replicas, config, check_only):
        new = NewTopic(topic, num_partitions=partitions, replication_factor=replicas, config=config)
        only(self.admin.create_topics([new], validate_only=check_only))

    def delete_topic(self, topic):
        only(self.admin.delete_topics([topic]))

    def names(self):
        return self.admin.list_topics(timeout=10).topics

    def describe(self, topic):
        seen = only(self.admin.describe_topics(TopicCollection([topic])))
        ids = lambda nodes: [n.id for n in nodes]
        partitions = [(p.id, p.leader.id, ids(p.replicas), ids(p.isr)) for p in seen.partitions]
        return Description(str(seen.topic_id), seen.is_internal, partitions)

    def settings(self, kind, name):
        seen = only(self.admin.describe_configs([ConfigResource(ResourceType(kind), name)]))
        return {k: Setting(c.value, c.source, c.is_read_only) for k, c in seen.items()}

    def cluster(self):
        seen = self.admin.describe_cluster().result(ADMIN_TIMEOUT_S)
        return seen.cluster_id, seen.controller.id, [n.id for n in seen.nodes]

    def offset(self, topic, at):
        kinds = {
            admin.EARLIEST: OffsetSpec.earliest(),
            admin.LATEST: OffsetSpec.latest(),
            admin.MAX_TIMESTAMP: OffsetSpec.max_timestamp(),
        }
        asked = {TopicPartition(topic, 0): kinds.get(at) or OffsetSpec.for_timestamp(at)}
        seen = only(self.admin.list_offsets(asked))
        return seen.offset, seen.timestamp

    def replace_settings(self, kind, name, values):
        resource = ConfigResource(ResourceType(kind), name, set_config=values)
        only(self.admin.alter_configs([resource]))

    def change_settings(self, kind, name, changes):
        op = lambda v: AlterConfigOpType.DELETE if v is None else AlterConfigOpType.SET
        entries = [ConfigEntry(k, v, incremental_operation=op(v)) for k, v in changes.items()]
        resource = ConfigResource(ResourceType(kind), name, incremental_configs=entries)
        only(self.admin.incremental_alter_configs([resource]))

    def grow(self, topic, count, check_only):
        only(self.admin.create_partitions([NewPartitions(topic, count)], validate_only=check_only))

    def delete_records(self, topic, partition, before):
        return only(self.admin.delete_records([TopicPartition(topic, partition, before)])).low_watermark

    def elect(self, topic, partition):
        asked = [TopicPartition(topic, partition)]
        seen = self.admin.elect_leaders(ElectionType.PREFERRED, asked).result(ADMIN_TIMEOUT_S)
        (error,) = seen.values()
        return 0 if error is None else error.code()

    def join(self, group, topic, auto_commit):
        return Member(self.common, group, topic, auto_commit)

    def groups(self):
        seen = self.admin.list_consumer_groups().result(ADMIN_TIMEOUT_S)
        check(not seen.errors, f"list_consumer_groups: {seen.errors}")
        return [g.group_id for g in seen.valid]

    def describe_group(self, group):
        seen = only(self.admin.describe_consumer_groups([group]))
        return seen.state.name.lower(), len(seen.members)

    def delete_group(self, group):
        only(self.admin.delete_consumer_groups([group]))

    def group_cases(self, prefix):
        return groups.Groups(self, prefix).cases(groups.CASES)


if __name__ == "__main__":
    ARGS = harness.arguments(["matrix", "digest", "broker", "groups"])
    harness.run(Confluent(ARGS.bootstrap), ARGS)
