'use strict'
// The cases of the admin API, with the names that other clients' programs use.

const { ConfigResourceTypes } = require('kafkajs')
const { CODECS, MODES, TOPIC_SETTINGS, wants, refused } = require('./world')
const { plain } = require('./records')

const FROM_DEFAULT = 5 // DEFAULT_CONFIG
// How far in the future delayed records are dated.
const DELAY_MS = 4000
const LIMIT_MS = 20000
// How long after it was due, or after the group was joined where that is later, a record may be read.
const LATE_MS = 5000

async function describe(world, topic) {
  const { topics } = await world.admin.fetchTopicMetadata({ topics: [topic] })
  return topics[0].partitions
}

async function settings(world, type, name) {
  const resources = [{ type, name }]
  const seen = await world.admin.describeConfigs({ resources, includeSynonyms: false })
  const entries = seen.resources[0].configEntries
  return new Map(entries.map(e => [e.configName, [e.configValue, e.configSource === FROM_DEFAULT]]))
}

async function hasSettings(world, topic, due) {
  const seen = await settings(world, ConfigResourceTypes.TOPIC, topic)
  for (const [name, value] of Object.entries(due)) {
    wants(`${seen.get(name)}` === `${value}`, `${name} is ${seen.get(name)}, due is ${value}`)
  }
}

async function create(world, topic) {
  await world.create(topic, 5)
  const partitions = await describe(world, topic)
  wants(partitions.length === 5, `${partitions.length} partitions`)
  for (const p of partitions) {
    const ok = p.leader >= 0 && `${p.replicas}` === `${p.leader}` && `${p.isr}` === `${p.leader}`
    wants(ok, JSON.stringify(p))
  }
}

async function describeConfigs(world, topic) {
  await world.create(topic, 1, { 'retention.ms': '3600000' })
  const due = { 'retention.ms': ['3600000', false], 'max.message.bytes': ['1048588', true] }
  await hasSettings(world, topic, due)
  const { controller } = await world.admin.describeCluster()
  const broker = await settings(world, ConfigResourceTypes.BROKER, String(controller))
  wants(Number(broker.get('num.partitions')[0]) > 0, `num.partitions ${broker.get('num.partitions')}`)
}

async function errors(world, topic) {
  await world.create(topic, 1)
  const make = (more, options = {}) =>
    world.admin.createTopics({ topics: [{ topic: `${topic}-b`, numPartitions: 1, ...more }], ...options })
  wants((await make({ topic })) === false, 'a topic was created twice')
  await refused('a bad name', 'INVALID_TOPIC_EXCEPTION', make({ topic: 'no spaces' }))
  await refused('no partitions', 'INVALID_PARTITIONS', make({ numPartitions: 0 }))
  await refused('too many replicas', 'INVALID_REPLICATION_FACTOR', make({ replicationFactor: 100 }))
  const configEntries = [{ name: 'no.such.key', value: '1' }]
  await refused('an unknown setting', 'INVALID_CONFIG', make({ configEntries }))
  await make({}, { validateOnly: true, waitForLeaders: false })
  await refused('what was only checked', 'UNKNOWN_TOPIC_OR_PARTITION', describe(world, `${topic}-b`))
  const gone = world.admin.deleteTopics({ topics: [`${topic}-e`] })
  await refused('delete nothing', 'UNKNOWN_TOPIC_OR_PARTITION', gone)
}

async function deleteRecreate(world, topic) {
  for (let round = 0; round < 3; round++) {
    await world.create(topic, world.partitions)
    const held = await world.produce(topic, [plain(`${round}`, 0)], 'none', 'acks=all')
    await world.readBack(topic, held)
    await world.admin.deleteTopics({ topics: [topic] })
    await world.shows(() => refused('deleted', 'UNKNOWN_TOPIC_OR_PARTITION', describe(world, topic)))
  }
}

async function listOffsets(world, topic) {
  await world.create(topic, world.partitions, TOPIC_SETTINGS)
  const base = Date.now() - 100000
  const sent = [5000, 9000, 7000, 8000].map(t => plain('v', 0, base + t))
  await world.produce(topic, sent, 'gzip', 'acks=all')
  const { low, high } = (await world.admin.fetchTopicOffsets(topic)).find(o => o.partition === 0)
  wants(low === '0' && high === '4', `from ${low} to ${high}`)
  // Where nothing is later the library answers the end.
  for (const [after, due] of [[0, '0'], [6000, '1'], [9000, '1'], [9001, '4']]) {
    const seen = await world.admin.fetchTopicOffsetsByTimestamp(topic, base + after)
    const { offset } = seen.find(o => o.partition === 0)
    wants(offset === due, `after ${after}: ${offset}, due ${due}`)
  }
}

async function cluster(world) {
  const { brokers, controller, clusterId } = await world.admin.describeCluster()
  const ok = clusterId && brokers.some(b => b.nodeId === controller)
  wants(ok, `cluster ${clusterId}, controller ${controller} of ${JSON.stringify(brokers)}`)
}

async function unknownTopic(world, topic) {
  for (const what of ['asked once', 'asked again']) {
    await refused(what, 'UNKNOWN_TOPIC_OR_PARTITION', describe(world, topic))
  }
}

async function autoCreate(world, topic) {
  const { producer } = world.producer('acks=1')
  await producer.connect()
  try {
    await world.shows(() => producer.send({ topic, messages: [{ value: 'v' }] }))
  } finally {
    await producer.disconnect()
  }
  const partitions = await describe(world, topic)
  wants(partitions.length === world.partitions, `${partitions.length} partitions`)
}

/** A topic whose max.message.bytes is 20,000 refuses 30,000 bytes and takes less. */
async function limitHolds(world, topic) {
  const send = size => world.produce(topic, [plain(Buffer.alloc(size), 0)], 'none', 'acks=all')
  await refused('30,000 bytes', 'MESSAGE_TOO_LARGE', send(30000))
  await send(1)
}

/**
 * Records from the future are read when their time has come, and not before: with every codec and whatever
 * acknowledgement is asked for; some ask by a header.
 */
async function delayed(world, topic) {
  if (world.settle) return // Apache Kafka has no delays
  await world.create(topic, 1, { 'delay.mode': 'both' })
  const sent = []
  for (const codec of Object.keys(CODECS)) {
    for (const mode of Object.keys(MODES)) {
      const { acks, idempotent = false } = MODES[mode]
      const producer = world.kafka.producer({ idempotent })
      await producer.connect()
      const name = `${codec} ${mode}`
      // Each a moment after the last one, so that their order is known.
      const due = Math.max(Date.now() + DELAY_MS, (sent.at(-1)?.due ?? 0) + 1)
      const asks = sent.length % 4 === 3
      const timestamp = asks ? Date.now() : due
      const headers = asks ? { 'delay-until': `${due}` } : undefined
      const messages = [{ ...plain(name, 0, timestamp), headers }]
      const placed = await producer.send({ topic, messages, acks, compression: CODECS[codec] })
      await producer.disconnect()
      sent.push({ name, due, timestamp: `${timestamp}` })
      const at = Number(placed?.[0]?.baseOffset ?? -1)
      wants(at < 0 || acks === 0 || Date.now() >= due, `${name}: acked at ${at}`)
    }
  }
  const consumer = world.kafka.consumer({ groupId: topic, maxWaitTimeInMs: 50 })
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  const read = []
  let joined = 0
  consumer.on(consumer.events.GROUP_JOIN, () => (joined = Date.now()))
  const all = new Promise(resolve =>
    consumer.run({
      eachMessage: async ({ message }) => {
        const due = sent[read.length]?.due
        const now = Date.now()
        const inTime = now >= due && now - Math.max(due, joined) <= LATE_MS
        read.push([message.value.toString(), inTime ? 'in time' : now - due, message.timestamp])
        if (read.length === sent.length) resolve()
      },
    })
  )
  const limit = new Promise((_, reject) => setTimeout(() => reject(new Error('not read')), LIMIT_MS).unref())
  await Promise.race([all, limit]).finally(() => consumer.disconnect())
  const wanted = sent.map(({ name, timestamp }) => [name, 'in time', timestamp])
  wants(JSON.stringify(read) === JSON.stringify(wanted), `read ${JSON.stringify(read)}`)
}

async function tooLarge(world, topic) {
  await world.create(topic, world.partitions, { 'max.message.bytes': '20000' })
  await limitHolds(world, topic)
}

function replace(world, type, name, values) {
  const configEntries = Object.entries(values).map(([name, value]) => ({ name, value }))
  return world.admin.alterConfigs({ resources: [{ type, name, configEntries }] })
}

async function alterConfigs(world, topic) {
  await world.create(topic, world.partitions, { 'retention.ms': '3600000' })
  const alter = (name, entry, value) =>
    replace(world, ConfigResourceTypes.TOPIC, name, { [entry]: value })
  // What is not named falls back to its default.
  await alter(topic, 'max.message.bytes', '20000')
  const due = { 'retention.ms': ['604800000', true], 'max.message.bytes': ['20000', false] }
  await world.shows(() => hasSettings(world, topic, due))
  await refused('an unknown setting', 'INVALID_CONFIG', alter(topic, 'no.such.key', '1'))
  await refused('a bad value', 'INVALID_CONFIG', alter(topic, 'retention.ms', 'soon'))
  const none = alter(`${topic}-none`, 'retention.ms', '1')
  await refused('an unknown topic', 'UNKNOWN_TOPIC_OR_PARTITION', none)
  await limitHolds(world, topic)
}

async function createPartitions(world, topic) {
  await world.create(topic, 2)
  const grow = (to, count, validateOnly = false) =>
    world.admin.createPartitions({ topicPartitions: [{ topic: to, count }], validateOnly })
  await refused('as many', 'INVALID_PARTITIONS', grow(topic, 2))
  await refused('fewer', 'INVALID_PARTITIONS', grow(topic, 1))
  await refused('an unknown topic', 'UNKNOWN_TOPIC_OR_PARTITION', grow(`${topic}-none`, 4))
  await grow(topic, 4, true)
  await grow(topic, world.partitions)
  await world.shows(() => world.ends(topic))
  const sent = [0, 1, 2].map(p => plain(`${p}`, p))
  await world.readBack(topic, await world.produce(topic, sent, 'none', 'acks=all'))
}

async function deleteRecords(world, topic) {
  await world.create(topic, world.partitions, TOPIC_SETTINGS)
  const sent = Array.from({ length: 10 }, (_, n) => plain(`${n}`, 0))
  await world.produce(topic, sent, 'none', 'acks=all')
  const cut = offset => world.admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset }] })
  const start = async () => (await world.admin.fetchTopicOffsets(topic)).find(o => o.partition === 0).low
  await cut('4')
  wants((await start()) === '4', `the log starts at ${await start()}, due is 4`)
  await refused('beyond the end', 'OFFSET_OUT_OF_RANGE', cut('11'))
  await cut('-1')
  wants((await start()) === '10', `the log starts at ${await start()}, not at its end`)
}

async function listReassignments(world, topic) {
  await world.create(topic, 1)
  const { topics } = await world.admin.listPartitionReassignments({ topics: [{ topic, partitions: [0] }] })
  wants(topics.length === 0, JSON.stringify(topics))
}

/** A setting of the broker is the default of topics, from the answer on. */
async function alterBroker(world, topic) {
  await world.create(topic, world.partitions)
  const node = String((await world.admin.describeCluster()).controller)
  const alter = values => replace(world, ConfigResourceTypes.BROKER, node, values)
  await alter({ 'message.max.bytes': '20000' })
  const due = value => world.shows(() => hasSettings(world, topic, { 'max.message.bytes': value }))
  await due(['20000', false])
  await world.shows(() => limitHolds(world, topic))
  for (const [name, bad] of [['message.max.bytes', 'many'], ['log.dirs', '/elsewhere']]) {
    await refused(name, 'INVALID_REQUEST', alter({ [name]: bad }))
  }
  await alter({})
  await due(['1048588', true])
  await world.create(`${topic}-after`, world.partitions)
  await world.produce(`${topic}-after`, [plain(Buffer.alloc(30000), 0)], 'none', 'acks=all')
}

const CASES = {
  'admin/create': create,
  'admin/describe-configs': describeConfigs,
  'admin/errors': errors,
  'admin/delete-recreate': deleteRecreate,
  'admin/list-offsets': listOffsets,
  'admin/cluster': cluster,
  'metadata/unknown-topic': unknownTopic,
  'metadata/auto-create': autoCreate,
  'produce/too-large': tooLarge,
  'produce/delayed': delayed,
  'admin/alter-configs': alterConfigs,
  'admin/create-partitions': createPartitions,
  'admin/delete-records': deleteRecords,
  'admin/list-reassignments': listReassignments,
}
/** These want the broker to themselves. */
const BROKER_CASES = { 'admin/alter-broker-configs': alterBroker }

module.exports = { CASES, BROKER_CASES }
