'use strict'
// The cases of consumer groups (see ../go/harness/groups.go and ../python/groups.py for the same in
// other languages).

const { wants, refused } = require('./world')
const { plain } = require('./records')

// More than members, so that every one owns several.
const PARTITIONS = 6
// What one fill adds to a partition.
const ROUND = 5
const LIMIT_MS = 30000
// How far in the future delayed records are dated.
const DELAY_MS = 2000
const ALL = [...Array(PARTITIONS).keys()]

/** Checks again until it holds. */
async function until(what, members, done) {
  const end = Date.now() + LIMIT_MS
  while (!done()) {
    for (const { failed } of members) if (failed) throw failed
    wants(Date.now() < end, `${what}: not in time; owned are ${JSON.stringify(members.map(m => m.owned))}`)
    await new Promise(resolve => setTimeout(resolve, 10))
  }
}

/** A consumer in a group; `taken` are {session, partition, offset} in order. */
class Member {
  constructor(world, topic, autoCommit, group = topic) {
    Object.assign(this, { topic, autoCommit, session: 0, owned: [], taken: [] })
    this.consumer = world.kafka.consumer({
      groupId: group,
      heartbeatInterval: 100,
      maxWaitTimeInMs: 50,
      rebalanceTimeout: 10000,
    })
  }

  async start() {
    const { GROUP_JOIN, REBALANCING, CRASH } = this.consumer.events
    this.consumer.on(GROUP_JOIN, ({ payload }) => {
      this.session += 1
      this.owned = payload.memberAssignment[this.topic] ?? []
    })
    this.consumer.on(REBALANCING, () => (this.owned = []))
    this.consumer.on(CRASH, ({ payload }) => (this.failed = payload.error))
    await this.consumer.connect()
    await this.consumer.subscribe({ topic: this.topic, fromBeginning: true })
    await this.consumer.run({
      autoCommit: this.autoCommit,
      eachMessage: async ({ partition, message }) => {
        this.taken.push({ session: this.session, partition, offset: Number(message.offset) })
      },
    })
    return this
  }

  leave() {
    return this.consumer.disconnect()
  }
}

/** A case: its topic, and a group of the same name. */
class Groups {
  constructor(world, topic) {
    Object.assign(this, { world, topic, written: 0 })
  }

  async fill(aheadMs = 0) {
    this.due = Date.now() + aheadMs
    const { producer } = this.world.producer('acks=all')
    await producer.connect()
    const messages = []
    for (let i = 0; i < PARTITIONS * ROUND; i++) messages.push(plain(`${i}`, i % PARTITIONS, this.due))
    await producer.send({ topic: this.topic, messages })
    await producer.disconnect()
    this.written += ROUND
  }

  join(autoCommit, group) {
    return new Member(this.world, this.topic, autoCommit, group).start()
  }

  /** Until every partition has one owner and every member some; gives partition -> member. */
  async settle(...members) {
    await until('settled', members, () => {
      const owned = members.flatMap(m => m.owned).sort()
      return members.every(m => m.owned.length > 0) && owned.join() === ALL.join()
    })
    return new Map(members.flatMap(m => m.owned.map(p => [p, m])))
  }

  /** Until somebody took each record from these offsets on. */
  deliver(from, ...members) {
    return until('delivered', members, () => {
      const seen = new Set(members.flatMap(m => m.taken.map(t => `${t.partition}/${t.offset}`)))
      for (const p of ALL) {
        for (let o = from(p); o < this.written; o++) if (!seen.has(`${p}/${o}`)) return false
      }
      return true
    })
  }
}

/** Between two assignments a member takes each partition without gap or step back. */
function ordered(...members) {
  for (const { taken } of members) {
    const last = new Map()
    for (const { session, partition, offset } of taken) {
      const before = last.get(`${session}/${partition}`) ?? offset - 1
      wants(offset === before + 1, `partition ${partition}: ${offset} after ${before}`)
      last.set(`${session}/${partition}`, offset)
    }
  }
}

/** What was committed does not come again, and all else does. */
async function goesOn(groups, from, member) {
  await groups.fill()
  await groups.deliver(from, member)
  ordered(member)
  const again = member.taken.filter(t => t.offset < from(t.partition))
  wants(again.length === 0, `committed, and came again: ${JSON.stringify(again[0])}`)
  await member.leave()
}

/** Members come and go; they commit as the library does by itself. */
async function share(groups) {
  const a = await groups.join(true)
  const b = await groups.join(true)
  await groups.settle(a, b)
  await groups.fill()
  await groups.deliver(() => 0, a, b)
  const c = await groups.join(true)
  await groups.fill()
  await groups.settle(a, b, c)
  await groups.deliver(() => 0, a, b, c)
  await b.leave()
  await groups.fill()
  const owners = await groups.settle(a, c)
  await groups.deliver(() => 0, a, b, c)
  const first = groups.written
  await groups.fill()
  await groups.deliver(() => first, a, c)
  for (const member of [a, c]) {
    const stray = member.taken.find(t => t.offset >= first && owners.get(t.partition) !== member)
    wants(!stray, `came to a member that does not own it: ${JSON.stringify(stray)}`)
  }
  ordered(a, b, c)
  await a.leave()
  await c.leave()
  const end = groups.written
  await goesOn(groups, () => end, await groups.join(true))
}

/** A new member goes on exactly where the last one committed. */
async function commit(groups) {
  const { world, topic } = groups
  const a = await groups.join(false)
  await groups.deliver(() => 0, a)
  const due = ALL.map(partition => ({
    partition,
    offset: String(partition % ROUND),
    metadata: partition === 0 ? '' : `read to ${partition} été ✓`,
  }))
  await a.consumer.commitOffsets(due.map(of => ({ topic, ...of })))
  await a.leave()
  const [seen] = await world.admin.fetchOffsets({ groupId: topic, topics: [topic] })
  for (const { partition, offset, metadata } of seen.partitions) {
    const of = due[partition]
    const same = offset === of.offset && (metadata ?? '') === of.metadata
    wants(same, `committed is ${offset} ${metadata}, sent was ${JSON.stringify(of)}`)
  }
  wants(seen.partitions.length === PARTITIONS, `${seen.partitions.length} partitions are committed`)
  await goesOn(groups, p => p % ROUND, await groups.join(false))
}

/** A group is described and listed, and deleted once nobody is left in it. */
async function admin(groups) {
  const { world, topic } = groups
  const described = async (state, members) => {
    const [seen] = (await world.admin.describeGroups([topic])).groups
    const same = seen.state === state && seen.members.length === members
    wants(same, `${seen.state} with ${seen.members.length} members, due are ${state}, ${members}`)
  }
  const listed = async due => {
    const seen = (await world.admin.listGroups()).groups.some(group => group.groupId === topic)
    wants(seen === due, `the group is listed: ${seen}`)
  }
  const a = await groups.join(false)
  await groups.deliver(() => 0, a)
  await a.consumer.commitOffsets([{ topic, partition: 0, offset: '1' }])
  await described('Stable', 1)
  await listed(true)
  await refused('deleted alive', 'NON_EMPTY_GROUP', typed(world.admin.deleteGroups([topic])))
  await a.leave()
  await described('Empty', 0)
  await listed(true)
  await world.admin.deleteGroups([topic])
  await listed(false)
  await refused('deleted again', 'GROUP_ID_NOT_FOUND', typed(world.admin.deleteGroups([topic])))
}

/** The error of the group, out of that of the call. */
function typed(promise) {
  return promise.catch(error => {
    throw error.groups?.[0]?.error ?? error
  })
}

/** Every group takes records from the future once, and not before their time has come. */
async function delayed(world, topic) {
  if (world.settle) return // Apache Kafka has no delays
  const groups = new Groups(world, topic)
  await world.create(topic, PARTITIONS, { 'delay.mode': 'timestamp' })
  await groups.fill(DELAY_MS)
  const members = [await groups.join(true), await groups.join(true, `${topic}-other`)]
  for (const member of members) await groups.deliver(() => 0, member)
  wants(Date.now() >= groups.due, `read ${groups.due - Date.now()} ms before it was due`)
  ordered(...members)
  for (const member of members) await member.leave()
}

const prepared = body => async (world, topic) => {
  const groups = new Groups(world, topic)
  await world.create(topic, PARTITIONS)
  await groups.fill()
  await body(groups)
}

const GROUP_CASES = {
  'group/share': prepared(share),
  'group/commit': prepared(commit),
  'group/admin': prepared(admin),
  'group/delayed': delayed,
}

module.exports = { GROUP_CASES }
