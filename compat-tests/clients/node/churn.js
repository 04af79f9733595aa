// A member that is killed, paused and started again: prints partition and offset of each record,
// then commits. Arguments: the address, a topic, a group.
'use strict'

const { Kafka, logLevel } = require('kafkajs')

const [address, topic, groupId] = process.argv.slice(2)

const kafka = new Kafka({
  brokers: [address],
  clientId: 'reka-churn',
  // Standard output is for records.
  logLevel: logLevel.WARN,
  logCreator: () => entry => console.error(JSON.stringify(entry)),
  connectionTimeout: 5000,
  requestTimeout: 20000,
  retry: { initialRetryTime: 50, retries: 20 },
})

async function run() {
  const consumer = kafka.consumer({
    groupId,
    heartbeatInterval: 300,
    sessionTimeout: 6000,
    maxWaitTimeInMs: 200,
  })
  await consumer.connect()
  await consumer.subscribe({ topics: [topic], fromBeginning: true })
  await consumer.run({
    autoCommit: false,
    eachBatchAutoResolve: true,
    eachBatch: async ({ batch }) => {
      const lines = batch.messages.map(message => `${batch.partition} ${message.offset}\n`)
      await new Promise(resolve => process.stdout.write(lines.join(''), resolve))
      const offset = String(BigInt(batch.lastOffset()) + 1n)
      try {
        await consumer.commitOffsets([{ topic, partition: batch.partition, offset }])
      } catch (error) {
        // The partition is another's by now, who reads the records again. Thrown from here it would end
        // the consumer for good.
        console.error(error)
      }
    },
  })
}

run().catch(error => {
  console.error(error)
  process.exit(1)
})
