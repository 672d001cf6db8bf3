"""confluent-kafka (librdkafka) in groups of the newer protocol (KIP-848): the cases of groups.py by it, and
what becomes of members whose broker is killed.

`survive` prints a line when the broker may be killed, and goes on when its input is closed.
"""

import sys

import confluent_client
import groups
import harness
from harness import check


class Member(confluent_client.Member):
    """Its broker says how often it is to be heard of."""

    protocol = {"group.protocol": "consumer"}


class Confluent(confluent_client.Confluent):
    def join(self, group, topic, auto_commit):
        return Member(self.common, group, topic, auto_commit)


class Consumers(groups.Groups):
    def survive(self, topic):
        """Members, their partitions and what they committed outlive the broker."""
        self.new_topic(topic)
        self.fill(topic)
        join = lambda: self.library.join(topic, topic, False)
        a, b = join(), join()
        self.settle(a, b)
        self.deliver([a, b], [a, b])
        everything = lambda: {p: (self.written, "") for p in range(groups.PARTITIONS)}
        a.commit(everything())
        print('{"progress": 1}', flush=True)
        sys.stdin.read()
        self.fill(topic)
        self.deliver([a, b], [a, b])
        self.settle(a, b)
        c = join()
        self.settle(a, b, c)
        c.commit(everything())
        first = self.written
        for member in (a, b, c):
            member.leave()
        self.fill(topic)
        d = join()
        self.deliver([d], [d], first)
        again = [t for t in d.taken if t[2] < first]
        check(not again, f"what was committed came again: {again[:3]}")
        d.leave()


if __name__ == "__main__":
    ARGS = harness.arguments(["consumers", "survive"])
    LIBRARY = Confluent(ARGS.bootstrap)
    LIBRARY.settle = ARGS.settle
    CASES = {f"consumer-{name}": body for name, body in groups.CASES.items()}
    if ARGS.mode == "survive":
        CASES = {"consumer-group/survive": Consumers.survive}
    RESULTS = [harness.attempt(*case) for case in Consumers(LIBRARY, ARGS.prefix).cases(CASES)]
    sys.exit(0 if all(RESULTS) else 1)
