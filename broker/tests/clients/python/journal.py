"""What a member of a restless group writes down; ../go/harness/journal.go says what the lines mean.

    PROGRAM --bootstrap HOST:PORT member GROUP TOPIC ASSIGNOR FILE PLACE:COUNT

A member kills itself at PLACE (assigned, revoked or commit) when it comes there for the COUNTth time, and
leaves when its standard input closes.
"""

import os
import random
import signal
import sys
import threading
import time

import harness

SESSION_MS, REBALANCE_MS, HEARTBEAT_MS = 3_000, 10_000, 100
RECONNECT_MS = 200
POLL_S, AT_ONCE = 0.1, 500
# How far into a commit a member is killed, at most.
COMMIT_S = 0.003


class Journal:
    def __init__(self, path, die):
        # Unbuffered: a kill loses no line.
        self.file = open(path, "ab", buffering=0)
        self.place, _, count = die.partition(":")
        self.left = int(count or 0)
        # Runs that are not written down yet, and where it goes on where that is not committed yet.
        self.runs, self.open = {}, {}

    def note(self, text, at=None):
        self.file.write(b"%d %s\n" % (at or micros(), text.encode()))

    def reached(self, place):
        if place == self.place:
            self.left -= 1
            if self.left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def committing(self):
        if self.place == "commit" and self.left == 1:
            # It is killed while the request is under way, or the answer.
            threading.Timer(random.uniform(0, COMMIT_S), self.reached, ["commit"]).start()
        else:
            self.reached("commit")

    def assigned(self, generation, member, partitions):
        self.write_runs()
        self.note(f"assigned {generation} {member} {names(partitions)}")
        self.reached("assigned")

    def gone(self, word, partitions, at=None):
        self.write_runs()
        self.note(f"{word} {names(partitions)}", at)
        for p in partitions:
            self.open.pop(p, None)

    def given_up(self, had, partitions):
        """For libraries that do not tell lost from revoked: it certainly had them at that time."""
        self.gone("revoked" if had else "lost", partitions, had)

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

    def acknowledged(self, partition, offset):
        self.note(f"ok {partition} {offset}")
        if self.open.get(partition) == offset:
            del self.open[partition]


def micros():
    return time.time_ns() // 1000


def names(partitions):
    return ",".join(str(p) for p in sorted(partitions))


def numbers(partitions):
    """Of objects that have a topic, too."""
    return [p.partition for p in partitions]


def commits_now(count):
    """Now and then, and when there is nothing to do."""
    return count == 0 or random.random() < 0.5


def input_closes():
    """An event that is set then."""
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    return ended


def run(member_class):
    """A member from the command line: it polls until the input closes."""
    args = harness.arguments(["member"])
    member = member_class(args.bootstrap, *args.rest)
    ended = input_closes()
    while not ended.is_set():
        member.step()
    member.consumer.close()
