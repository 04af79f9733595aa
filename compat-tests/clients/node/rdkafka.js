// node-rdkafka: the librdkafka it brings along, behind Node, built without zstd unless the machine has its headers,
// which is not tried. Its admin creates and deletes topics only.
'use strict'

const assert = require('assert')
const Kafka = require('node-rdkafka')
const plan = require('./plan')

const { check, checkAfter, wait, text, record } = plan
const { CODEC_PARTITIONS, GROUP_PARTITIONS, RECORDS } = plan

const address = process.argv[2]
const prefix = 'node-rdkafka-'
const codecs = ['none', 'gzip', 'snappy', 'lz4']
const ANSWER = 60000
const base = { 'bootstrap.servers': address, 'client.id': 'reka-compat' }

const bytes = value => (value === null || value === undefined ? null : Buffer.from(value))

// A call that takes a callback.
const told = call => new Promise((resolve, reject) => {
  call((error, value) => (error ? reject(error) : resolve(value)))
})

const connect = client => told(done => client.connect({ timeout: ANSWER }, done))
// A producer is told how long it may take; a consumer may never say that it has closed.
const disconnect = client => new Promise((resolve, reject) => {
  const late = setTimeout(() => reject(new Error(`not closed after ${ANSWER} ms`)), ANSWER)
  const closed = () => {
    clearTimeout(late)
    resolve()
  }
  client instanceof Kafka.Producer ? client.disconnect(ANSWER, closed) : client.disconnect(closed)
})

// Each name is a field of its own, so that one may occur twice.
const headers = of => Object.entries(of || {})
  .flatMap(([name, values]) => [values].flat().map(value => ({ [name]: Buffer.from(value) })))

async function producer(more) {
  const made = new Kafka.Producer({
    ...base,
    'enable.idempotence': true,
    'message.timeout.ms': 60000,
    'linger.ms': 20,
    'topic.metadata.propagation.max.ms': 1000,
    dr_cb: true,
    ...more,
  }, { acks: -1 })
  await connect(made)
  made.setPollInterval(10)
  return made
}

// Produces, and waits for what became of each record; the first refusal.
async function deliver(to, topic, records) {
  let left = records.length
  let refused = null
  const report = error => {
    left--
    refused = refused || error
  }
  to.on('delivery-report', report)
  try {
    for (const { partition, key, value, headers: of } of records) {
      to.produce(topic, partition ?? null, bytes(value), bytes(key), null, null, headers(of))
    }
    await wait('every record is delivered', () => left === 0)
  } finally {
    to.removeListener('delivery-report', report)
  }
  if (refused) throw refused
}

async function produce(topic, codec, records) {
  const to = await producer({ 'compression.codec': codec })
  try {
    await deliver(to, topic, records)
  } finally {
    await disconnect(to)
  }
}

async function consumer(more) {
  const made = new Kafka.KafkaConsumer(
    { ...base, 'enable.auto.commit': false, ...more }, { 'auto.offset.reset': 'earliest' })
  await connect(made)
  return made
}

// Reads partitions from their beginning until there are so many records.
async function read(topic, partitions, count) {
  const from = await consumer({ 'group.id': `${prefix}reader`, 'isolation.level': 'read_committed' })
  const found = []
  let failure = null
  try {
    from.on('event.error', error => { failure = error })
    from.on('data', message => { found.push(message) })
    from.assign(Array.from({ length: partitions }, (_, partition) => ({ topic, partition, offset: 0 })))
    from.consume()
    await wait(`${count} records of ${topic}`, () => {
      if (failure) throw failure
      return found.length >= count
    })
  } finally {
    await disconnect(from)
  }
  return found
}

async function consume(codec) {
  const found = await read(prefix + codec, CODEC_PARTITIONS, RECORDS)
  plan.sameRecords(codec, found.map(({ offset, partition, key, value, headers: list }) => {
    const of = {}
    for (const [name, one] of (list || []).flatMap(Object.entries)) {
      of[name] = name in of ? [of[name], text(one)].flat() : text(one)
    }
    return { offset: String(offset), partition, key: text(key), value: text(value), headers: of }
  }))
}

const toGroup = topic => records => produce(topic, 'none', records)

class Member {
  constructor(topic, groupId, more) {
    this.topic = topic
    this.settings = { 'group.id': groupId, ...more }
    this.seen = []
    this.failure = null
  }

  get assigned() {
    return this.consumer.assignments().map(one => one.partition).sort()
  }

  async start() {
    this.consumer = await consumer(this.settings)
    this.consumer.on('event.error', error => { this.failure = error })
    this.consumer.on('data', message => { this.seen.push(text(message.value)) })
    this.consumer.subscribe([this.topic])
    this.consumer.consume()
  }

  check() {
    if (this.failure) throw this.failure
  }

  async commit() {
    this.consumer.commitSync(null)
  }

  async leave() {
    if (this.consumer) await disconnect(this.consumer)
  }
}

// How long a member of a classic group may take to notice a rebalance.
const CLASSIC = { 'heartbeat.interval.ms': 300, 'session.timeout.ms': 60000 }

async function transactional(name) {
  const to = await producer({ 'transactional.id': prefix + name, 'transaction.timeout.ms': 60000 })
  await told(done => to.initTransactions(ANSWER, done))
  return to
}

// Reads, transforms and produces, with the positions in the same transactions; every third is taken back.
async function transform() {
  const [source, out, group] = [`${prefix}in`, `${prefix}out`, `${prefix}transform`]
  const wanted = Array.from({ length: RECORDS }, (_, n) => String(n))
  await produce(source, 'none', wanted.map(value => ({ partition: 0, value })))
  const member = new Member(source, group, CLASSIC)
  await member.start()
  const to = await transactional('transform')
  try {
    await wait('every record is read', () => {
      member.check()
      return member.seen.length >= RECORDS
    })
    for (let done = 0, number = 0; done < RECORDS; number++) {
      const batch = member.seen.slice(done, done + 7)
      await told(cb => to.beginTransaction(cb))
      await deliver(to, out, batch.map(value => ({ partition: 0, value: value + '!' })))
      const offsets = [{ topic: source, partition: 0, offset: done + batch.length }]
      await told(cb => to.sendOffsetsToTransaction(offsets, member.consumer, ANSWER, cb))
      if (number % 3 === 1) {
        await told(cb => to.abortTransaction(ANSWER, cb))
        continue
      }
      await told(cb => to.commitTransaction(ANSWER, cb))
      done += batch.length
    }
    // What is committed becomes visible a moment after it is acknowledged.
    await wait('the positions are committed', async () => {
      const partitions = [{ topic: source, partition: 0 }]
      const committed = await told(cb => member.consumer.committed(partitions, ANSWER, cb))
      return String(committed.map(one => one.offset)) === String(RECORDS)
    })
  } finally {
    await disconnect(to)
    await member.leave()
  }
  const found = await read(out, 1, RECORDS)
  assert.deepStrictEqual(found.map(one => text(one.value)), wanted.map(value => value + '!'))
}

async function fenced() {
  const topic = prefix + 'fenced'
  const begin = async value => {
    const to = await transactional('fenced')
    await told(cb => to.beginTransaction(cb))
    await deliver(to, topic, [{ partition: 0, value }])
    return to
  }
  const first = await begin('first')
  const second = await begin('second')
  await refused(/fenced/i, () => told(cb => first.commitTransaction(ANSWER, cb)))
  await told(cb => second.commitTransaction(ANSWER, cb))
  await Promise.all([disconnect(first), disconnect(second)])
  assert.deepStrictEqual((await read(topic, 1, 1)).map(one => text(one.value)), ['second'])
}

// Delivery reports have no code but the words of librdkafka.
async function refused(wanted, step) {
  try {
    await step()
  } catch (error) {
    assert.match(String(error.message), wanted)
    return
  }
  assert.fail(`no error ${wanted}`)
}

async function main() {
  const admin = Kafka.AdminClient.create(base)
  const topics = codecs.map(codec => [prefix + codec, CODEC_PARTITIONS, {}])
  for (const protocol of ['classic', 'consumer']) topics.push([prefix + protocol, GROUP_PARTITIONS, {}])
  for (const name of ['in', 'out', 'fenced']) topics.push([prefix + name, 1, {}])
  topics.push([prefix + 'small', 1, { 'max.message.bytes': '1000' }])
  const names = topics.map(([name]) => name)
  const asking = await producer({})
  const listed = async () => {
    const { topics: all } = await told(cb => asking.getMetadata({ timeout: ANSWER }, cb))
    return all.filter(({ name }) => names.includes(name)).length
  }

  await check('create topics', async () => {
    for (const [topic, num_partitions, config] of topics) {
      await told(cb => admin.createTopic({ topic, num_partitions, replication_factor: 1, config }, cb))
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
    const settings = protocol === 'classic' ? CLASSIC : { 'group.protocol': 'consumer' }
    const make = () => new Member(topic, `${prefix}group-${protocol}`, settings)
    await check(`${protocol} group`, () => plan.twoMembers(make, toGroup(topic)))
    await checkAfter(`${protocol} group`, `${protocol} group resumes`, () => plan.resumes(make, toGroup(topic)))
  }
  await check('consume, transform, produce', transform)
  await check('a fenced producer', fenced)
  await check('unknown topic', () =>
    refused(/unknown topic or partition/i, () =>
      produce(prefix + 'absent', 'none', [{ value: 'x' }])))
  await check('too large', () =>
    refused(/message size too large/i, () =>
      produce(prefix + 'small', 'none', [{ partition: 0, value: 'x'.repeat(5000) }])))
  await check('delete topics', async () => {
    for (const name of names) await told(cb => admin.deleteTopic(name, cb))
    await wait('the topics are gone', async () => (await listed()) === 0)
  })
  admin.disconnect()
  await disconnect(asking)
}

plan.end(main)
