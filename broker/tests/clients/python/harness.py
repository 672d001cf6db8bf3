"""What every Python client program shares: the records, the cases and the comparison.

A program hands `run` an adapter (see `Adapter`); the harness produces through it, reads back
through it and prints one JSON line per case: {"case": ..., "ok": ..., "detail": ...}.
Nothing here imports a Kafka client.
"""

import argparse
import hashlib
import json
import random
import struct
import sys
import threading
import time
import traceback
from dataclasses import dataclass, field
from typing import Optional

ALL_CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
# name of the mode in a case -> (acks, idempotent)
MODES = {
    "acks=0": (0, False),
    "acks=1": (1, False),
    "acks=all": (-1, False),
    "idempotent": (-1, True),
}
STANDARD_RECORDS = 240
KEYS = [b"key-%d" % i for i in range(12)] + [b"\xff\x00\xfe", "ключ".encode(), b"k" * 300]
# Value lengths of the `sizes` case, from nothing to near a client's default limit of one message;
# together enough for a segment of 1 MiB to roll.
SIZES = [0, 1, 2, 127, 128, 1000, 16_383, 16_384, 100_000, 500_000, 900_000, 800_000, 600_000]
TOPIC_CONFIG = {"segment.bytes": "1048576", "retention.ms": "-1"}
READ_TIMEOUT_S = 20.0
# How long a reader at the end is watched for records that must not come.
QUIET_S = 0.3


@dataclass
class Record:
    """One record as sent (partition None = the client decides) or as read (offset set)."""

    key: Optional[bytes]
    value: Optional[bytes]
    headers: list = field(default_factory=list)
    timestamp: Optional[int] = None
    partition: Optional[int] = None
    offset: Optional[int] = None

    def content(self):
        """What must come back unchanged."""
        return (self.key, self.value, list(self.headers), self.timestamp)


class Failure(Exception):
    """A case did not do what it must; the text says what was seen instead."""


class Adapter:
    """What a client program must offer the harness.

    codecs: names out of ALL_CODECS; close(): ends producers and consumers.
    """

    codecs = ALL_CODECS
    # Whether the client can send a header without a value.
    null_headers = True
    # Whether the client can send a record with neither key nor value.
    null_records = True
    settle = False

    def create_topic(self, topic, partitions, config):
        """Creates a topic that can be written and read at once."""
        self.new_topic(topic, partitions, config)
        if self.settle:
            for p in range(partitions):
                self.until_served(topic, p)

    def until_served(self, topic, partition):
        """Apache Kafka answers CreateTopics before the new leader serves: waits for it."""
        until = time.monotonic() + READ_TIMEOUT_S
        while True:
            try:
                self.refresh(topic)
                return self.end_offset(topic, partition)
            except Exception:
                if time.monotonic() > until:
                    raise
                time.sleep(0.05)

    def new_topic(self, topic, partitions, config):
        raise NotImplementedError

    def refresh(self, topic):
        """Makes the client forget what it knows about a topic, where it would keep to that."""

    def produce(self, topic, records, codec, acks, idempotent):
        """Sends in order, waits for all; returns [(partition, offset or None)] in order."""
        raise NotImplementedError

    def read(self, topic, partition, offset, count, timeout_s):
        """Up to `count` records from `offset`, waiting `timeout_s` at most."""
        raise NotImplementedError

    def end_offset(self, topic, partition):
        raise NotImplementedError

    def offset_for_time(self, topic, partition, timestamp):
        """The offset of the first record at or after `timestamp`; None past the end."""
        raise NotImplementedError

    def extra_cases(self, prefix):
        """[(case name, function without arguments)] beside those of the codecs; see admin.py."""
        return []

    def broker_cases(self, prefix):
        """The same, of cases that want the broker to themselves."""
        return []

    def group_cases(self, prefix):
        """The same, of consumer groups; see groups.py."""
        return []

    def close(self):
        pass


def check(condition, text):
    if not condition:
        raise Failure(text)


def short(content):
    """A record's content for a message: lengths instead of long bytes."""
    key, value, headers, timestamp = content
    cut = lambda b: b if b is None or len(b) <= 40 else f"{len(b)} bytes {b[:16]!r}..."
    return f"key={cut(key)!r} value={cut(value)!r} headers={headers!r} timestamp={timestamp}"


def payload(rng, size):
    """Half text that compresses well, half noise that does not."""
    text = (b"%d the tide turns twice a day; " % rng.randrange(1000)) * (size // 28 + 1)
    half = size // 2
    return text[:half] + rng.randbytes(size - half)


def headers_of(index, null_headers):
    if index % 5 == 0:
        return []
    return [
        ("index", b"%d" % index),
        ("dup", b"first"),
        ("dup", b"second"),
        ("null", None if null_headers else b"null"),
        ("empty", b""),
        ("bytes-ü", b"\x00\xff\x80"),
    ]


def standard_set(seed, partitions, adapter):
    """The records of one round trip: every kind of key, value, header and timestamp."""
    rng = random.Random(seed)
    base = int(time.time() * 1000) - 3_600_000
    records = []
    for i in range(STANDARD_RECORDS):
        key, partition = None, None
        if i % 4 <= 1:
            key = rng.choice(KEYS)
        elif i % 4 == 2:
            partition = i % partitions
            key = b"" if i % 8 == 2 else None
        value = payload(rng, rng.randrange(1, 2000))
        if i % 11 == 1:
            value = None if key is not None or adapter.null_records else b""
        elif i % 11 == 2:
            value = b""
        # Every thirteenth record is dated before its neighbours.
        timestamp = base + 10 * i - (5_000 if i % 13 == 12 else 0)
        records.append(
            Record(key, value, headers_of(i, adapter.null_headers), timestamp, partition)
        )
    return records


def size_set(seed, partitions):
    rng = random.Random(seed)
    base = int(time.time() * 1000) - 3_600_000
    return [
        Record(b"size-%d" % size, payload(rng, size), [], base + n, n % partitions)
        for n, size in enumerate(SIZES)
    ]


def by_partition(records, placed, partitions):
    """What each partition must hold, in order, with the offsets the broker gave."""
    expected = {p: [] for p in range(partitions)}
    for record, (partition, offset) in zip(records, placed):
        if record.partition is not None:
            check(
                partition == record.partition, f"sent to {record.partition}, placed in {partition}"
            )
        check(partition in expected, f"a record was placed in partition {partition}")
        if offset is not None:
            want = len(expected[partition])
            check(offset == want, f"partition {partition}: acked offset {offset}, expected {want}")
        expected[partition].append(record)
    return expected


def compare(got, want, first_offset, where):
    check(len(got) == len(want), f"{where}: {len(got)} records read, {len(want)} sent")
    for n, (g, w) in enumerate(zip(got, want)):
        check(
            g.offset == first_offset + n, f"{where}: offset {g.offset}, expected {first_offset + n}"
        )
        if g.content() != w.content():
            raise Failure(
                f"{where} offset {g.offset}: read {short(g.content())}, sent {short(w.content())}"
            )


def check_keys(expected):
    """Records of one key stay in one partition (their order is compared elsewhere)."""
    home = {}
    for partition, records in expected.items():
        for record in records:
            if record.key and record.partition is None:
                at = home.setdefault(record.key, partition)
                check(at == partition, f"key {record.key!r} in partitions {at} and {partition}")
    check(len(home) > 3, "too few keys to say anything")


class Matrix:
    """The cases that are the same for every client."""

    def __init__(self, adapter, prefix, partitions):
        self.adapter, self.prefix, self.partitions = adapter, prefix, partitions
        self.written = {}

    def cases(self):
        for codec in self.adapter.codecs:
            for mode in MODES:
                yield f"{codec}/{mode}", lambda c=codec, m=mode: self.round_trip(c, m)
            yield f"{codec}/offset", lambda c=codec: self.from_offset(c)
            yield f"{codec}/timestamp", lambda c=codec: self.from_timestamp(c)
            yield f"{codec}/end", lambda c=codec: self.from_end(c)
            yield f"{codec}/sizes", lambda c=codec: self.sizes(c)
        yield from self.adapter.extra_cases(self.prefix)

    def topic(self, codec, mode):
        return f"{self.prefix}-{codec}-{mode.replace('=', '-')}"

    def write(self, topic, records, codec, acks, idempotent):
        self.adapter.create_topic(topic, self.partitions, TOPIC_CONFIG)
        placed = self.adapter.produce(topic, records, codec, acks, idempotent)
        check(len(placed) == len(records), f"{len(placed)} of {len(records)} records reported")
        expected = by_partition(records, placed, self.partitions)
        for p, want in expected.items():
            compare(
                self.adapter.read(topic, p, 0, len(want), READ_TIMEOUT_S), want, 0, f"partition {p}"
            )
            end = self.adapter.end_offset(topic, p)
            check(end == len(want), f"partition {p} ends at {end}, {len(want)} records were sent")
        return expected

    def round_trip(self, codec, mode):
        acks, idempotent = MODES[mode]
        topic = self.topic(codec, mode)
        records = standard_set(topic, self.partitions, self.adapter)
        expected = self.write(topic, records, codec, acks, idempotent)
        check_keys(expected)
        if mode == "acks=all":
            self.written[codec] = (topic, expected)

    def of(self, codec):
        check(codec in self.written, f"needs {codec}/acks=all, which failed")
        return self.written[codec]

    def from_offset(self, codec):
        topic, expected = self.of(codec)
        for p, want in expected.items():
            for start in {1, len(want) // 3, len(want) // 2 + 1, len(want) - 1}:
                got = self.adapter.read(topic, p, start, len(want) - start, READ_TIMEOUT_S)
                compare(got, want[start:], start, f"partition {p} from {start}")

    def from_timestamp(self, codec):
        topic, expected = self.of(codec)
        for p, want in expected.items():
            stamps = [r.timestamp for r in want]
            asked = {
                0,
                min(stamps),
                stamps[len(want) // 2],
                stamps[-1] - 1,
                max(stamps),
                max(stamps) + 1,
            }
            for t in sorted(asked):
                first = next((n for n, s in enumerate(stamps) if s >= t), None)
                at = self.adapter.offset_for_time(topic, p, t)
                check(
                    at == first, f"partition {p}: {t} is at {at}, the first such record is {first}"
                )
                if first is not None:
                    some = want[first : first + 3]
                    got = self.adapter.read(topic, p, at, len(some), READ_TIMEOUT_S)
                    compare(got, some, first, f"partition {p} from time {t}")

    def from_end(self, codec):
        topic, expected = self.of(codec)
        acks, idempotent = MODES["acks=1"]
        before = {p: self.adapter.end_offset(topic, p) for p in expected}
        for p, end in before.items():
            check(
                self.adapter.read(topic, p, end, 1, QUIET_S) == [],
                f"partition {p}: a record past the end",
            )
        now = int(time.time() * 1000)
        more = [Record(None, b"end %d" % n, [], now + n, n % self.partitions) for n in range(9)]
        placed = self.adapter.produce(topic, more, codec, acks, idempotent)
        for p, end in before.items():
            want = [r for r in more if r.partition == p]
            offsets = [o for r, (_, o) in zip(more, placed) if r.partition == p]
            check(
                offsets == list(range(end, end + len(want))),
                f"partition {p}: acked at {offsets}, end was {end}",
            )
            compare(
                self.adapter.read(topic, p, end, len(want), READ_TIMEOUT_S),
                want,
                end,
                f"partition {p} from the end",
            )

    def sizes(self, codec):
        topic = self.topic(codec, "sizes")
        self.write(topic, size_set(topic, self.partitions), codec, -1, False)


def digest(adapter, topic, partitions):
    """SHA-256 over everything a topic holds: equal for every client that reads it rightly."""
    out = hashlib.sha256()
    blob = lambda b: struct.pack(">i", -1) if b is None else struct.pack(">i", len(b)) + b
    for p in range(partitions):
        end = adapter.end_offset(topic, p)
        got = adapter.read(topic, p, 0, end, READ_TIMEOUT_S)
        check(len(got) == end, f"{topic}-{p}: {len(got)} of {end} records read")
        for r in got:
            out.update(struct.pack(">iqq", p, r.offset, r.timestamp) + blob(r.key) + blob(r.value))
            out.update(struct.pack(">i", len(r.headers)))
            for name, value in r.headers:
                out.update(blob(name.encode()) + blob(value))
    return out.hexdigest()


SAYING = threading.Lock()


def say(value):
    """Prints one line of JSON. Threads may say something at once: lines stay whole."""
    with SAYING:
        print(json.dumps(value), flush=True)


def report(case, ok, detail, started):
    ms = round((time.monotonic() - started) * 1000)
    say({"case": case, "ok": ok, "detail": detail, "ms": ms})


def attempt(case, function):
    """Runs one case; prints its line; says whether it went well."""
    started = time.monotonic()
    try:
        detail = function()
        report(case, True, detail or "", started)
        return True
    except Failure as failure:
        report(case, False, str(failure), started)
    except Exception:  # A client's error is a failed case, not the end of the program.
        report(case, False, traceback.format_exc(limit=-3), started)
    return False


def arguments(modes):
    parser = argparse.ArgumentParser()
    parser.add_argument("--bootstrap", required=True, help="HOST:PORT of the broker")
    parser.add_argument("--prefix", default="t", help="topics are named PREFIX-...")
    parser.add_argument("--partitions", type=int, default=3, help="partitions of a topic")
    parser.add_argument("--settle", action="store_true", help="wait for the leaders of a new topic")
    parser.add_argument("mode", choices=modes)
    parser.add_argument("rest", nargs="*", help="topics (digest) or what the mode takes")
    return parser.parse_args()


def run(adapter, args):
    """`matrix`: every case but those of `broker`, which want it to themselves, and of `groups`.
    `digest TOPIC...`: one line per topic with its digest."""
    adapter.settle = args.settle
    try:
        if args.mode == "matrix":
            cases = Matrix(adapter, args.prefix, args.partitions).cases()
        elif args.mode == "broker":
            cases = adapter.broker_cases(args.prefix)
        elif args.mode == "groups":
            cases = adapter.group_cases(args.prefix)
        else:
            cases = [
                (f"digest/{t}", lambda t=t: digest(adapter, t, args.partitions)) for t in args.rest
            ]
        results = [attempt(name, function) for name, function in cases]
    finally:
        adapter.close()
    sys.exit(0 if all(results) else 1)
