"""The cases of consumer groups, the same for every Python client program; see harness.py.

A program's `Library` (admin.py) also opens the members of a group, see `Member`. All members of a case
take their steps in turns, on one thread. Nothing here imports a Kafka client.
"""

import time

from admin import DELAY_MS, Admin
from harness import Record, check

# More than members, so that every one owns several.
PARTITIONS = 6
# What one `fill` adds to a partition.
ROUND = 5
LIMIT_S = 30.0
# How soon a member hears of a rebalance, instead of after 3 s.
HEARTBEAT_MS = 100
# Error codes of the protocol.
NON_EMPTY_GROUP = 68
GROUP_ID_NOT_FOUND = 69


class Member:
    """A consumer in a group. `taken` are (assignments so far, partition, offset), in order."""

    def __init__(self):
        self.session, self.taken = 0, []

    def assigned(self, *_):
        """What the library calls with every assignment."""
        self.session += 1

    def take(self, partition, offset):
        self.taken.append((self.session, partition, offset))

    def step(self):
        """Polls for a moment."""
        raise NotImplementedError

    def owned(self):
        """The partitions it has now."""
        raise NotImplementedError

    def commit(self, offsets):
        """Commits {partition: (offset, metadata)} and waits for the answer."""
        raise NotImplementedError

    def committed(self, partitions):
        """The same, of these partitions, as the broker says."""
        raise NotImplementedError

    def leave(self):
        raise NotImplementedError


class Groups(Admin):
    """The cases; what was written to the topic of the case counts per partition."""

    def __init__(self, library, prefix):
        super().__init__(library, prefix)
        self.written = 0

    def new_topic(self, topic):
        self.library.create_topic(topic, PARTITIONS, {})
        self.written = 0

    def fill(self, topic, ahead_ms=0):
        now = int(time.time() * 1000) + ahead_ms
        records = [
            Record(None, b"%d" % n, [], now + n, n % PARTITIONS) for n in range(PARTITIONS * ROUND)
        ]
        self.library.produce(topic, records, "none", -1, False)
        self.written += ROUND

    def until(self, members, what, done):
        """Lets the members poll until it is done."""
        until = time.monotonic() + LIMIT_S
        while not done():
            seen = [sorted(m.owned()) for m in members]
            check(time.monotonic() < until, f"{what}: not within {LIMIT_S} s; owned are {seen}")
            for member in members:
                member.step()

    def settle(self, *members):
        """Until every partition has one owner and every member some; gives {partition: member}."""

        def settled():
            owned = [p for m in members for p in m.owned()]
            return sorted(owned) == list(range(PARTITIONS)) and all(m.owned() for m in members)

        self.until(members, "settled", settled)
        return {p: m for m in members for p in m.owned()}

    def deliver(self, everyone, polling, first=0):
        """Until all records from an offset on were taken by somebody."""
        due = {(p, o) for p in range(PARTITIONS) for o in range(first, self.written)}
        taken = lambda: {(p, o) for m in everyone for _, p, o in m.taken}
        self.until(polling, "delivered", lambda: due <= taken())

    @staticmethod
    def ordered(*members):
        """Between two assignments a member takes every partition without gap or step back."""
        for member in members:
            last = {}
            for session, partition, offset in member.taken:
                before = last.get((session, partition), offset - 1)
                check(offset == before + 1, f"partition {partition}: {offset} after {before}")
                last[session, partition] = offset

    def share(self, topic):
        """Members come and go; they commit as their library does by itself."""
        self.new_topic(topic)
        self.fill(topic)
        join = lambda: self.library.join(topic, topic, True)
        a, b = join(), join()
        self.settle(a, b)
        self.fill(topic)
        self.deliver([a, b], [a, b])
        c = join()
        self.fill(topic)
        self.settle(a, b, c)
        self.deliver([a, b, c], [a, b, c])
        b.leave()
        self.fill(topic)
        owners = self.settle(a, c)
        self.deliver([a, b, c], [a, c])
        first = self.written
        self.fill(topic)
        self.deliver([a, c], [a, c], first)
        for member in (a, c):
            strays = {p for _, p, o in member.taken if o >= first and owners[p] is not member}
            check(not strays, f"partitions {strays} came to a member that does not own them")
        self.ordered(a, b, c)
        a.leave()
        c.leave()
        first = self.written
        self.fill(topic)
        d = join()
        self.deliver([d], [d], first)
        self.ordered(d)
        again = [t for t in d.taken if t[2] < first]
        check(not again, f"what was committed came again: {again[:3]}")
        d.leave()

    def delayed(self, topic):
        """Every group takes records from the future once, and not before their time has come."""
        if self.library.settle:  # Apache Kafka has no delays.
            return
        self.library.create_topic(topic, PARTITIONS, {"delay.mode": "timestamp"})
        self.written = 0
        due = int(time.time() * 1000) + DELAY_MS
        self.fill(topic, DELAY_MS)
        members = [self.library.join(group, topic, True) for group in (topic, f"{topic}-other")]
        for member in members:
            self.deliver([member], members)
        left = due - int(time.time() * 1000)
        check(left <= 0, f"read {left} ms before it was due")
        self.ordered(*members)
        for member in members:
            member.leave()

    def commit(self, topic):
        """A new member goes on exactly where the last one committed."""
        self.new_topic(topic)
        self.fill(topic)
        a = self.library.join(topic, topic, False)
        self.deliver([a], [a])
        due = {p: (p % ROUND, f"read to {p} été ✓" if p else "") for p in range(PARTITIONS)}
        a.commit(due)
        seen = a.committed(list(due))
        check(seen == due, f"committed is {seen}, sent was {due}")
        a.leave()
        b = self.library.join(topic, topic, False)
        rest = {(p, o) for p, (at, _) in due.items() for o in range(at, self.written)}
        self.until([b], "went on", lambda: rest <= {(p, o) for _, p, o in b.taken})
        early = [t for t in b.taken if t[1:] not in rest]
        check(not early, f"before what was committed: {early[:3]}")
        b.leave()

    def admin(self, topic):
        """A group is described and listed, and deleted once nobody is left in it."""
        library, group = self.library, topic
        self.new_topic(topic)
        self.fill(topic)
        a = library.join(group, topic, False)
        self.deliver([a], [a])
        a.commit({0: (1, "")})
        self.described(group, "stable", 1)
        check(group in library.groups(), "a live group is not listed")
        if library.deletes_groups:
            self.refused("deleted alive", NON_EMPTY_GROUP, lambda: library.delete_group(group))
        a.leave()
        self.described(group, "empty", 0)
        check(group in library.groups(), "an empty group with offsets is not listed")
        if library.deletes_groups:
            library.delete_group(group)
            check(group not in library.groups(), "a deleted group is listed")
            self.refused("deleted again", GROUP_ID_NOT_FOUND, lambda: library.delete_group(group))

    def described(self, group, state, members):
        seen = self.library.describe_group(group)
        check(seen == (state, members), f"{group} is {seen}, due is {(state, members)}")


CASES = {
    "group/share": Groups.share,
    "group/commit": Groups.commit,
    "group/admin": Groups.admin,
    "group/delayed": Groups.delayed,
}
