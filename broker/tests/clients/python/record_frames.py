"""Records what real clients and a real broker say to each other, as golden bytes for `protocol/`.

    record_frames.py LISTEN_PORT BROKER_PORT CLIENT FOLDER [--only KEY,KEY]

A proxy on the loopback interface: it forwards bytes unchanged, both ways, until its standard input
closes. The broker must advertise LISTEN_PORT, or clients go past the proxy. Of each (API, version) one
exchange is kept: the largest of at most MOST bytes, else the smallest. It becomes two files, with
their 4-byte lengths, FOLDER/API/CLIENT-vVERSION-request.bin and -response.bin.
"""

import pathlib
import socket
import struct
import sys
import threading

MOST, TOO_MUCH = 2500, 9000
APIS = {
    0: "produce",
    1: "fetch",
    2: "list_offsets",
    3: "metadata",
    8: "offset_commit",
    9: "offset_fetch",
    10: "find_coordinator",
    11: "join_group",
    12: "heartbeat",
    13: "leave_group",
    14: "sync_group",
    15: "describe_groups",
    16: "list_groups",
    18: "api_versions",
    19: "create_topics",
    20: "delete_topics",
    22: "init_producer_id",
    23: "offset_for_leader_epoch",
    32: "describe_configs",
    42: "delete_groups",
    47: "offset_delete",
    60: "describe_cluster",
    68: "consumer_group_heartbeat",
    69: "consumer_group_describe",
}


class Kept:
    """The best exchange of each API and version so far."""

    def __init__(self, only):
        self.lock, self.only, self.best = threading.Lock(), only, {}

    def offer(self, key, version, request, response):
        size = len(request) + len(response)
        if key not in APIS or (self.only and key not in self.only) or size > TOO_MUCH:
            return
        # Up to MOST larger is better (more fields are filled), beyond it smaller is.
        rank = size if size <= MOST else -size
        with self.lock:
            if rank > self.best.get((key, version), (-TOO_MUCH - 1,))[0]:
                self.best[key, version] = (rank, request, response)

    def write(self, folder, client):
        for (key, version), (_, request, response) in sorted(self.best.items()):
            place = pathlib.Path(folder, APIS[key])
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{client}-v{version}-request.bin").write_bytes(request)
            (place / f"{client}-v{version}-response.bin").write_bytes(response)


def read_exactly(stream, count):
    data = bytearray()
    while len(data) < count:
        some = stream.recv(count - len(data))
        if not some:
            return None
        data += some
    return bytes(data)


def frames(stream):
    while (head := read_exactly(stream, 4)) is not None:
        body = read_exactly(stream, struct.unpack(">i", head)[0])
        if body is None:
            return
        yield head + body


def pump(source, target, seen):
    """Forwards whole frames and shows each to `seen`."""
    try:
        for frame in frames(source):
            seen(frame)
            target.sendall(frame)
    except OSError:
        pass  # one side has gone: the other is closed below
    for stream in (source, target):
        try:
            stream.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def serve(client, broker_port, kept):
    broker = socket.create_connection(("127.0.0.1", broker_port))
    waiting = {}

    def request(frame):
        key, version, correlation = struct.unpack(">hhi", frame[4:12])
        waiting[correlation] = (key, version, frame)

    def response(frame):
        (correlation,) = struct.unpack(">i", frame[4:8])
        if correlation in waiting:
            key, version, asked = waiting.pop(correlation)
            kept.offer(key, version, asked, frame)

    threading.Thread(target=pump, args=(client, broker, request), daemon=True).start()
    pump(broker, client, response)


def main():
    port, broker_port, client, folder = sys.argv[1:5]
    only = {int(k) for k in sys.argv[6].split(",")} if sys.argv[5:6] == ["--only"] else set()
    kept = Kept(only)
    listener = socket.create_server(("127.0.0.1", int(port)))

    def accept():
        while True:
            stream, _ = listener.accept()
            threading.Thread(
                target=serve, args=(stream, int(broker_port), kept), daemon=True
            ).start()

    threading.Thread(target=accept, daemon=True).start()
    sys.stdin.read()
    kept.write(folder, client)


if __name__ == "__main__":
    main()
