'use strict'
// The records of the matrix, what each partition must hold, and the hash over it (see
// ../python/harness.py and ../go/harness for the same in other languages).

const { createHash, randomBytes } = require('node:crypto')

const STANDARD_RECORDS = 240
const SIZES = [0, 1, 2, 127, 128, 1000, 16383, 16384, 100000, 500000, 900000, 800000, 600000]
const KEYS = [Buffer.from([0xff, 0, 0xfe]), Buffer.from('ключ'), Buffer.alloc(300, 'k')]
for (let i = 0; i < 12; i++) KEYS.push(Buffer.from(`key-${i}`))

const pick = below => Math.floor(Math.random() * below)

/** Half text that compresses well, half noise that does not. */
function payload(size) {
  const half = Math.floor(size / 2)
  const text = Buffer.alloc(half, `${pick(1000)} the tide turns twice a day; `)
  return Buffer.concat([text, randomBytes(size - half)])
}

/** The library cannot encode a null header. */
function headersOf(index) {
  if (index % 5 === 0) return undefined
  return {
    index: Buffer.from(`${index}`),
    dup: [Buffer.from('first'), Buffer.from('second')],
    empty: Buffer.alloc(0),
    'bytes-ü': Buffer.from([0, 0xff, 0x80]),
  }
}

/** Every kind of key, value, header and timestamp; a partition only where the record names one. */
function standardSet(partitions) {
  const base = Date.now() - 3600000
  const out = []
  for (let i = 0; i < STANDARD_RECORDS; i++) {
    const message = { key: null, value: payload(1 + pick(2000)), headers: headersOf(i) }
    if (i % 4 <= 1) message.key = KEYS[pick(KEYS.length)]
    if (i % 4 === 2) {
      message.partition = i % partitions
      if (i % 8 === 2) message.key = Buffer.alloc(0)
    }
    if (i % 11 === 1) message.value = null
    if (i % 11 === 2) message.value = Buffer.alloc(0)
    // Every thirteenth record is dated before its neighbours.
    message.timestamp = String(base + 10 * i - (i % 13 === 12 ? 5000 : 0))
    out.push(message)
  }
  return out
}

function sizeSet(partitions) {
  const base = Date.now() - 3600000
  return SIZES.map((size, i) => ({
    key: Buffer.from(`size-${size}`),
    value: payload(size),
    timestamp: String(base + i),
    partition: i % partitions,
  }))
}

/** A record of one value, dated now unless told otherwise. */
function plain(value, partition, timestamp = Date.now()) {
  return { key: null, value: Buffer.from(value), partition, timestamp: String(timestamp) }
}

/** The SHA-256 that the `digest` mode of other programs computes over all a topic holds. */
function digest(held) {
  const hash = createHash('sha256')
  const int = n => {
    const out = Buffer.alloc(4)
    out.writeInt32BE(n)
    hash.update(out)
  }
  const long = n => {
    const out = Buffer.alloc(8)
    out.writeBigInt64BE(BigInt(n))
    hash.update(out)
  }
  const blob = bytes => {
    int(bytes === null ? -1 : bytes.length)
    if (bytes !== null) hash.update(bytes)
  }
  held.forEach((messages, partition) =>
    messages.forEach((message, offset) => {
      int(partition)
      long(offset)
      long(message.timestamp)
      blob(message.key)
      blob(message.value)
      const headers = Object.entries(message.headers ?? {}).flatMap(([name, values]) =>
        [values].flat().map(value => [name, value])
      )
      int(headers.length)
      for (const [name, value] of headers) {
        blob(Buffer.from(name))
        blob(value)
      }
    })
  )
  return hash.digest('hex')
}

module.exports = { standardSet, sizeSet, plain, digest }
