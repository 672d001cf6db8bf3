"""aiokafka against a broker. See harness.py for the cases."""

import asyncio
import time

from aiokafka import (
    AIOKafkaConsumer,
    AIOKafkaProducer,
    ConsumerRebalanceListener,
    TopicPartition,
    errors,
)
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

import admin
import groups
import harness
from admin import Description, Setting
from harness import Record, check


class Member(groups.Member, ConsumerRebalanceListener):
    """Works while the loop runs, so while any member or the library is waited for."""

    def __init__(self, library, group, topic, auto_commit):
        super().__init__()
        self.library, self.group, self.topic = library, group, topic
        library.wait(self.start(auto_commit))

    async def start(self, auto_commit):
        self.consumer = AIOKafkaConsumer(
            bootstrap_servers=self.library.bootstrap,
            group_id=self.group,
            enable_auto_commit=auto_commit,
            auto_offset_reset="earliest",
            heartbeat_interval_ms=groups.HEARTBEAT_MS,
            fetch_max_wait_ms=20,
        )
        self.consumer.subscribe([self.topic], listener=self)
        await self.consumer.start()

    def on_partitions_revoked(self, revoked):
        pass

    def on_partitions_assigned(self, assigned):
        self.assigned()

    def step(self):
        for records in self.library.wait(self.consumer.getmany(timeout_ms=20)).values():
            for m in records:
                self.take(m.partition, m.offset)

    def owned(self):
        return [p.partition for p in self.consumer.assignment()]

    def commit(self, offsets):
        sent = {TopicPartition(self.topic, p): of for p, of in offsets.items()}
        self.library.wait(self.consumer.commit(sent))

    def committed(self, partitions):
        """The consumer gives offsets alone, the admin client the texts too."""
        asked = [TopicPartition(self.topic, p) for p in partitions]
        of = self.library.admin.list_consumer_group_offsets(self.group, partitions=asked)
        seen = self.library.wait(of)
        for at, held in seen.items():
            check(self.library.wait(self.consumer.committed(at)) == held.offset, f"{at}: not {held}")
        return {at.partition: (held.offset, held.metadata) for at, held in seen.items()}

    def leave(self):
        self.library.wait(self.consumer.stop())


class Aiokafka(admin.Library):
    deletes_groups = False
    lacks = {
        "admin/incremental-alter-configs",
        "admin/log-dirs",
        "admin/elect-leaders",
        "admin/list-reassignments",
        "admin/describe-producers",
        "max timestamp",
        # Its metadata requests create the topic that is asked for.
        "metadata/unknown-topic",
    }
    # aiokafka refuses to send a record with neither key nor value.
    null_records = False

    def __init__(self, bootstrap):
        self.bootstrap = bootstrap
        self.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self.loop)
        self.wait(self.start())

    def wait(self, coroutine):
        """The harness calls one function at a time: each runs on the loop until it is done."""
        return self.loop.run_until_complete(coroutine)

    async def start(self):
        self.admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        self.consumer = AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap,
            enable_auto_commit=False,
            auto_offset_reset="none",
            fetch_max_wait_ms=20,
        )
        await self.admin.start()
        await self.consumer.start()

    def refresh(self, topic):
        self.wait(self.consumer._client.force_metadata_update())

    def produce(self, topic, records, codec, acks, idempotent):
        return self.wait(self.send_all(topic, records, codec, acks, idempotent))

    async def send_all(self, topic, records, codec, acks, idempotent):
        producer = AIOKafkaProducer(
            bootstrap_servers=self.bootstrap,
            acks="all" if acks < 0 else acks,
            enable_idempotence=idempotent,
            compression_type=None if codec == "none" else codec,
            linger_ms=5,
        )
        await producer.start()
        try:
            sent = [
                await producer.send(
                    topic,
                    value=r.value,
                    key=r.key,
                    headers=r.headers,
                    partition=r.partition,
                    timestamp_ms=r.timestamp,
                )
                for r in records
            ]
            done = await asyncio.wait_for(asyncio.gather(*sent), 30)
        finally:
            await producer.stop()
        # At acks=0 there is no answer: aiokafka resolves to None, and the records tell where they went.
        if acks == 0:
            check(all(d is None for d in done), f"an answer at acks=0: {done[:1]}")
            return await self.placed_unacked(topic, records)
        return [(d.partition, d.offset) for d in done]

    async def placed_unacked(self, topic, records):
        """Where records went that nobody acknowledged, found by reading the topic."""
        at_time = {}
        (seen,) = await self.admin.describe_topics([topic])
        partitions = [p["partition"] for p in seen["partitions"]]
        until = time.monotonic() + harness.READ_TIMEOUT_S
        wanted = {(r.timestamp, r.key, r.value) for r in records}
        while not wanted <= at_time.keys() and time.monotonic() < until:
            at_time = {}
            for p in partitions:
                at = TopicPartition(topic, p)
                end = (await self.consumer.end_offsets([at]))[at]
                for r in await self.read_some(topic, p, 0, end, harness.READ_TIMEOUT_S):
                    at_time[(r.timestamp, r.key, r.value)] = p
        missing = [r for r in records if (r.timestamp, r.key, r.value) not in at_time]
        check(not missing, f"{len(missing)} of {len(records)} records did not arrive")
        return [(at_time[(r.timestamp, r.key, r.value)], None) for r in records]

    def read(self, topic, partition, offset, count, timeout_s):
        return self.wait(self.read_some(topic, partition, offset, count, timeout_s))

    async def read_some(self, topic, partition, offset, count, timeout_s):
        at = TopicPartition(topic, partition)
        self.consumer.assign([at])
        self.consumer.seek(at, offset)
        out, until = [], time.monotonic() + timeout_s
        while len(out) < count and (left := until - time.monotonic()) > 0:
            found = await self.consumer.getmany(
                at, timeout_ms=int(min(left, 0.2) * 1000), max_records=count - len(out)
            )
            for m in found.get(at, []):
                headers = list(m.headers)
                out.append(Record(m.key, m.value, headers, m.timestamp, partition, m.offset))
        return out

    def end_offset(self, topic, partition):
        at = TopicPartition(topic, partition)
        return self.wait(self.consumer.end_offsets([at]))[at]

    def offset_for_time(self, topic, partition, timestamp):
        at = TopicPartition(topic, partition)
        found = self.wait(self.consumer.offsets_for_times({at: timestamp}))[at]
        return None if found is None else found.offset

    def close(self):
        self.wait(self.consumer.stop())
        self.wait(self.admin.close())
        self.loop.close()

    def code(self, error):
        return error.errno if isinstance(error, errors.KafkaError) else None

    def answered(self, coroutine, results):
        """Most answers of the admin client carry their errors along."""
        answer = self.wait(coroutine)
        for seen in answer.to_object()[results]:
            if seen["error_code"]:
                raise errors.for_code(seen["error_code"])(str(seen))

    def make(self, topic, partitions, replicas, config, check_only):
        wanted = [NewTopic(topic, partitions, replicas, topic_configs=config)]
        asked = self.admin.create_topics(wanted, validate_only=check_only)
        self.answered(asked, "topic_errors")

    def delete_topic(self, topic):
        self.answered(self.admin.delete_topics([topic]), "topic_error_codes")

    def names(self):
        return self.wait(self.admin.list_topics())

    def describe(self, topic):
        (seen,) = self.wait(self.admin.describe_topics([topic]))
        fields = ("partition", "leader", "replicas", "isr")
        partitions = sorted(tuple(p[f] for f in fields) for p in seen["partitions"])
        return Description(None, seen["is_internal"], partitions)

    def settings(self, kind, name):
        asked = [ConfigResource(ConfigResourceType(kind), name)]
        (answer,) = self.wait(self.admin.describe_configs(asked, include_synonyms=True))
        (resource,) = answer.to_object()["resources"]
        check(resource["error_code"] == 0, f"{resource['error_code']} for {name}")
        return {
            c["config_names"]: Setting(c["config_value"], c["config_source"], c["read_only"])
            for c in resource["config_entries"]
        }

    def cluster(self):
        seen = self.wait(self.admin.describe_cluster())
        return seen["cluster_id"], seen["controller_id"], [b["node_id"] for b in seen["brokers"]]

    def offset(self, topic, at):
        asked = TopicPartition(topic, 0)
        if at == admin.EARLIEST:
            return self.wait(self.consumer.beginning_offsets([asked]))[asked], None
        if at == admin.LATEST:
            return self.end_offset(topic, 0), None
        seen = self.wait(self.consumer.offsets_for_times({asked: at}))[asked]
        return (-1, None) if seen is None else (seen.offset, seen.timestamp)

    def replace_settings(self, kind, name, values):
        asked = [ConfigResource(ConfigResourceType(kind), name, values)]
        for answer in self.wait(self.admin.alter_configs(asked)):
            for code, text, *_ in answer.resources:
                if code:
                    raise errors.for_code(code)(text)

    def grow(self, topic, count, check_only):
        asked = {topic: NewPartitions(count)}
        self.wait(self.admin.create_partitions(asked, validate_only=check_only))

    def delete_records(self, topic, partition, before):
        asked = {TopicPartition(topic, partition): RecordsToDelete(before)}
        return self.wait(self.admin.delete_records(asked))[TopicPartition(topic, partition)]

    def join(self, group, topic, auto_commit):
        return Member(self, group, topic, auto_commit)

    def groups(self):
        return [name for name, *_ in self.wait(self.admin.list_consumer_groups())]

    def describe_group(self, group):
        (answer,) = self.wait(self.admin.describe_consumer_groups([group]))
        (seen,) = answer.to_object()["groups"]
        check(seen["error_code"] == 0, f"{seen}")
        return seen["state"].lower(), len(seen["members"])

    def group_cases(self, prefix):
        return groups.Groups(self, prefix).cases(groups.CASES)


if __name__ == "__main__":
    ARGS = harness.arguments(["matrix", "digest", "broker", "groups"])
    harness.run(Aiokafka(ARGS.bootstrap), ARGS)
