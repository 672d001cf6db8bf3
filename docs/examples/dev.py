"""A test that has a broker to itself: starts `tidewheel dev`, produces, consumes, and stops it.

    pip install confluent-kafka
    python dev.py target/release/tidewheel
"""

import contextlib
import json
import pathlib
import subprocess
import sys
import tempfile
import time

from confluent_kafka import Consumer, Producer


@contextlib.contextmanager
def broker(binary, *arguments):
    """A broker on free ports, whose data goes with it; gives what its port file says."""
    with tempfile.TemporaryDirectory() as folder:
        port_file = pathlib.Path(folder, "broker.json")
        command = [binary, "dev", "--ephemeral", "--port", "0", "--port-file", port_file, *arguments]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            until = time.monotonic() + 30
            while not port_file.exists():
                if process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError("the broker did not start")
                time.sleep(0.01)
            # It is never seen half-written.
            yield json.loads(port_file.read_text())
        finally:
            process.terminate()
            process.wait(30)
        assert not port_file.exists(), "it goes with the broker"


def main(binary):
    with broker(binary, "--topic", "greetings:3") as ready:
        bootstrap = {"bootstrap.servers": ready["bootstrap"]}
        producer = Producer(bootstrap | {"acks": "all"})
        sent = [f"hello {number}".encode() for number in range(10)]
        for value in sent:
            producer.produce("greetings", value)
        assert producer.flush(30) == 0

        group = {"group.id": "readers", "auto.offset.reset": "earliest"}
        consumer = Consumer(bootstrap | group)
        consumer.subscribe(["greetings"])
        read, until = [], time.monotonic() + 30
        while len(read) < len(sent) and time.monotonic() < until:
            message = consumer.poll(1)
            if message is not None and message.error() is None:
                read.append(message.value())
        consumer.close()
        assert sorted(read) == sent, read
        data = pathlib.Path(ready["data_dir"])
        assert data.exists()
    assert not data.exists(), "so does its data"
    print(f"{len(read)} records went through {ready['bootstrap']}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "tidewheel")
