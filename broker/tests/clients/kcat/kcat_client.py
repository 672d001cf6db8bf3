"""kcat (librdkafka of the distribution, 2.0.2 on Debian 12) against a broker.

kcat creates topics by using them, cannot set timestamps and prints no delivery reports, so its cases
are its own: each record carries its number in its value (or key), and what was sent is compared with
what every partition holds. Prints the lines that ../python/harness.py describes.
"""

import pathlib
import random
import re
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "python"))

import harness
from harness import ALL_CODECS, MODES, Failure, Record, check
from kcat_groups import Groups

TIMEOUT_S = 60
# Between records and between key and value: bytes that no record of ours contains.
RECORD_END, KEY_END = b"\x01\x02--\n", b"\x01\x03=="
SENT_HEADERS = ["index=7", "dup=first", "dup=second", "null", "empty="]
READ_HEADERS = "index=7,dup=first,dup=second,null=NULL,empty="


class Kcat:
    def __init__(self, bootstrap, partitions, settle):
        self.bootstrap, self.partitions, self.settle = bootstrap, partitions, settle

    def call(self, *args, stdin=b""):
        command = ["kcat", "-b", self.bootstrap, *args]
        done = subprocess.run(command, input=stdin, capture_output=True, timeout=TIMEOUT_S)
        check(
            done.returncode == 0, f"{command} ended with {done.returncode}: {done.stderr[-400:]!r}"
        )
        return done.stdout

    def produce(self, topic, codec, mode, records, partition=None, headers=(), nulls=False):
        acks, idempotent = MODES[mode]
        args = ["-P", "-t", topic, "-z", codec, "-X", f"acks={acks}", "-X", "linger.ms=5"]
        args += [
            "-X",
            f"enable.idempotence={str(idempotent).lower()}",
            "-X",
            "batch.num.messages=20",
        ]
        args += ["-D", RECORD_END.decode(), "-K", KEY_END.decode()]
        args += [] if partition is None else ["-p", str(partition)]
        args += ["-Z"] if nulls else []
        for header in headers:
            args += ["-H", header]
        line = lambda r: (b"" if r.key is None else r.key + KEY_END) + (r.value or b"")
        self.call(*args, stdin=RECORD_END.join(line(r) for r in records))

    def read(self, topic, partition, offset, *more):
        """[(record, headers as text)] from `offset` (as kcat writes it) to the end."""
        form = "%p %o %T %K %S %h\\n%k%s\\n"
        args = ["-C", "-q", "-e", "-t", topic, "-p", str(partition), "-o", str(offset), "-f", form]
        return self.parse(self.call(*args, "-X", "fetch.wait.max.ms=20", *more))

    @staticmethod
    def parse(data):
        out, at = [], 0
        while at < len(data):
            eol = data.index(b"\n", at)
            p, o, t, k, s, headers = data[at:eol].decode().split(" ", 5)
            cut = eol + 1 + max(int(k), 0)
            end = cut + max(int(s), 0)
            check(data[end : end + 1] == b"\n", f"kcat's output is not in step at byte {end}")
            key = None if int(k) < 0 else data[eol + 1 : cut]
            value = None if int(s) < 0 else data[cut:end]
            out.append((Record(key, value, [], int(t), int(p), int(o)), headers))
            at = end + 1
        return out

    def ready(self, topic):
        """Creates the topic by asking for it; its partitions must be as many as the broker was told."""
        until = time.monotonic() + 20
        while True:
            text = self.call("-L", "-t", topic).decode()
            count = re.search(rf'topic "{re.escape(topic)}" with (\d+) partitions', text)
            if (
                count
                and int(count[1]) == self.partitions
                and "not available" not in text
                and "Unknown" not in text
            ):
                break
            check(time.monotonic() < until, f"the topic does not come up: {text}")
            time.sleep(0.05)
        # A client that retries after NOT_LEADER_OR_FOLLOWER reorders: Apache Kafka needs time here.
        for partition in range(self.partitions if self.settle else 0):
            while not self.is_served(topic, partition):
                check(time.monotonic() < until, f"partition {partition} of {topic} has no leader")
                time.sleep(0.05)

    def is_served(self, topic, partition):
        try:
            return self.query(topic, partition, -1) >= 0
        except Failure:
            return False

    def query(self, topic, partition, timestamp):
        text = self.call("-Q", "-t", f"{topic}:{partition}:{timestamp}").decode()
        found = re.search(rf"{re.escape(topic)} \[{partition}\] offset (-?\d+)", text)
        check(found, f"query answered {text!r}")
        return int(found[1])

    def wait_for(self, topic, count):
        """At acks=0 a producer ends before its records are written."""
        until = time.monotonic() + 20
        while sum(self.query(topic, p, -1) for p in range(self.partitions)) < count:
            check(time.monotonic() < until, f"{count} records do not arrive")
            time.sleep(0.02)


def numbered(rng, numbers, keys):
    """Records whose value starts with their number."""
    return [
        Record(
            rng.choice(keys) if keys else None,
            b"%06d:" % n + harness.payload(rng, rng.randrange(800)).replace(b"\x01", b" "),
        )
        for n in numbers
    ]


class Cases:
    def __init__(self, kcat, prefix):
        self.kcat, self.prefix = kcat, prefix
        self.written = {}

    def all(self):
        for codec in ALL_CODECS:
            for mode in MODES:
                yield f"{codec}/{mode}", lambda c=codec, m=mode: self.round_trip(c, m)
            yield f"{codec}/offset", lambda c=codec: self.from_offset(c)
            yield f"{codec}/timestamp", lambda c=codec: self.from_timestamp(c)
            yield f"{codec}/end", lambda c=codec: self.from_end(c)
            yield f"{codec}/sizes", lambda c=codec: self.sizes(c)
        yield "metadata/list", self.metadata
        yield "metadata/auto-create", self.auto_create
        yield "metadata/query", self.offsets

    def topic(self, codec, mode):
        return f"{self.prefix}-{codec}-{mode.replace('=', '-')}"

    def send(self, topic, codec, mode):
        """Four runs of kcat: keyed, unkeyed, with headers to each partition, null values."""
        rng = random.Random(topic)
        keys = [b"key-%d" % n for n in range(12)] + [b"\xff\xfe", b"k" * 200]
        runs = [(numbered(rng, range(0, 120), keys), {}), (numbered(rng, range(120, 140), []), {})]
        for p in range(self.kcat.partitions):
            records = numbered(rng, range(200 + 10 * p, 205 + 10 * p), []) + [
                Record(b"only-key-%d" % p, b"")
            ]
            runs.append((records, {"partition": p, "headers": SENT_HEADERS}))
        runs.append(([Record(b"null-%d" % n, None) for n in range(10)], {"nulls": True}))
        sent = []
        for records, how in runs:
            self.kcat.produce(topic, codec, mode, records, **how)
            sent += [(r, how) for r in records]
            self.kcat.wait_for(topic, len(sent))
        return sent

    def round_trip(self, codec, mode):
        topic = self.topic(codec, mode)
        self.kcat.ready(topic)
        sent = self.send(topic, codec, mode)
        held = [self.kcat.read(topic, p, "beginning") for p in range(self.kcat.partitions)]
        check(
            sum(map(len, held)) == len(sent),
            f"{[len(h) for h in held]} records read, {len(sent)} sent",
        )
        where = {}
        for number, (record, how) in enumerate(sent):
            where.setdefault((record.key, record.value), []).append((number, how))
        homes = {}
        for p, records in enumerate(held):
            last = -1
            for at, (record, headers) in enumerate(records):
                check(record.offset == at, f"partition {p}: offset {record.offset} at place {at}")
                found = where.get((record.key, record.value))
                check(
                    found,
                    f"partition {p} offset {at}: nobody sent {record.key!r} {record.value!r}"[:300],
                )
                number, how = found.pop(0)
                check(
                    number > last, f"partition {p} offset {at}: record {number} after record {last}"
                )
                last = number
                check(how.get("partition", p) == p, f"sent to {how.get('partition')}, found in {p}")
                want = READ_HEADERS if "headers" in how else ""
                check(
                    headers == want,
                    f"partition {p} offset {at}: headers {headers!r}, sent {want!r}",
                )
                if record.key:
                    check(
                        homes.setdefault(record.key, p) == p,
                        f"key {record.key!r} in two partitions",
                    )
        if mode == "acks=all":
            self.written[codec] = (topic, held)

    def of(self, codec):
        check(codec in self.written, f"needs {codec}/acks=all, which failed")
        return self.written[codec]

    def from_offset(self, codec):
        topic, held = self.of(codec)
        for p, records in enumerate(held):
            for start in (1, len(records) // 2, len(records) - 1):
                check(
                    self.kcat.read(topic, p, start) == records[start:],
                    f"partition {p} from {start} differs",
                )
            check(
                self.kcat.read(topic, p, -3) == records[-3:],
                f"partition {p}: the last three differ",
            )

    def from_timestamp(self, codec):
        topic, held = self.of(codec)
        for p, records in enumerate(held):
            stamps = [r.timestamp for r, _ in records]
            for stamp in {stamps[0], stamps[len(stamps) // 2], stamps[-1]}:
                first = next(n for n, s in enumerate(stamps) if s >= stamp)
                got = self.kcat.read(topic, p, f"s@{stamp}")
                check(
                    got == records[first:],
                    f"partition {p} from time {stamp}: starts at {got[:1]}, due {first}",
                )
                check(
                    self.kcat.query(topic, p, stamp) == first, f"partition {p}: query for {stamp}"
                )

    def from_end(self, codec):
        topic, held = self.of(codec)
        form = "%p %o %T %K %S %h\\n%k%s\\n"
        args = [
            "kcat",
            "-b",
            self.kcat.bootstrap,
            "-C",
            "-u",
            "-t",
            topic,
            "-p",
            "0",
            "-o",
            "end",
            "-c",
            "3",
            "-f",
            form,
        ]
        reader = subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            line = b""
            while b"Reached end of topic" not in line:
                line = reader.stderr.readline()
                check(line, "kcat ended before it reached the end of the topic")
            more = [Record(None, b"end %d" % n) for n in range(3)]
            self.kcat.produce(topic, codec, "acks=1", more, partition=0)
            data, _ = reader.communicate(timeout=TIMEOUT_S)
        finally:
            reader.kill()
            reader.wait()
        got = self.kcat.parse(data)
        check([r.value for r, _ in got] == [r.value for r in more], f"read {got}")
        check(
            [r.offset for r, _ in got] == [len(held[0]) + n for n in range(3)], f"offsets of {got}"
        )

    def sizes(self, codec):
        topic = self.topic(codec, "sizes")
        self.kcat.ready(topic)
        rng = random.Random(topic)
        values = [harness.payload(rng, size) for size in harness.SIZES if size]
        with tempfile.TemporaryDirectory() as folder:
            files = [pathlib.Path(folder, str(n)) for n in range(len(values))]
            for file, value in zip(files, values):
                file.write_bytes(value)
            self.kcat.call(
                "-P", "-t", topic, "-p", "0", "-z", codec, "-X", "acks=all", *map(str, files)
            )
        got = [r.value for r, _ in self.kcat.read(topic, 0, "beginning")]
        check(
            got == values,
            f"sizes read: {[len(v or b'') for v in got]}, sent: {[len(v) for v in values]}",
        )

    def metadata(self):
        text = self.kcat.call("-L", "-J").decode()
        seen = harness.json.loads(text)
        ids = [b["id"] for b in seen["brokers"]]
        check(ids and seen["controllerid"] in ids, f"controller {seen['controllerid']} of {ids}")
        for topic in seen["topics"]:
            for part in topic["partitions"]:
                check(part["leader"] in ids, f"{topic['topic']}: {part}")

    def auto_create(self):
        topic = f"{self.prefix}-auto-create"
        self.kcat.produce(topic, "none", "acks=all", [Record(b"k", b"v")])
        check(
            sum(len(self.kcat.read(topic, p, "beginning")) for p in range(self.kcat.partitions))
            == 1,
            "not found",
        )

    def offsets(self):
        topic = f"{self.prefix}-query"
        self.kcat.ready(topic)
        self.kcat.produce(topic, "gzip", "acks=all", [Record(None, b"v")] * 5, partition=0)
        seen = [self.kcat.query(topic, 0, t) for t in (-2, -1, 0)]
        check(seen == [0, 5, 0], f"earliest, latest, time 0: {seen}")
        ahead = self.kcat.query(topic, 0, int(time.time() * 1000) + 3_600_000)
        check(ahead in (-1, 5), f"a time in the future is at {ahead}")


def main():
    args = harness.arguments(["matrix", "groups"])
    kcat = Kcat(args.bootstrap, args.partitions, args.settle)
    cases = (Groups if args.mode == "groups" else Cases)(kcat, args.prefix)
    results = [harness.attempt(name, body) for name, body in cases.all()]
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
