// @platformatic/kafka. Its zstd is that of Node from 22 on, and is not tried.
'use strict'

const assert = require('assert')
const { Admin, Consumer, Producer } = require('@platformatic/kafka')
const plan = require('./plan')

const { check, checkAfter, wait, text, record } = plan
const { CODEC_PARTITIONS, GROUP_PARTITIONS, RECORDS, BEFORE, AFTER } = plan

const address = process.argv[2]
const prefix = 'platformatic-'
const codecs = ['none', 'gzip', 'snappy', 'lz4']
const base = {
  clientId: 'reka-compat',
  bootstrapBrokers: [address],
  timeout: 60000,
  retries: 20,
  retryDelay: 100,
  // A topic that has just been created may not be known at once.
  metadataMaxAge: 100,
}

const bytes = value => (value === null || value === undefined ? undefined : Buffer.from(value))

// Each name is a key of its own, so that one may occur twice.
function headers(of) {
  const list = new Map()
  for (const [name, values] of Object.entries(of || {})) {
    for (const value of [values].flat()) list.set(Buffer.from(name), Buffer.from(value))
  }
  return list
}

async function produce(topic, compression, records) {
  const producer = new Producer({ ...base, idempotent: true, compression })
  try {
    await producer.send({
      acks: -1,
      messages: records.map(({ partition, key, value, headers: of }) =>
        ({ topic, partition, key: bytes(key), value: bytes(value), headers: headers(of) })),
    })
  } finally {
    await producer.close()
  }
}

// Offsets by hand, so no group: reading by assignment of all partitions from the beginning.
async function consume(codec) {
  const topic = prefix + codec
  const consumer = new Consumer({ ...base, groupId: `${prefix}reader-${codec}`, maxWaitTime: 200 })
  const found = []
  let failure = null
  try {
    const stream = await consumer.consume({ topics: [topic], mode: 'earliest', autocommit: false })
    stream.on('error', error => { failure = error })
    stream.on('data', message => {
      const of = {}
      for (const [name, value] of message.headers) {
        const key = text(name)
        of[key] = key in of ? [of[key], text(value)].flat() : text(value)
      }
      const { partition, key, value, offset } = message
      found.push({ offset: String(offset), partition, key: text(key), value: text(value), headers: of })
    })
    await wait(`${RECORDS} records`, () => {
      if (failure) throw failure
      return found.length >= RECORDS
    })
  } finally {
    await consumer.close(true)
  }
  plan.sameRecords(codec, found)
}

const toGroup = topic => records => produce(topic, 'none', records)

class Member {
  constructor(topic, groupId, groupProtocol) {
    this.topic = topic
    this.consumer = new Consumer({
      ...base,
      groupId,
      groupProtocol,
      maxWaitTime: 200,
      ...(groupProtocol === 'classic' && { heartbeatInterval: 300, sessionTimeout: 60000, rebalanceTimeout: 60000 }),
    })
    this.seen = []
    this.offsets = new Map()
    this.failure = null
    this.fetches = 0
  }

  get assigned() {
    const own = (this.consumer.assignments || []).filter(one => one.topic === this.topic)
    return own.flatMap(one => one.partitions)
  }

  async start() {
    this.stream = await this.consumer.consume({
      topics: [this.topic],
      mode: 'committed',
      fallbackMode: 'earliest',
      autocommit: false,
    })
    this.stream.on('error', error => { this.failure = error })
    this.stream.on('fetch', () => { this.fetches++ })
    this.stream.on('data', message => {
      this.seen.push(text(message.value))
      this.offsets.set(message.partition, message.offset + 1n)
    })
  }

  check() {
    if (this.failure) throw this.failure
  }

  // The client passes on what a fetch brings that was under way when a partition was taken from it.
  async settle() {
    const before = this.fetches
    await wait('the next fetch but one', () => {
      this.check()
      return this.fetches >= before + 2
    })
  }

  async commit() {
    const { topic } = this
    const offsets = [...this.offsets].map(([partition, offset]) => ({ topic, partition, offset, leaderEpoch: 0 }))
    await this.consumer.commit({ offsets })
  }

  leave() {
    return this.consumer.close(true)
  }
}

// What a reader of committed data is given of a topic, and the reader, which stays a member.
async function committed(topic, groupId, count, use) {
  const consumer = new Consumer({ ...base, groupId, maxWaitTime: 200, isolationLevel: 1 })
  const found = []
  let failure = null
  try {
    const stream = await consumer.consume({ topics: [topic], mode: 'earliest', autocommit: false })
    stream.on('error', error => { failure = error })
    stream.on('data', message => { found.push(message) })
    await wait(`${count} records of ${topic}`, () => {
      if (failure) throw failure
      return found.length >= count
    })
    await use(consumer, found)
  } finally {
    await consumer.close(true)
  }
}

// Reads, transforms and produces, with the positions in the same transactions. None is taken back: of a producer that
// aborted several times within one answer the client leaves out what was aborted last, and hands on the rest.
async function transform(admin) {
  const [source, out, group] = [`${prefix}in`, `${prefix}out`, `${prefix}transform`]
  const wanted = Array.from({ length: RECORDS }, (_, n) => String(n))
  await produce(source, 'none', wanted.map(value => ({ partition: 0, value })))
  await committed(source, group, RECORDS, async (consumer, read) => {
    const producer = new Producer({ ...base, idempotent: true, transactionalId: group })
    try {
      for (let done = 0; done < RECORDS;) {
        const batch = read.slice(done, done + 7)
        const transaction = await producer.beginTransaction()
        await transaction.addConsumer(consumer)
        await transaction.send({
          acks: -1,
          messages: batch.map(({ value }) => ({ topic: out, partition: 0, value: Buffer.from(text(value) + '!') })),
        })
        await transaction.addOffset(batch.at(-1))
        await transaction.commit()
        done += batch.length
      }
    } finally {
      await producer.close()
    }
  })
  // What is committed becomes visible a moment after it is acknowledged.
  await wait('the positions are committed', async () => {
    const [offsets] = await admin.listConsumerGroupOffsets({ groups: [group] })
    return String(offsets.topics[0].partitions.map(one => one.committedOffset)) === String(RECORDS)
  })
  await committed(out, `${group}-check`, RECORDS, (_, found) => {
    assert.deepStrictEqual(found.map(({ value }) => text(value)), wanted.map(value => value + '!'))
  })
}

// The broker's own name for a refusal, from under the errors it is wrapped in.
async function expectRefusal(wanted, step) {
  try {
    await step()
  } catch (error) {
    const found = error.findBy && error.findBy('apiId', wanted)
    assert(found, `expected ${wanted}, found ${error.message}: ${(error.errors || []).map(String)}`)
    return
  }
  assert.fail(`no ${wanted}`)
}

async function main() {
  const admin = new Admin(base)
  const topics = codecs.map(codec => [prefix + codec, CODEC_PARTITIONS, []])
  for (const protocol of ['classic', 'consumer']) topics.push([prefix + protocol, GROUP_PARTITIONS, []])
  for (const name of ['in', 'out']) topics.push([prefix + name, 1, []])
  topics.push([prefix + 'small', 1, [{ name: 'max.message.bytes', value: '1000' }]])
  const names = topics.map(([name]) => name)
  const listed = async () => (await admin.listTopics()).filter(name => names.includes(name)).length

  await check('create topics', async () => {
    for (const [name, partitions, configs] of topics) {
      await admin.createTopics({ topics: [name], partitions, replicas: 1, configs })
    }
    await wait('the topics are listed', async () => (await listed()) === names.length)
  })
  for (const codec of codecs) {
    const records = Array.from({ length: RECORDS }, (_, i) => record(codec, i))
    await check(`produce ${codec}`, () => produce(prefix + codec, codec, records))
    await check(`consume ${codec}`, () => consume(codec))
  }
  for (const protocol of ['classic', 'consumer']) {
    const topic = prefix + protocol
    const group = `${prefix}group-${protocol}`
    const make = () => new Member(topic, group, protocol)
    await check(`${protocol} group`, () => plan.twoMembers(make, toGroup(topic)))
    await checkAfter(`${protocol} group`, `${protocol} group resumes`, () => plan.resumes(make, toGroup(topic)))
    await checkAfter(`${protocol} group resumes`, `describe ${protocol} group`, async () => {
      const groups = await admin.listGroups({ types: [protocol] })
      assert.strictEqual(groups.get(group)?.state, 'EMPTY')
      const [offsets] = await admin.listConsumerGroupOffsets({ groups: [group] })
      const each = BigInt((BEFORE + AFTER) / GROUP_PARTITIONS)
      const found = offsets.topics[0].partitions.map(one => [one.partitionIndex, one.committedOffset])
      assert.deepStrictEqual(found.sort(), [0, 1, 2, 3].map(partition => [partition, each]))
    })
  }
  await check('consume, transform, produce', () => transform(admin))
  await check('describe topics', async () => {
    const { topics: known } = await admin.metadata({ topics: [prefix + 'classic'] })
    assert.strictEqual(known.get(prefix + 'classic').partitionsCount, GROUP_PARTITIONS)
    const resource = { resourceType: 2, resourceName: prefix + 'small', configurationKeys: ['max.message.bytes'] }
    const [described] = await admin.describeConfigs({ resources: [resource] })
    assert.deepStrictEqual(described.configs.map(one => [one.name, one.value]), [['max.message.bytes', '1000']])
  })
  await check('unknown topic', () =>
    expectRefusal('UNKNOWN_TOPIC_OR_PARTITION', () => admin.deleteTopics({ topics: [prefix + 'absent'] })))
  await check('too large', () =>
    expectRefusal('MESSAGE_TOO_LARGE', () =>
      produce(prefix + 'small', 'none', [{ partition: 0, value: 'x'.repeat(5000) }])))
  await check('delete topics', async () => {
    await admin.deleteTopics({ topics: names })
    await wait('the topics are gone', async () => (await listed()) === 0)
  })
  await admin.close()
}

plan.end(main)
