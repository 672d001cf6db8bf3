'use strict'
// Drives a broker through kafkajs. It reads in groups only, so what was produced is read back by the
// program that --reader names. One JSON line per case:
// {"case": ..., "ok": ..., "detail": ..., "ms": ...}.
//
//   node kafkajs_client.js --bootstrap HOST:PORT --prefix NAME --reader FRANZ_GO matrix
//   ... broker      the cases that want the broker to themselves
//   ... groups      the cases of consumer groups

const { parseArgs } = require('node:util')
const { World, CODECS, MODES, TOPIC_SETTINGS, addCodecs, wants } = require('./world')
const { standardSet, sizeSet } = require('./records')
const { CASES, BROKER_CASES } = require('./admin')
const { GROUP_CASES } = require('./groups')

async function write(world, name, messages, codec, mode) {
  const topic = world.topic(name)
  await world.create(topic, world.partitions, TOPIC_SETTINGS)
  const held = await world.produce(topic, messages, codec, mode)
  await world.arrived(topic, held)
  await world.readBack(topic, held)
  return held
}

function checkKeys(held) {
  const home = new Map()
  held.forEach((messages, partition) => {
    for (const { key, partition: wanted } of messages) {
      if (!key?.length || wanted !== undefined) continue
      const name = key.toString('hex')
      wants((home.get(name) ?? partition) === partition, `key ${name} is in two partitions`)
      home.set(name, partition)
    }
  })
  wants(home.size > 3, 'too few keys to say anything')
}

/** The first record at or after a time, in every partition; the end where nothing is later. */
async function checkTimes(world, codec, held) {
  wants(held, `needs ${codec}/acks=all, which failed`)
  const all = held.flat().map(m => Number(m.timestamp))
  const asked = [0, Math.min(...all), all[all.length >> 1], Math.max(...all), Math.max(...all) + 1]
  for (const time of asked) {
    const seen = await world.admin.fetchTopicOffsetsByTimestamp(world.topic(`${codec}-acks-all`), time)
    for (const { partition, offset } of seen) {
      const first = held[partition].findIndex(m => Number(m.timestamp) >= time)
      const due = first < 0 ? held[partition].length : first
      wants(Number(offset) === due, `partition ${partition}: ${time} is at ${offset}, due ${due}`)
    }
  }
}

function cases(world) {
  const out = []
  for (const codec of Object.keys(CODECS)) {
    let written
    for (const mode of Object.keys(MODES)) {
      out.push([`${codec}/${mode}`, async () => {
        const name = `${codec}-${mode}`
        const held = await write(world, name, standardSet(world.partitions), codec, mode)
        checkKeys(held)
        if (mode === 'acks=all') written = held
      }])
    }
    out.push([`${codec}/timestamp`, () => checkTimes(world, codec, written)])
    out.push([`${codec}/sizes`, () =>
      write(world, `${codec}-sizes`, sizeSet(world.partitions), codec, 'acks=all')])
  }
  return out.concat(named(world, CASES))
}

function named(world, bodies) {
  return Object.entries(bodies).map(([name, body]) => [name, () => body(world, world.topic(name))])
}

async function attempt(name, body) {
  const started = Date.now()
  let [ok, detail] = [true, '']
  try {
    await body()
  } catch (error) {
    ;[ok, detail] = [false, error.stack]
  }
  console.log(JSON.stringify({ case: name, ok, detail, ms: Date.now() - started }))
  return ok
}

async function main() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      bootstrap: { type: 'string' },
      prefix: { type: 'string', default: 't' },
      partitions: { type: 'string', default: '3' },
      reader: { type: 'string' },
      settle: { type: 'boolean', default: false },
    },
  })
  const mode = positionals.join()
  const known = ['matrix', 'broker', 'groups'].includes(mode)
  wants(values.bootstrap && values.reader && known, 'see the comment above')
  await addCodecs()
  const world = new World({ ...values, partitions: Number(values.partitions) })
  await world.admin.connect()
  let ok = true
  const alone = mode === 'broker' ? BROKER_CASES : GROUP_CASES
  const bodies = mode === 'matrix' ? cases(world) : named(world, alone)
  for (const [name, body] of bodies) ok = (await attempt(name, body)) && ok
  await world.close()
  process.exitCode = ok ? 0 : 1
}

main().catch(error => {
  console.error(error)
  process.exitCode = 1
})
