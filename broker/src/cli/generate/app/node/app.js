'use strict'
// Sends ten records to a topic and reads them back, in a consumer group.
//
//   npm install
//   node app.js [HOST:PORT] [TOPIC]

const { randomUUID } = require('node:crypto')
const { Kafka, Partitioners, logLevel } = require('kafkajs')

const RECORDS = 10
const PATIENCE_MS = 30_000

async function produce(kafka, topic, run) {
  const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner })
  await producer.connect()
  const messages = Array.from({ length: RECORDS }, (_, number) => ({
    key: `greeting-${number}`,
    value: `hello ${number} of ${run}`,
  }))
  // Acknowledged by all replicas.
  await producer.send({ topic, acks: -1, messages })
  await producer.disconnect()
}

async function consume(kafka, topic, run) {
  const consumer = kafka.consumer({ groupId: 'app-node' })
  await consumer.connect()
  await consumer.subscribe({ topics: [topic], fromBeginning: true })
  let read = 0
  let late
  const all = new Promise((resolve, reject) => {
    const tooLate = () => reject(new Error(`only ${read} of ${RECORDS} records came back`))
    late = setTimeout(tooLate, PATIENCE_MS)
    const eachMessage = async ({ partition, message }) => {
      const value = message.value?.toString() ?? ''
      console.log(`${topic}-${partition} ${message.offset}: ${value}`)
      // Others may use the topic, too.
      if (value.endsWith(run)) read += 1
      if (read === RECORDS) resolve()
    }
    consumer.run({ eachMessage }).catch(reject)
  })
  try {
    await all
  } finally {
    clearTimeout(late)
    // Commits what was read, and leaves the group.
    await consumer.disconnect()
  }
  return read
}

async function main() {
  const brokers = process.env.TIDEWHEEL_BROKERS || '127.0.0.1:9092'
  const [bootstrap = brokers, topic = 'greetings'] = process.argv.slice(2)
  const kafka = new Kafka({ clientId: 'app', brokers: bootstrap.split(','), logLevel: logLevel.WARN })
  const run = randomUUID()
  await produce(kafka, topic, run)
  const read = await consume(kafka, topic, run)
  console.log(`${read} records went through ${bootstrap}`)
}

main().catch((error) => {
  console.error(error)
  process.exit(1)
})
