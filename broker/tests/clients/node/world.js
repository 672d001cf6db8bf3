'use strict'
// kafkajs against the broker under test: codecs, producing with places, and reading back.

const { execFile } = require('node:child_process')
const { promisify } = require('node:util')
const { Kafka, logLevel, Partitioners, CompressionTypes, CompressionCodecs } = require('kafkajs')
const snappy = require('kafkajs-snappy')
const lz4 = require('lz4-napi')
const { Zstd } = require('@hpcc-js/wasm-zstd')
const { digest } = require('./records')

const CODECS = {
  none: CompressionTypes.None,
  gzip: CompressionTypes.GZIP,
  snappy: CompressionTypes.Snappy,
  lz4: CompressionTypes.LZ4,
  zstd: CompressionTypes.ZSTD,
}
const MODES = {
  'acks=0': { acks: 0 },
  'acks=1': { acks: 1 },
  'acks=all': { acks: -1 },
  idempotent: { acks: -1, idempotent: true },
}
const TOPIC_SETTINGS = { 'segment.bytes': '1048576', 'retention.ms': '-1' }
// One call makes one batch per partition: so many records, or less where they are large.
const CHUNK_RECORDS = 25
const CHUNK_BYTES = 900000
const PAUSE_MS = 50
const LIMIT_MS = 20000

const pause = () => new Promise(resolve => setTimeout(resolve, PAUSE_MS))

/** The library brings gzip only; lz4 and zstd as its documentation says that codecs are added. */
async function addCodecs() {
  const zstd = await Zstd.load()
  CompressionCodecs[CompressionTypes.Snappy] = snappy
  CompressionCodecs[CompressionTypes.LZ4] = () => ({
    compress: async encoder => lz4.compressFrame(encoder.buffer),
    decompress: async bytes => lz4.decompressFrame(bytes),
  })
  CompressionCodecs[CompressionTypes.ZSTD] = () => ({
    compress: async encoder => Buffer.from(zstd.compress(encoder.buffer)),
    decompress: async bytes => Buffer.from(zstd.decompress(bytes)),
  })
}

function wants(ok, text) {
  if (!ok) throw new Error(text)
}

/** Cuts a list into what one call sends. */
function* chunks(messages) {
  let [chunk, bytes] = [[], 0]
  for (const message of messages) {
    const size = message.value?.length ?? 0
    if (chunk.length === CHUNK_RECORDS || (chunk.length > 0 && bytes + size > CHUNK_BYTES)) {
      yield chunk
      ;[chunk, bytes] = [[], 0]
    }
    chunk.push(message)
    bytes += size
  }
  if (chunk.length > 0) yield chunk
}

/** The protocol's name of an error, however deep the library wrapped it. */
function typeOf(error) {
  const inner = error?.errors?.[0] ?? error?.partitions?.[0]?.error ?? error?.cause
  return error?.type ?? (inner && typeOf(inner))
}

async function refused(what, type, promise) {
  const error = await promise.then(() => undefined, e => e)
  wants(typeOf(error) === type, `${what}: answered ${error?.stack}, due is ${type}`)
}

class World {
  constructor(options) {
    Object.assign(this, options)
    // The default waits seconds before an error that stays reaches the caller.
    this.kafka = new Kafka({
      brokers: [this.bootstrap],
      logLevel: logLevel.NOTHING,
      retry: { initialRetryTime: 50, retries: this.settle ? 5 : 1 },
    })
    this.admin = this.kafka.admin()
  }

  topic(name) {
    return `${this.prefix}-${name.replace(/[/=]/g, '-')}`
  }

  /** Checks again, where the broker is Apache Kafka, until what was acknowledged shows. */
  async shows(check) {
    const until = Date.now() + (this.settle ? LIMIT_MS : 0)
    for (;;) {
      try {
        return await check()
      } catch (error) {
        if (Date.now() >= until) throw error
        await pause()
      }
    }
  }

  /** Creates a topic that can be written and read at once. */
  async create(topic, numPartitions, settings = {}) {
    const configEntries = Object.entries(settings).map(([name, value]) => ({ name, value }))
    const made = await this.admin.createTopics({ topics: [{ topic, numPartitions, configEntries }] })
    wants(made, `${topic} was there`)
    await this.shows(() => this.ends(topic, numPartitions))
  }

  /** The end offsets of a topic's partitions. */
  async ends(topic, partitions = this.partitions) {
    const seen = await this.admin.fetchTopicOffsets(topic)
    wants(seen.length === partitions, `${topic} has ${seen.length} partitions, due are ${partitions}`)
    const out = []
    for (const { partition, high } of seen) out[partition] = Number(high)
    return out
  }

  producer(mode) {
    const { idempotent = false } = MODES[mode]
    const places = new Map() // message -> partition
    const decide = Partitioners.DefaultPartitioner()
    const createPartitioner = () => args => {
      const partition = decide(args)
      places.set(args.message, partition)
      return partition
    }
    const more = idempotent ? { maxInFlightRequests: 1 } : {}
    const producer = this.kafka.producer({ idempotent, createPartitioner, ...more })
    return { producer, places }
  }

  /** Sends in order, waits for all; what each partition must hold then, checked against the acks. */
  async produce(topic, messages, codec, mode) {
    const { producer, places } = this.producer(mode)
    const held = Array.from({ length: this.partitions }, () => [])
    await producer.connect()
    try {
      for (const chunk of chunks(messages)) {
        const before = held.map(h => h.length)
        const { acks } = MODES[mode]
        const placed = await producer.send({ topic, messages: chunk, acks, compression: CODECS[codec] })
        for (const message of chunk) {
          const at = places.get(message)
          wants(message.partition === undefined || message.partition === at, `placed in ${at}`)
          held[at].push(message)
        }
        for (const { partition, baseOffset } of acks === 0 ? [] : placed) {
          const due = before[partition]
          wants(Number(baseOffset) === due, `${topic}-${partition}: acked at ${baseOffset}, due ${due}`)
        }
      }
      return held
    } finally {
      await producer.disconnect()
    }
  }

  /** Nobody says when records that were sent at acks=0 are there. */
  async arrived(topic, held) {
    const until = Date.now() + LIMIT_MS
    const due = held.map(h => h.length).join()
    let seen
    while ((seen = (await this.ends(topic, held.length)).join()) !== due) {
      wants(Date.now() < until, `${topic} ends at ${seen}, due ${due}`)
      await pause()
    }
  }

  /** The library reads in groups only, so another client reads: all must be there, and nothing else. */
  async readBack(topic, held) {
    const args = ['--bootstrap', this.bootstrap, '--partitions', String(held.length), 'digest', topic]
    const { stdout } = await promisify(execFile)(this.reader, args)
    const due = digest(held)
    const { detail } = JSON.parse(stdout)
    wants(detail === due, `${topic} holds ${detail}, sent was ${due}`)
  }

  close() {
    return this.admin.disconnect()
  }
}

module.exports = { World, CODECS, MODES, TOPIC_SETTINGS, addCodecs, wants, refused }
