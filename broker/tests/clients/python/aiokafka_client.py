"""aiokafka against a broker. See harness.py for the cases."""

import asyncio
import time

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition, errors
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

import harness
from harness import Adapter, Failure, Record, check


def error_of(function):
    """The class of the Kafka error a call ends with."""
    try:
        function()
    except errors.KafkaError as error:
        return type(error)
    raise Failure("the call went through, an error was due")


class Aiokafka(Adapter):
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

    def new_topic(self, topic, partitions, config):
        wanted = [NewTopic(topic, partitions, 1, topic_configs=config)]
        answer = self.wait(self.admin.create_topics(wanted)).to_object()
        for seen in answer["topic_errors"]:
            if seen["error_code"]:
                raise errors.for_code(seen["error_code"])(str(seen))

    def delete_topic(self, topic):
        answer = self.wait(self.admin.delete_topics([topic])).to_object()
        for seen in answer["topic_error_codes"]:
            if seen["error_code"]:
                raise errors.for_code(seen["error_code"])(str(seen))

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
        partitions = sorted(self.consumer.partitions_for_topic(topic) or await self.known(topic))
        until = time.monotonic() + harness.READ_TIMEOUT_S
        while len(at_time) < len(records) and time.monotonic() < until:
            at_time = {}
            for p in partitions:
                at = TopicPartition(topic, p)
                end = (await self.consumer.end_offsets([at]))[at]
                for r in await self.read_some(topic, p, 0, end, harness.READ_TIMEOUT_S):
                    at_time[(r.timestamp, r.key, r.value)] = p
        missing = [r for r in records if (r.timestamp, r.key, r.value) not in at_time]
        check(not missing, f"{len(missing)} of {len(records)} records did not arrive")
        return [(at_time[(r.timestamp, r.key, r.value)], None) for r in records]

    async def known(self, topic):
        return (p["partition"] for p in (await self.topic_metadata(topic))["partitions"])

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

    def extra_cases(self, prefix):
        return [
            ("admin/create", lambda: self.admin_create(f"{prefix}-admin-create")),
            ("admin/describe-configs", lambda: self.admin_configs(f"{prefix}-admin-configs")),
            ("admin/errors", lambda: self.admin_errors(f"{prefix}-admin-errors")),
            ("admin/delete-recreate", lambda: self.admin_delete(f"{prefix}-admin-delete")),
            ("admin/list-offsets", lambda: self.admin_offsets(f"{prefix}-admin-offsets")),
            ("admin/cluster", self.admin_cluster),
            ("metadata/auto-create", lambda: self.auto_create(f"{prefix}-auto-create")),
            ("fetch/out-of-range", lambda: self.out_of_range(f"{prefix}-out-of-range")),
            ("produce/too-large", lambda: self.too_large(f"{prefix}-too-large")),
        ]

    async def topic_metadata(self, topic):
        return (await self.admin.describe_topics([topic]))[0]

    def admin_create(self, topic):
        self.create_topic(topic, 5, {})
        seen = self.wait(self.topic_metadata(topic))
        partitions = sorted(seen["partitions"], key=lambda p: p["partition"])
        check([p["partition"] for p in partitions] == list(range(5)), f"partitions {partitions}")
        for p in partitions:
            check(p["leader"] >= 0, f"no leader: {p}")
            check(p["replicas"] == p["isr"] == [p["leader"]], f"replicas: {p}")
        check(not seen["is_internal"], "is_internal is set")
        check(topic in self.wait(self.admin.list_topics()), "not listed")

    def configs_of(self, kind, name):
        asked = [ConfigResource(kind, name)]
        answers = self.wait(self.admin.describe_configs(asked, include_synonyms=True))
        (resource,) = answers[0].to_object()["resources"]
        check(resource["error_code"] == 0, f"{resource['error_code']} for {name}")
        return {c["config_names"]: c for c in resource["config_entries"]}

    def admin_configs(self, topic):
        self.create_topic(topic, 1, {"retention.ms": "3600000"})
        seen = self.configs_of(ConfigResourceType.TOPIC, topic)
        retention = seen["retention.ms"]
        check(retention["config_value"] == "3600000", f"retention.ms {retention}")
        check(retention["config_source"] == 1, f"retention.ms {retention}")
        limit = seen["max.message.bytes"]
        check(limit["config_value"] == "1048588", f"max.message.bytes {limit}")
        check(limit["config_source"] == 5, f"max.message.bytes {limit}")
        check(not limit["read_only"], f"max.message.bytes {limit}")
        check(len(seen) >= 20, f"only {len(seen)} topic settings")
        cluster = self.wait(self.admin.describe_cluster())
        broker = self.configs_of(ConfigResourceType.BROKER, str(cluster["brokers"][0]["node_id"]))
        check("num.partitions" in broker, f"broker settings {len(broker)}")

    def admin_errors(self, topic):
        self.create_topic(topic, 1, {})
        make = lambda name, **config: lambda: self.new_topic(name, 1, config)
        check(error_of(make(topic)) is errors.TopicAlreadyExistsError, "create twice")
        check(error_of(make("no spaces")) is errors.InvalidTopicError, "bad name")
        unknown = make(topic + "-b", no_such_key="1")
        check(error_of(unknown) is errors.InvalidConfigurationError, "unknown key")
        gone = lambda: self.delete_topic(topic + "-d")
        check(error_of(gone) is errors.UnknownTopicOrPartitionError, "delete of an unknown topic")

    def admin_delete(self, topic):
        for n in range(3):
            self.create_topic(topic, 1, {})
            placed = self.produce(topic, [Record(None, b"round %d" % n)], "none", -1, False)
            check(placed == [(0, 0)], f"round {n}: first record at {placed}")
            self.delete_topic(topic)
            self.check_gone(topic, lambda: self.wait(self.admin.list_topics()))

    def admin_offsets(self, topic):
        self.create_topic(topic, 1, harness.TOPIC_CONFIG)
        base = int(time.time() * 1000) - 100_000
        records = [Record(None, b"v", [], base + s, 0) for s in (5_000, 9_000, 7_000, 8_000)]
        for codec in ("none", "gzip"):
            self.produce(topic, records, codec, -1, False)
        at = TopicPartition(topic, 0)
        ask = lambda t: self.wait(self.consumer.offsets_for_times({at: t}))[at]
        first = self.wait(self.consumer.beginning_offsets([at]))[at]
        check(first == 0, f"earliest {first}")
        check(self.end_offset(topic, 0) == 8, f"latest {self.end_offset(topic, 0)}")
        seen = ask(base + 6_000)
        check((seen.offset, seen.timestamp) == (1, base + 9_000), f"timestamp {seen}")
        check(ask(base + 9_001) is None, "timestamp past the end")

    def admin_cluster(self):
        seen = self.wait(self.admin.describe_cluster())
        ids = [b["node_id"] for b in seen["brokers"]]
        check(seen["cluster_id"], "no cluster id")
        check(seen["controller_id"] in ids, f"controller {seen['controller_id']} of {ids}")

    def auto_create(self, topic):
        placed = self.produce(topic, [Record(b"k", b"v")], "none", -1, False)
        check(placed[0][1] == 0, f"placed {placed}")
        check(topic in self.wait(self.admin.list_topics()), "not listed")

    def out_of_range(self, topic):
        self.create_topic(topic, 1, {})
        self.produce(topic, [Record(None, b"v")], "none", -1, False)
        code = error_of(lambda: self.read(topic, 0, 1_000, 1, 10))
        check(issubclass(code, errors.OffsetOutOfRangeError), f"error {code}")

    def too_large(self, topic):
        self.create_topic(topic, 1, {"max.message.bytes": "20000"})
        big = [Record(None, b"x" * 30_000)]
        code = error_of(lambda: self.produce(topic, big, "none", -1, False))
        check(code is errors.MessageSizeTooLargeError, f"error {code}")
        placed = self.produce(topic, [Record(None, b"x")], "none", -1, False)
        check(placed == [(0, 0)], f"placed {placed}")


if __name__ == "__main__":
    ARGS = harness.arguments(["matrix", "digest"])
    harness.run(Aiokafka(ARGS.bootstrap), ARGS)
