"""Sends ten records to a topic and reads them back, in a consumer group.

    pip install -r requirements.txt
    python app.py [HOST:PORT] [TOPIC]
"""

import os
import sys
import time
import uuid

from confluent_kafka import Consumer, KafkaException, Producer

RECORDS = 10
PATIENCE_S = 30


def produce(bootstrap, topic, run):
    # Acknowledged by all replicas, and appended once however often a record has to be sent.
    settings = {"bootstrap.servers": bootstrap, "acks": "all", "enable.idempotence": True}
    producer = Producer(settings)
    refused = []

    def told(error, _message):
        if error is not None:
            refused.append(error)

    for number in range(RECORDS):
        value = f"hello {number} of {run}"
        producer.produce(topic, key=f"greeting-{number}", value=value, on_delivery=told)
    left = producer.flush(PATIENCE_S)
    if refused or left:
        sys.exit(f"{left + len(refused)} records were not produced: {refused}")


def consume(bootstrap, topic, run):
    group = {"group.id": "app-python", "auto.offset.reset": "earliest"}
    consumer = Consumer({"bootstrap.servers": bootstrap} | group)
    consumer.subscribe([topic])
    read, until = 0, time.monotonic() + PATIENCE_S
    try:
        while read < RECORDS and time.monotonic() < until:
            message = consumer.poll(1)
            if message is None:
                continue
            if message.error() is not None:
                raise KafkaException(message.error())
            value = (message.value() or b"").decode(errors="replace")
            print(f"{topic}-{message.partition()} {message.offset()}: {value}")
            # Others may use the topic, too.
            read += value.endswith(run)
    finally:
        # Commits what was read, and leaves the group.
        consumer.close()
    return read


def main(arguments):
    default = os.environ.get("TIDEWHEEL_BROKERS", "127.0.0.1:9092")
    bootstrap = arguments[0] if arguments else default
    topic = arguments[1] if len(arguments) > 1 else "greetings"
    run = str(uuid.uuid4())
    produce(bootstrap, topic, run)
    read = consume(bootstrap, topic, run)
    if read < RECORDS:
        sys.exit(f"only {read} of {RECORDS} records came back")
    print(f"{read} records went through {bootstrap}")


if __name__ == "__main__":
    main(sys.argv[1:])
