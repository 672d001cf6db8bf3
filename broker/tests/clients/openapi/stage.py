"""A broker for one run, and what there is to ask it about: topics, records, delayed ones, groups, connections."""

import ctypes
import json
import os
import signal
import socket
import struct
import subprocess
import urllib.request

TOPICS = ("orders", "later", "state")
PARTITIONS = 3
# Each is gone once it was deleted, cancelled or ended.
DOOMED = 40
ADMIN = "an-admin-token-0123456789"


PR_SET_PDEATHSIG = 1


def die_with_parent():
    """For a child that must not outlive a run that is killed: Linux sees to it."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Broker:
    """Ends with the run: the process is stopped when the object is left."""

    def __init__(self, binary, folder, tokens):
        settings = {
            "listeners": "PLAINTEXT://127.0.0.1:0",
            "tidewheel.admin.listen": "127.0.0.1:0",
            "tidewheel.admin.produce": "true",
            # Topics are made and grow by chance; the machine must not.
            "tidewheel.max.partitions": "5000",
            "group.initial.rebalance.delay.ms": "0",
        }
        if tokens:
            path = os.path.join(folder, "tokens")
            with open(path, "w", encoding="utf-8") as file:
                file.write(f"ada admin {ADMIN}\nvic viewer a-viewer-token-0123456789\n")
            settings["tidewheel.admin.tokens.file"] = path
            settings["tidewheel.admin.metrics.open"] = "false"
        command = [binary, "serve", "--data-dir", os.path.join(folder, "data")]
        for name, value in settings.items():
            command += ["--set", f"{name}={value}"]
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("TIDEWHEEL_", "KAFKA_"))}
        self.log = open(os.path.join(folder, "log"), "wb")
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self.log,
            env=clean,
            preexec_fn=die_with_parent,
        )
        ready = json.loads(self.process.stdout.readline() or "{}")
        self.kafka = ready["listeners"][0].removeprefix("PLAINTEXT://")
        self.url = f"http://{ready['admin']}"
        self.headers = {"X-Requested-With": "test"}
        if tokens:
            self.headers["Authorization"] = f"Bearer {ADMIN}"
        self.held = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for one in self.held:
            one.close()
        self.process.terminate()
        try:
            self.status = self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.status = "killed"
        self.log.close()

    def ask(self, method, path, body=None):
        """What the API answers, which must be no error."""
        headers = dict(self.headers)
        data = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            data = json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def connect(self):
        """A client that has named itself, and stays."""
        host, port = self.kafka.rsplit(":", 1)
        connection = socket.create_connection((host, int(port)))
        self.held.append(connection)
        return connection


def text(value):
    return struct.pack(">h", len(value)) + value.encode()


def call(connection, key, version, body):
    """One request of Kafka's protocol, with the first header."""
    request = struct.pack(">hhi", key, version, 7) + text("stage") + body
    connection.sendall(struct.pack(">i", len(request)) + request)
    left = struct.unpack(">i", take(connection, 4))[0]
    return take(connection, left)


def take(connection, count):
    out = b""
    while len(out) < count:
        some = connection.recv(count - len(out))
        if not some:
            raise ConnectionError("the broker hung up")
        out += some
    return out


def commit(connection, group):
    """A group without members: an offset for each partition of a topic, by OffsetCommit 2."""
    partitions = b"".join(struct.pack(">iq", p, 0) + text("") for p in range(PARTITIONS))
    topics = struct.pack(">i", 1) + text("orders") + struct.pack(">i", PARTITIONS) + partitions
    body = text(group) + struct.pack(">i", -1) + text("") + struct.pack(">q", -1) + topics
    answer = call(connection, 8, 2, body)
    codes = [answer[-2 - 6 * p :][:2] for p in range(PARTITIONS)]
    if any(code != b"\0\0" for code in codes):
        raise RuntimeError(f"OffsetCommit of {group} is answered {answer!r}")


def coordinate(connection):
    """Looks for a coordinator until there is one: FindCoordinator 0."""
    for _ in range(600):
        answer = call(connection, 10, 0, text("idle-0"))
        if answer[4:6] == b"\0\0":
            return
    raise RuntimeError("there is no coordinator")


def set_up(broker, now_ms):
    """Makes all of it; gives what names it where names are the broker's."""
    configs = {
        "orders": {"retention.ms": "86400000"},
        "later": {"delay.mode": "timestamp"},
        "state": {"cleanup.policy": "compact"},
    }
    for topic in TOPICS:
        body = {"name": topic, "partitions": PARTITIONS, "configs": configs[topic]}
        broker.ask("POST", "/v1/topics", body)
    for n in range(DOOMED):
        broker.ask("POST", "/v1/topics", {"name": f"doomed-{n}", "partitions": 1})
        broker.ask("POST", "/v1/topics/orders/records", {"key": f"k{n}", "value": f"value {n}"})
        due = {"deliver_at_ms": now_ms + 86_400_000 + n, "value": "later"}
        broker.ask("POST", "/v1/topics/later/records", due)
    connections = [broker.connect() for _ in range(DOOMED)]
    for connection in connections:
        call(connection, 18, 0, b"")
    coordinate(connections[0])
    for n in range(DOOMED):
        commit(connections[0], f"idle-{n}")
    pending = broker.ask("GET", "/v1/delayed/messages?topic=later&limit=1000")["items"]
    ids = [one["id"] for one in broker.ask("GET", "/v1/connections?limit=1000")["items"]]
    return {"delayed": [one["id"] for one in pending], "connections": ids}
