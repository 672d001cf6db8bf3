'use strict'
// kafkajs as a member of a restless group, until its standard input closes:
//
//   node restless.js --bootstrap HOST:PORT member GROUP TOPIC ASSIGNOR FILE PLACE:COUNT
//
// It writes the journal that ../go/harness/journal.go describes, and kills itself at PLACE (assigned,
// revoked or commit) when it comes there for the COUNTth time. The library brings one assignor.

const fs = require('node:fs')
const { performance } = require('node:perf_hooks')
const { parseArgs } = require('node:util')
const { Kafka, logLevel } = require('kafkajs')

const SESSION_MS = 3000
const REBALANCE_MS = 10000
const HEARTBEAT_MS = 100
const PAUSE_MS = 50
// How far into a commit a member is killed, at most.
const COMMIT_MS = 3
// The errors of a commit after which this member joins again.
const REJOINS = ['REBALANCE_IN_PROGRESS', 'UNKNOWN_MEMBER_ID', 'ILLEGAL_GENERATION']

/** Date.now() knows no microseconds. */
const micros = () => Math.round((performance.timeOrigin + performance.now()) * 1000)

class Journal {
  constructor(path, die) {
    this.file = fs.openSync(path, 'a')
    const [place, count] = die.split(':')
    Object.assign(this, { place, left: Number(count) })
  }

  note(text, at = micros()) {
    fs.writeSync(this.file, `${at} ${text}\n`)
  }

  reached(place) {
    if (place === this.place && --this.left <= 0) process.kill(process.pid, 'SIGKILL')
  }

  /** It is killed while the request is under way, or the answer. */
  committing() {
    if (this.place === 'commit' && this.left === 1) {
      setTimeout(() => this.reached('commit'), Math.random() * COMMIT_MS)
    } else {
      this.reached('commit')
    }
  }
}

class Member extends Journal {
  constructor(bootstrap, [group, topic, , path, die]) {
    super(path, die)
    // What it has, when a commit was sent meanwhile that was acknowledged, and where it goes on.
    Object.assign(this, { topic, session: 0, owned: [], had: 0, open: new Map() })
    Object.assign(this, { group, leaves: false })
    this.kafka = new Kafka({ brokers: [bootstrap], logLevel: logLevel.NOTHING })
  }

  newConsumer() {
    this.consumer = this.kafka.consumer({
      groupId: this.group,
      sessionTimeout: SESSION_MS,
      rebalanceTimeout: REBALANCE_MS,
      heartbeatInterval: HEARTBEAT_MS,
      maxWaitTimeInMs: PAUSE_MS,
      retry: { initialRetryTime: PAUSE_MS, maxRetryTime: 4 * PAUSE_MS, retries: 100 },
    })
    const { GROUP_JOIN, REBALANCING, CRASH } = this.consumer.events
    this.consumer.on(GROUP_JOIN, ({ payload }) => {
      this.end()
      this.owned = payload.memberAssignment[this.topic] ?? []
      this.had = 0
      this.note(`assigned -1 ${payload.memberId} ${this.owned.join()}`)
      this.reached('assigned')
    })
    // It reads on with what it has when it cannot join again at once.
    this.consumer.on(REBALANCING, () => this.reached('revoked'))
    this.consumer.on(CRASH, ({ payload }) => {
      if (!payload.restart) this.startLater()
    })
  }

  /** The library gives up where the broker is away, in some of its calls. */
  startLater() {
    setTimeout(() => this.start(), PAUSE_MS)
  }

  async start() {
    if (this.leaves) return
    this.newConsumer()
    try {
      await this.consumer.connect()
      await this.consumer.subscribe({ topic: this.topic, fromBeginning: true })
      await this.consumer.run({
        autoCommit: false,
        eachBatch: ({ batch, commitOffsetsIfNecessary }) => this.take(batch, commitOffsetsIfNecessary),
      })
    } catch {
      await this.consumer.disconnect().catch(() => {})
      this.startLater()
    }
  }

  /** Nothing else happens to the member meanwhile. */
  async take({ partition, messages }, commit) {
    const [first, last] = [messages[0].offset, messages[messages.length - 1].offset]
    this.note(`take ${partition} ${first} ${last}`)
    this.open.set(partition, BigInt(last) + 1n)
    const partitions = [...this.open].map(([p, at]) => ({ partition: p, offset: String(at) }))
    const { session } = this
    // The library does not call when there is nothing to read: this is the time to commit.
    while (session === this.session && !this.leaves) {
      this.committing()
      const began = micros()
      try {
        await commit({ topics: [{ topic: this.topic, partitions }] })
        for (const of of partitions) this.note(`ok ${of.partition} ${of.offset}`)
        if (session !== this.session) return
        this.had = began
        this.open.clear()
        return
      } catch (error) {
        if (REJOINS.includes(error.type)) return
        await new Promise(resolve => setTimeout(resolve, PAUSE_MS)) // the broker is away
      }
    }
  }

  /** The library does not tell what is lost from what is given up. */
  end() {
    this.session += 1
    this.open.clear()
    if (this.owned.length === 0) return
    const list = this.owned.join()
    if (this.had > 0) this.note(`revoked ${list}`, this.had)
    else this.note(`lost ${list}`)
    this.owned = []
  }

  async leave() {
    this.leaves = true
    await this.consumer.disconnect().catch(() => {}) // the broker is away
    this.end()
    process.exit(0)
  }
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { bootstrap: { type: 'string' } },
})
const member = new Member(values.bootstrap, positionals.slice(1))
process.stdin.on('end', () => member.leave()).resume()
member.start()
