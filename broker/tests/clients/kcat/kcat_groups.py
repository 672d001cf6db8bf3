"""kcat as a member of groups (`kcat -G`): it tells its assignments on its error output."""

import re
import subprocess
import threading
import time

from harness import Record, check

# What one `fill` adds to a partition.
ROUND = 5
LIMIT_S = 30.0
FORM = "%p %o %s\n"
SETTINGS = {
    "auto.offset.reset": "earliest",
    "auto.commit.interval.ms": 100,
    # How soon a member hears of a rebalance, instead of after 3 s.
    "heartbeat.interval.ms": 100,
    "fetch.wait.max.ms": 20,
}


def command(kcat, group, topic, *more):
    args = ["kcat", "-b", kcat.bootstrap, "-G", group, "-u", "-f", FORM, *more]
    for name, value in SETTINGS.items():
        args += ["-X", f"{name}={value}"]
    return [*args, topic]


def taken(text):
    """(partition, offset, value) of a line in `FORM`."""
    partition, offset, value = text.rstrip("\n").split(" ", 2)
    return int(partition), int(offset), value


class Member:
    """A kcat that reads until it is told to leave."""

    def __init__(self, kcat, group, topic):
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command(kcat, group, topic), **pipes)
        self.owned, self.taken, self.told = [], [], ""
        self.threads = [threading.Thread(target=t) for t in (self.read, self.listen)]
        for thread in self.threads:
            thread.start()

    def read(self):
        for line in self.process.stdout:
            self.taken.append(taken(line))

    def listen(self):
        for line in self.process.stderr:
            self.told += line
            if found := re.search(r": (assigned|revoked): (.*)", line):
                now = found[2] if found[1] == "assigned" else ""
                self.owned = [int(p) for p in re.findall(r"\[(\d+)\]", now)]

    def leave(self):
        """What kcat does on SIGTERM; it commits first."""
        self.process.terminate()
        check(self.process.wait(LIMIT_S) == 0, f"kcat ended badly: {self.told[-400:]}")
        self.end()

    def end(self):
        self.process.kill()
        self.process.wait()
        for thread in self.threads:
            thread.join()


class Groups:
    def __init__(self, kcat, prefix):
        self.kcat, self.prefix, self.members, self.written = kcat, prefix, [], 0

    def all(self):
        yield "group/share", lambda: self.guarded(self.share)
        yield "group/commit", self.commit

    def guarded(self, body):
        """Leaves no member behind."""
        try:
            body()
        finally:
            for member in self.members:
                member.end()

    def join(self, topic):
        member = Member(self.kcat, topic, topic)
        self.members.append(member)
        return member

    def fill(self, topic):
        values = range(self.written, self.written + ROUND)
        for p in range(self.kcat.partitions):
            records = [Record(None, b"%d" % n) for n in values]
            self.kcat.produce(topic, "none", "acks=all", records, partition=p)
        self.written += ROUND

    def until(self, what, done):
        until = time.monotonic() + LIMIT_S
        while not done():
            seen = [(m.owned, len(m.taken)) for m in self.members]
            check(time.monotonic() < until, f"{what}: not within {LIMIT_S} s: {seen}")
            time.sleep(0.02)

    def settle(self, *members):
        """Until every partition has one owner and every member some."""

        def settled():
            owned = sorted(p for m in members for p in m.owned)
            return owned == list(range(self.kcat.partitions)) and all(m.owned for m in members)

        self.until("settled", settled)

    def round(self, topic, *members):
        """What is written now comes to the owners, once; what was written before has come too."""
        self.settle(*members)
        seen = lambda: [t for m in self.members for t in list(m.taken)]
        due = lambda first: {
            (p, o, str(o)) for p in range(self.kcat.partitions) for o in range(first, self.written)
        }
        self.until("what was there", lambda: due(0) <= set(seen()))
        first, owners = self.written, {p: m for m in members for p in m.owned}
        self.fill(topic)
        self.until("the round", lambda: due(first) <= set(seen()))
        for p, owner in owners.items():
            got = [o for part, o, _ in owner.taken if part == p and o >= first]
            check(got == list(range(first, self.written)), f"partition {p}: its owner took {got}")
        news = [t for t in seen() if t[1] >= first]
        check(len(news) == len(set(news)), f"taken twice: {news}")

    def share(self):
        topic = f"{self.prefix}-group-share"
        self.kcat.ready(topic)
        self.fill(topic)
        one, two = self.join(topic), self.join(topic)
        self.round(topic, one, two)
        three = self.join(topic)
        self.round(topic, one, two, three)
        one.leave()
        self.round(topic, two, three)
        two.leave()
        self.round(topic, three)
        three.leave()

    def commit(self):
        """Each of three takes some and leaves; the next goes on exactly there."""
        topic = f"{self.prefix}-group-commit"
        self.kcat.ready(topic)
        self.written = 0
        self.fill(topic)
        count, got = ROUND * self.kcat.partitions, []
        for share in (2, 3, count - 5):
            args = command(self.kcat, topic, topic, "-c", str(share))
            done = subprocess.run(args, capture_output=True, text=True, timeout=LIMIT_S)
            check(done.returncode == 0, f"kcat ended with {done.returncode}: {done.stderr[-400:]}")
            got += [taken(line) for line in done.stdout.splitlines()]
        partitions = range(self.kcat.partitions)
        due = [(p, o, str(o)) for p in partitions for o in range(ROUND)]
        check(sorted(got) == due, f"three in a row took {got}")
