"""confluent-kafka under a failing broker: produces at every class until its standard input closes.

    ledger.py --bootstrap HOST:PORT --prefix NAME ledger FILE

Writes the ledger that ../go/ledger.go describes, and a line {"progress": ACKED} now and then.
"""

import struct
import sys
import threading
import time

from confluent_kafka import Producer

import harness
from confluent_client import Confluent

PARTITIONS, VALUE, TICK_S, PER_TICK = 3, 220, 0.005, 24
# librdkafka sends again, whatever the retries, what the broker says it has not written: with one
# request under way that keeps the order.
ONCE = {"message.send.max.retries": 0, "message.timeout.ms": 10_000, "max.in.flight": 1}
CLASSES = {
    "acks-1": {"acks": 1} | ONCE,
    "acks-all": {"acks": -1} | ONCE,
    "idempotent": {"enable.idempotence": True, "message.timeout.ms": 120_000},
}


class Ledger:
    def __init__(self, bootstrap, path):
        self.bootstrap = bootstrap
        self.file = open(path, "w")
        self.lock = threading.Lock()
        self.acked = 0
        self.stop = threading.Event()

    def note(self, text, acks=0):
        with self.lock:
            self.file.write(text + "\n")
            self.acked += acks

    def produce(self, topic, name):
        """Sends to all partitions in turn until told to stop; returns what was not acked."""
        # A broker that is away is tried again soon; an error of the whole client ends in lost records.
        config = {
            "reconnect.backoff.max.ms": 200,
            "linger.ms": 5,
            "bootstrap.servers": self.bootstrap,
        }
        producer = Producer(config | CLASSES[name])
        lost, sent = [], [0] * PARTITIONS
        self.note(f"topic {topic} {PARTITIONS} {name}")

        def delivered(error, message, sequence):
            if error is None:
                self.note(f"ack {topic} {message.partition()} {message.offset()} {sequence}", 1)
            else:
                lost.append(error)

        while not self.stop.is_set():
            for _ in range(PER_TICK if len(producer) < 4_000 else 0):
                partition = sum(sent) % PARTITIONS
                sequence = sent[partition]
                sent[partition] += 1
                value = struct.pack(">Q", sequence) + bytes([sequence % 251]) * VALUE
                report = lambda e, m, n=sequence: delivered(e, m, n)
                producer.produce(topic, value=value, partition=partition, on_delivery=report)
            producer.poll(TICK_S)
        left = producer.flush(120)
        harness.check(left == 0, f"{left} records are still under way")
        for partition, count in enumerate(sent):
            self.note(f"end {topic} {partition} {count}")
        harness.check(
            name != "idempotent" or not lost, f"{len(lost)} records not acked, first: {lost[:1]}"
        )
        return f"{sum(sent) - len(lost)} acked, {len(lost)} not"

    def watch(self):
        """Prints progress; stops when standard input closes."""
        threading.Thread(target=lambda: (sys.stdin.read(), self.stop.set()), daemon=True).start()
        while not self.stop.wait(0.05):
            harness.say({"progress": self.acked})


def main():
    args = harness.arguments(["ledger"])
    client, ledger = Confluent(args.bootstrap), Ledger(args.bootstrap, args.rest[0])
    client.settle = args.settle
    results, workers = [], []
    for name in CLASSES:
        topic = f"{args.prefix}-{name}"
        client.create_topic(topic, PARTITIONS, harness.TOPIC_CONFIG)
        body = lambda t=topic, n=name: results.append(
            harness.attempt(f"ledger/{n}", lambda: ledger.produce(t, n))
        )
        workers.append(threading.Thread(target=body))
    client.close()
    for worker in workers:
        worker.start()
    ledger.watch()
    for worker in workers:
        worker.join()
    ledger.file.close()
    sys.exit(0 if results and all(results) else 1)


if __name__ == "__main__":
    main()
