"""confluent-kafka (librdkafka) as a member of a restless group, until its standard input closes.

    restless.py --bootstrap HOST:PORT member GROUP TOPIC ASSIGNOR FILE PLACE:COUNT

Writes the journal that ../go/franz-go/restless.go describes, and kills itself at PLACE (assigned, revoked
or commit) when it comes there for the COUNTth time.
"""

import os
import random
import signal
import sys
import threading
import time

from confluent_kafka import Consumer, KafkaException, TopicPartition

import harness

SESSION_MS, REBALANCE_MS, HEARTBEAT_MS = 3_000, 10_000, 100
POLL_S, AT_ONCE = 0.1, 500


class Member:
    def __init__(self, bootstrap, group, topic, assignor, path, die):
        # Unbuffered: a kill loses no line.
        self.file = open(path, "ab", buffering=0)
        self.place, _, count = die.partition(":")
        self.left = int(count or 0)
        self.topic = topic
        # Runs that are not written down yet, and where it goes on where that is not committed yet.
        self.runs, self.open = {}, {}
        self.consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": group,
                "partition.assignment.strategy": assignor,
                "session.timeout.ms": SESSION_MS,
                "max.poll.interval.ms": REBALANCE_MS,
                "heartbeat.interval.ms": HEARTBEAT_MS,
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 20,
                "reconnect.backoff.max.ms": 200,
            }
        )
        self.consumer.subscribe(
            [topic], on_assign=self.assigned, on_revoke=self.revoked, on_lost=self.lost
        )

    def note(self, text):
        self.file.write(b"%d %s\n" % (time.time_ns() // 1000, text.encode()))

    def reached(self, place):
        if place == self.place:
            self.left -= 1
            if self.left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def assigned(self, consumer, partitions):
        self.write_runs()
        self.note(f"assigned -1 {consumer.memberid()} {names(partitions)}")
        self.reached("assigned")

    def revoked(self, _, partitions):
        self.write_runs()
        self.reached("revoked")
        self.commit([p.partition for p in partitions])
        self.gone("revoked", partitions)

    def lost(self, _, partitions):
        self.write_runs()
        self.gone("lost", partitions)

    def gone(self, word, partitions):
        self.note(f"{word} {names(partitions)}")
        for p in partitions:
            self.open.pop(p.partition, None)

    def take(self, partition, offset):
        first, last = self.runs.get(partition, (offset, offset - 1))
        if offset != last + 1:
            self.note(f"take {partition} {first} {last}")
            first = offset
        self.runs[partition] = first, offset
        self.open[partition] = offset + 1

    def write_runs(self):
        for partition, (first, last) in self.runs.items():
            self.note(f"take {partition} {first} {last}")
        self.runs.clear()

    def commit(self, partitions):
        """Commits what was taken of these. That it may fail belongs to this case."""
        offsets = [
            TopicPartition(self.topic, p, self.open[p]) for p in partitions if p in self.open
        ]
        if not offsets:
            return
        if self.place == "commit" and self.left == 1:
            # It is killed while the request is under way, or the answer.
            threading.Timer(random.uniform(0, 0.003), self.reached, ["commit"]).start()
        else:
            self.reached("commit")
        try:
            answered = self.consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException:
            return
        for p in answered:
            if p.error is None:
                self.note(f"ok {p.partition} {p.offset}")
                self.open.pop(p.partition, None)

    def step(self):
        message, count = self.consumer.poll(POLL_S), 0
        while message is not None:
            if message.error() is None:
                self.take(message.partition(), message.offset())
            count += 1
            message = self.consumer.poll(0) if count < AT_ONCE else None
        self.write_runs()
        # Now and then, and when there is nothing to do.
        if count == 0 or random.random() < 0.5:
            self.commit(list(self.open))


def names(partitions):
    return ",".join(str(p) for p in sorted(p.partition for p in partitions))


def main():
    args = harness.arguments(["member"])
    member = Member(args.bootstrap, *args.rest)
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    while not ended.is_set():
        member.step()
    member.consumer.close()


if __name__ == "__main__":
    main()
