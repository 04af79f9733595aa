// kafkajs, with codec packages that need no compiler.
'use strict'

const assert = require('assert')
const { CompressionCodecs, CompressionTypes, Kafka, logLevel } = require('kafkajs')
const lz4 = require('lz4-napi')
const snappy = require('kafkajs-snappy')
const { ZstdCodec } = require('zstd-codec')
const plan = require('./plan')

const { check, checkAfter, wait, text, record } = plan
const { CODEC_PARTITIONS, GROUP_PARTITIONS, RECORDS, BEFORE, AFTER } = plan

const address = process.argv[2]
const prefix = 'kafkajs-'
const codecs = {
  none: CompressionTypes.None,
  gzip: CompressionTypes.GZIP,
  snappy: CompressionTypes.Snappy,
  lz4: CompressionTypes.LZ4,
  zstd: CompressionTypes.ZSTD,
}
// Disconnecting waits for the fetch that is under way, so these are short.
const MEMBER = { heartbeatInterval: 300, sessionTimeout: 60000, maxWaitTimeInMs: 200 }

const kafka = new Kafka({
  brokers: [address],
  clientId: 'reka-compat',
  // Standard output is for checks.
  logLevel: logLevel.WARN,
  logCreator: () => entry => console.error(JSON.stringify(entry)),
  connectionTimeout: 60000,
  requestTimeout: 60000,
  retry: { initialRetryTime: 50, retries: 8 },
})

async function produce(topic, compression, messages) {
  const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 })
  await producer.connect()
  try {
    await producer.send({ topic, acks: -1, compression, messages })
  } finally {
    await producer.disconnect()
  }
}

// kafkajs has no reading by assignment: a group of one, from the beginning.
async function consume(codec) {
  const topic = prefix + codec
  const consumer = kafka.consumer({ groupId: `${prefix}reader-${codec}`, ...MEMBER })
  const found = []
  await consumer.connect()
  try {
    await consumer.subscribe({ topics: [topic], fromBeginning: true })
    await consumer.run({
      autoCommit: false,
      eachMessage: async ({ partition, message }) => {
        const headers = {}
        for (const [name, value] of Object.entries(message.headers)) {
          headers[name] = Array.isArray(value) ? value.map(text) : text(value)
        }
        const { key, value, offset } = message
        found.push({ offset, partition, key: text(key), value: text(value), headers })
      },
    })
    await wait(`${RECORDS} records`, () => found.length >= RECORDS)
  } finally {
    await consumer.disconnect()
  }
  plan.sameRecords(codec, found)
}

const toGroup = topic => messages => produce(topic, CompressionTypes.None, messages)

class Member {
  constructor(topic, groupId) {
    this.topic = topic
    this.consumer = kafka.consumer({ groupId, ...MEMBER })
    this.assigned = []
    this.seen = []
    this.offsets = new Map()
    this.crash = null
  }

  async start() {
    const { GROUP_JOIN, CRASH } = this.consumer.events
    this.consumer.on(GROUP_JOIN, ({ payload }) => {
      this.assigned = payload.memberAssignment[this.topic] || []
    })
    this.consumer.on(CRASH, ({ payload }) => {
      if (!payload.restart) this.crash = payload.error
    })
    await this.consumer.connect()
    await this.consumer.subscribe({ topics: [this.topic], fromBeginning: true })
    await this.consumer.run({
      autoCommit: false,
      eachMessage: async ({ partition, message }) => {
        this.seen.push(text(message.value))
        this.offsets.set(partition, String(BigInt(message.offset) + 1n))
      },
    })
  }

  check() {
    if (this.crash) throw this.crash
  }

  async commit() {
    const { topic } = this
    const positions = [...this.offsets].map(([partition, offset]) => ({ topic, partition, offset }))
    await this.consumer.commitOffsets(positions)
  }

  leave() {
    return this.consumer.disconnect()
  }
}

// Values of partition 0 as readers of committed data are given them.
async function values(topic, count) {
  const consumer = kafka.consumer({ groupId: `${topic}-values`, ...MEMBER })
  const found = []
  await consumer.connect()
  try {
    await consumer.subscribe({ topics: [topic], fromBeginning: true })
    await consumer.run({ autoCommit: false, eachMessage: async ({ message }) => { found.push(text(message.value)) } })
    await wait(`${count} records of ${topic}`, () => found.length >= count)
  } finally {
    await consumer.disconnect()
  }
  return found
}

// Reads, transforms and produces, with the positions in the same transactions; every third is taken back.
async function transform(admin) {
  const [source, out, groupId] = [`${prefix}in`, `${prefix}out`, `${prefix}transform`]
  const messages = Array.from({ length: RECORDS }, (_, n) => ({ value: String(n) }))
  await produce(source, CompressionTypes.None, messages)
  const read = await values(source, RECORDS)
  const producer = kafka.producer({ transactionalId: groupId, idempotent: true, maxInFlightRequests: 1 })
  await producer.connect()
  try {
    for (let done = 0, number = 0; done < RECORDS; number++) {
      const batch = read.slice(done, done + 7)
      const transaction = await producer.transaction()
      await transaction.send({ topic: out, acks: -1, messages: batch.map(value => ({ value: value + '!' })) })
      const partitions = [{ partition: 0, offset: String(done + batch.length) }]
      await transaction.sendOffsets({ consumerGroupId: groupId, topics: [{ topic: source, partitions }] })
      if (number % 3 === 1) {
        await transaction.abort()
        continue
      }
      await transaction.commit()
      done += batch.length
    }
  } finally {
    await producer.disconnect()
  }
  // What is committed becomes visible a moment after it is acknowledged.
  await wait('the positions are committed', async () => {
    const [offsets] = await admin.fetchOffsets({ groupId, topics: [source] })
    return String(offsets.partitions.map(one => one.offset)) === String(RECORDS)
  })
  assert.deepStrictEqual(await values(out, RECORDS), messages.map(({ value }) => value + '!'))
}

// The type of a refusal, from under the retries it may be wrapped in.
async function expectType(wanted, step) {
  try {
    await step()
  } catch (error) {
    let inner = error
    while (inner.type === undefined && inner.cause) inner = inner.cause
    assert.strictEqual(inner.type, wanted, inner.message)
    return
  }
  assert.fail(`no ${wanted}`)
}

async function main() {
  const zstd = await new Promise(resolve => ZstdCodec.run(zstd => resolve(new zstd.Simple())))
  CompressionCodecs[CompressionTypes.Snappy] = snappy
  CompressionCodecs[CompressionTypes.LZ4] = () => ({
    compress: encoder => lz4.compressFrame(encoder.buffer),
    decompress: buffer => lz4.decompressFrame(buffer),
  })
  CompressionCodecs[CompressionTypes.ZSTD] = () => ({
    compress: async encoder => Buffer.from(zstd.compress(encoder.buffer)),
    decompress: async buffer => Buffer.from(zstd.decompress(buffer)),
  })

  const admin = kafka.admin()
  await admin.connect()
  const topic = prefix + 'classic'
  const group = prefix + 'group-classic'
  const topics = Object.keys(codecs).map(codec => ({
    topic: prefix + codec,
    numPartitions: CODEC_PARTITIONS,
    replicationFactor: 1,
  }))
  for (const name of ['in', 'out']) topics.push({ topic: prefix + name, numPartitions: 1, replicationFactor: 1 })
  topics.push({ topic, numPartitions: GROUP_PARTITIONS, replicationFactor: 1 })
  topics.push({
    topic: prefix + 'small',
    numPartitions: 1,
    replicationFactor: 1,
    configEntries: [{ name: 'max.message.bytes', value: '1000' }],
  })
  const names = topics.map(one => one.topic)
  const listed = async () => (await admin.listTopics()).filter(name => names.includes(name)).length

  await check('create topics', async () => {
    // Its own wait for leaders takes "unknown topic", which a broker may say just then, for final.
    assert.strictEqual(await admin.createTopics({ topics, waitForLeaders: false }), true)
    await wait('the topics are listed', async () => (await listed()) === names.length)
  })
  for (const [codec, type] of Object.entries(codecs)) {
    const messages = Array.from({ length: RECORDS }, (_, i) => record(codec, i))
    await check(`produce ${codec}`, () => produce(prefix + codec, type, messages))
    await check(`consume ${codec}`, () => consume(codec))
  }
  const make = () => new Member(topic, group)
  await check('classic group', () => plan.twoMembers(make, toGroup(topic)))
  await checkAfter('classic group', 'classic group resumes', () => plan.resumes(make, toGroup(topic)))
  await checkAfter('classic group resumes', 'describe classic group', async () => {
    const { groups: all } = await admin.listGroups()
    assert(all.some(one => one.groupId === group), 'the group is not listed')
    const { groups } = await admin.describeGroups([group])
    assert.deepStrictEqual(groups.map(one => [one.groupId, one.state]), [[group, 'Empty']])
    const [offsets] = await admin.fetchOffsets({ groupId: group, topics: [topic] })
    const each = String((BEFORE + AFTER) / GROUP_PARTITIONS)
    const found = offsets.partitions.map(one => [one.partition, one.offset]).sort()
    assert.deepStrictEqual(found, [0, 1, 2, 3].map(partition => [partition, each]))
  })
  await check('consume, transform, produce', () => transform(admin))
  await check('describe topics', async () => {
    const metadata = await admin.fetchTopicMetadata({ topics: [topic] })
    const partitions = metadata.topics[0].partitions.map(one => one.partitionId).sort()
    assert.deepStrictEqual(partitions, [0, 1, 2, 3])
    const { resources } = await admin.describeConfigs({
      includeSynonyms: false,
      resources: [{ type: 2, name: prefix + 'small', configNames: ['max.message.bytes'] }],
    })
    const values = resources[0].configEntries.map(entry => [entry.configName, entry.configValue])
    assert.deepStrictEqual(values, [['max.message.bytes', '1000']])
  })
  await check('unknown topic', () =>
    expectType('UNKNOWN_TOPIC_OR_PARTITION', () =>
      admin.fetchTopicMetadata({ topics: [prefix + 'absent'] })))
  await check('too large', () =>
    expectType('MESSAGE_TOO_LARGE', () =>
      produce(prefix + 'small', CompressionTypes.None, [{ partition: 0, value: 'x'.repeat(5000) }])))
  await check('delete topics', async () => {
    await admin.deleteTopics({ topics: names, timeout: 60000 })
    await wait('the topics are gone', async () => (await listed()) === 0)
  })
  await admin.disconnect()
}

plan.end(main)
