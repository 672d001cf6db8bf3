"""aiokafka as a member of a restless group, see journal.py."""

import asyncio

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition, errors
from aiokafka.coordinator.assignors.range import RangePartitionAssignor

import harness
import journal

COMMIT_S = 5


class Member(journal.Journal, ConsumerRebalanceListener):
    def __init__(self, bootstrap, group, topic, assignor, path, die):
        super().__init__(path, die)
        harness.check(assignor == "range", f"{assignor} is not for aiokafka")
        self.bootstrap, self.group, self.topic = bootstrap, group, topic
        # When a commit was sent that was acknowledged: the library does not tell revoked from lost.
        self.had, self.own = 0, []
        self.one_commit = asyncio.Lock()

    async def start(self):
        self.consumer = AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap,
            group_id=self.group,
            partition_assignment_strategy=(RangePartitionAssignor,),
            session_timeout_ms=journal.SESSION_MS,
            rebalance_timeout_ms=journal.REBALANCE_MS,
            max_poll_interval_ms=journal.REBALANCE_MS,
            heartbeat_interval_ms=journal.HEARTBEAT_MS,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=20,
        )
        self.consumer.subscribe([self.topic], listener=self)
        while True:
            try:
                return await self.consumer.start()
            except errors.KafkaConnectionError:
                await asyncio.sleep(journal.POLL_S)  # the broker is away

    async def on_partitions_assigned(self, assigned):
        # The library does not tell them in another way.
        coordinator = self.consumer._coordinator
        self.had, self.own = 0, [p.partition for p in assigned]
        self.assigned(coordinator.generation, coordinator.member_id, self.own)

    async def on_partitions_revoked(self, revoked):
        self.write_runs()
        self.reached("revoked")
        await self.commit()
        self.end()

    def end(self):
        self.given_up(self.had, self.own)
        self.own = []

    async def commit(self):
        """Commits what was taken. That it may fail belongs to this case."""
        async with self.one_commit:
            sent = dict(self.open)
            if not sent:
                return
            self.committing()
            offsets = {TopicPartition(self.topic, p): at for p, at in sent.items()}
            began = journal.micros()
            try:
                await asyncio.wait_for(self.consumer.commit(offsets), COMMIT_S)
            except (errors.KafkaError, asyncio.TimeoutError):
                return
            self.had = began
            for partition, offset in sent.items():
                self.acknowledged(partition, offset)

    async def step(self):
        count = 0
        polled = self.consumer.getmany(
            timeout_ms=int(journal.POLL_S * 1000), max_records=journal.AT_ONCE
        )
        try:
            for records in (await polled).values():
                for m in records:
                    self.take(m.partition, m.offset)
                    count += 1
        except errors.KafkaError:
            await asyncio.sleep(journal.POLL_S)  # the broker is away
        self.write_runs()
        if journal.commits_now(count):
            await self.commit()


async def work(args):
    member = Member(args.bootstrap, *args.rest)
    ended = journal.input_closes()
    await member.start()
    while not ended.is_set():
        await member.step()
    await member.commit()
    await member.consumer.stop()
    member.end()


if __name__ == "__main__":
    ARGS = harness.arguments(["member"])
    asyncio.run(work(ARGS))
