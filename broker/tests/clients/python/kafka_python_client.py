"""kafka-python against a broker. See harness.py for the cases."""

import queue
import re
import threading
import time
from concurrent.futures import Future

from kafka import (
    ConsumerRebalanceListener,
    KafkaAdminClient,
    KafkaConsumer,
    KafkaProducer,
    OffsetAndMetadata,
    TopicPartition,
    errors,
)
from kafka.admin import (
    AlterConfigOp,
    ConfigResource,
    ConfigResourceType,
    ConfigSourceType,
    NewTopic,
)
from kafka.protocol.admin import ElectionType

import admin
import groups
import harness
from admin import Description, Setting
from harness import Record


class Member(groups.Member, ConsumerRebalanceListener):
    """Polls on a thread of its own: a poll that ends while the group forms has not joined it. The topic's
    metadata is there before it subscribes: the library may assign nothing to itself without, and then
    stays in that, with Apache Kafka too."""

    def __init__(self, bootstrap, group, topic, auto_commit):
        super().__init__()
        self.topic, self.asked, self.own, self.failed = topic, queue.Queue(), set(), None
        self.consumer = KafkaConsumer(
            bootstrap_servers=bootstrap,
            group_id=group,
            enable_auto_commit=auto_commit,
            auto_offset_reset="earliest",
            heartbeat_interval_ms=groups.HEARTBEAT_MS,
            fetch_max_wait_ms=20,
            # A leader that did not know the topic yet assigns nothing until it hears of it again: by default in 5 min.
            metadata_max_age_ms=5_000,
        )
        self.consumer.partitions_for_topic(topic)
        self.consumer.subscribe([topic], listener=self)
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def on_partitions_revoked(self, revoked):
        self.own -= {p.partition for p in revoked}

    def on_partitions_assigned(self, assigned):
        self.assigned()
        self.own |= {p.partition for p in assigned}

    def work(self):
        try:
            while not self.consumer._closed:
                for records in self.consumer.poll(200).values():
                    for m in records:
                        self.take(m.partition, m.offset)
                while not self.asked.empty():
                    self.asked.get()()
        except Exception as error:
            self.failed = error

    def ask(self, function):
        """Has the thread call it between two polls: the consumer bears one thread only."""
        answer = Future()

        def call():
            try:
                answer.set_result(function())
            except Exception as error:
                answer.set_exception(error)

        self.asked.put(call)
        return answer.result(groups.LIMIT_S)

    def step(self):
        if self.failed:
            raise self.failed
        time.sleep(0.01)

    def owned(self):
        return list(self.own)

    def commit(self, offsets):
        at = lambda p: TopicPartition(self.topic, p)
        sent = {at(p): OffsetAndMetadata(*of) for p, of in offsets.items()}
        self.ask(lambda: self.consumer.commit(sent))

    def committed(self, partitions):
        of = lambda p: self.consumer.committed(TopicPartition(self.topic, p), metadata=True)
        seen = self.ask(lambda: {p: of(p) for p in partitions})
        return {p: (held.offset, held.metadata) for p, held in seen.items()}

    def leave(self):
        self.ask(self.consumer.close)
        self.thread.join(groups.LIMIT_S)


class KafkaPython(admin.Library):
    # Its metadata requests create the topic that is asked for.
    lacks = {"metadata/unknown-topic"}
    # It adds what is set already to the AlterConfigs that it sends.
    replaces = False
    # kafka-python refuses to send a header without a value, and a record with neither key nor value.
    null_headers = False
    null_records = False

    def __init__(self, bootstrap):
        self.bootstrap = bootstrap
        self.admin = KafkaAdminClient(bootstrap_servers=bootstrap)
        self.consumer = KafkaConsumer(
            bootstrap_servers=bootstrap,
            enable_auto_commit=False,
            auto_offset_reset="none",
            fetch_max_wait_ms=20,
        )

    def producer(self, codec="none", acks=-1, idempotent=False, **more):
        return KafkaProducer(
            bootstrap_servers=self.bootstrap,
            acks="all" if acks < 0 else acks,
            enable_idempotence=idempotent,
            compression_type=None if codec == "none" else codec,
            linger_ms=5,
            batch_size=16_384,
            **more,
        )

    def produce(self, topic, records, codec, acks, idempotent):
        producer = self.producer(codec, acks, idempotent)
        try:
            sent = [
                producer.send(
                    topic,
                    value=r.value,
                    key=r.key,
                    headers=r.headers,
                    partition=r.partition,
                    timestamp_ms=r.timestamp,
                )
                for r in records
            ]
            producer.flush(30)
            done = [future.get(30) for future in sent]
        finally:
            producer.close(timeout=10)
        return [(d.partition, d.offset if acks != 0 else None) for d in done]

    def read(self, topic, partition, offset, count, timeout_s):
        at = TopicPartition(topic, partition)
        self.consumer.assign([at])
        self.consumer.seek(at, offset)
        out, until = [], time.monotonic() + timeout_s
        while len(out) < count and (left := until - time.monotonic()) > 0:
            found = self.consumer.poll(int(min(left, 0.2) * 1000), max_records=count - len(out))
            for m in found.get(at, []):
                out.append(
                    Record(m.key, m.value, list(m.headers), m.timestamp, partition, m.offset)
                )
        return out

    def end_offset(self, topic, partition):
        at = TopicPartition(topic, partition)
        return self.consumer.end_offsets([at])[at]

    def offset_for_time(self, topic, partition, timestamp):
        at = TopicPartition(topic, partition)
        found = self.consumer.offsets_for_times({at: timestamp})[at]
        return None if found is None else found.offset

    def close(self):
        self.consumer.close(autocommit=False)
        self.admin.close()

    def code(self, error):
        return error.errno if isinstance(error, errors.KafkaError) else None

    def make(self, topic, partitions, replicas, config, check_only):
        new = NewTopic(topic, partitions, replicas, topic_configs=config)
        self.admin.create_topics([new], validate_only=check_only)

    def delete_topic(self, topic):
        self.admin.delete_topics([topic])

    def names(self):
        return self.admin.list_topics()

    def describe(self, topic):
        (seen,) = self.admin.describe_topics([topic])
        fields = ("partition_index", "leader_id", "replica_nodes", "isr_nodes")
        partitions = sorted(tuple(p[f] for f in fields) for p in seen["partitions"])
        return Description(str(seen["topic_id"]), seen["is_internal"], partitions)

    def settings(self, kind, name):
        kind = ConfigResourceType(kind)
        asked = [ConfigResource(kind, name)]
        seen = self.admin.describe_configs(asked, include_synonyms=True, config_filter="all")
        source = lambda c: ConfigSourceType[c["config_source"]].value
        return {
            k: Setting(c["value"], source(c), c["read_only"])
            for k, c in seen[kind.name.lower()][name].items()
        }

    def cluster(self):
        seen = self.admin.describe_cluster()
        return seen["cluster_id"], seen["controller_id"], [b["broker_id"] for b in seen["brokers"]]

    def offset(self, topic, at):
        asked = {TopicPartition(topic, 0): at}
        (seen,) = self.admin.list_partition_offsets(asked).values()
        return seen.offset, seen.timestamp

    def alter(self, kind, name, values, incremental):
        """The library tells an error by its text, which starts with the code."""
        asked = [ConfigResource(ConfigResourceType(kind), name, values)]
        seen = self.admin.alter_configs(asked, raise_on_unknown=False, incremental=incremental)
        said = seen[ConfigResourceType(kind).name.lower()][name]
        if said != "OK":
            raise errors.for_code(int(re.match(r"\[Error (\d+)\]", said)[1]))(said)

    def replace_settings(self, kind, name, values):
        self.alter(kind, name, values, False)

    def change_settings(self, kind, name, changes):
        op = lambda v: AlterConfigOp.DELETE if v is None else AlterConfigOp.SET
        self.alter(kind, name, {k: (op(v), v) for k, v in changes.items()}, True)

    def grow(self, topic, count, check_only):
        self.admin.create_partitions({topic: count}, validate_only=check_only)

    def delete_records(self, topic, partition, before):
        seen = self.admin.delete_records({TopicPartition(topic, partition): before})
        return seen[TopicPartition(topic, partition)]["low_watermark"]

    def log_sizes(self, topic):
        (node,) = self.admin.describe_log_dirs([topic])
        return {
            p["partition_index"]: p["partition_size"]
            for folder in node["log_dirs"]
            for t in folder["topics"]
            for p in t["partitions"]
        }

    def elect(self, topic, partition):
        seen = self.admin.elect_leaders(
            ElectionType.PREFERRED, {topic: [partition]}, raise_errors=False
        )
        return seen.replica_election_results[0].partition_result[0].error_code

    def reassignments(self):
        return self.admin.list_partition_reassignments()

    def producers(self, topic, partition):
        (seen,) = self.admin.describe_producers([TopicPartition(topic, partition)]).values()
        return [(p.producer_id, p.producer_epoch, p.last_sequence) for p in seen.active_producers]

    def join(self, group, topic, auto_commit):
        return Member(self.bootstrap, group, topic, auto_commit)

    def groups(self):
        return [g["group_id"] for g in self.admin.list_groups()]

    def describe_group(self, group):
        (seen,) = self.admin.describe_groups([group]).values()
        return seen["group_state"].lower(), len(seen["members"])

    def delete_group(self, group):
        """The library tells an error by the name of its class."""
        (said,) = self.admin.delete_groups([group]).values()
        if said != "OK":
            raise getattr(errors, said)

    def group_cases(self, prefix):
        return groups.Groups(self, prefix).cases(groups.CASES)


if __name__ == "__main__":
    ARGS = harness.arguments(["matrix", "digest", "broker", "groups"])
    harness.run(KafkaPython(ARGS.bootstrap), ARGS)
