// What every Node client does here: the records, the named checks, what groups are given.
'use strict'

const assert = require('assert')

const CODEC_PARTITIONS = 2
const GROUP_PARTITIONS = 4
const RECORDS = 60
const BEFORE = 200
const AFTER = 100
// A machine five times slower than ours still keeps it.
const DEADLINE = 120000

const failed = new Set()

async function check(name, step) {
  const line = { check: name, ok: true }
  try {
    await step()
  } catch (error) {
    failed.add(name)
    line.ok = false
    line.why = `${error.name}: ${String(error.message).slice(0, 600)}`
    console.error(error)
  }
  console.log(JSON.stringify(line))
}

// One that looks for the traces of another: without them it would only tell the same finding again.
async function checkAfter(after, name, step) {
  await check(name, failed.has(after) ? () => assert.fail(`not tried, as \`${after}\` failed`) : step)
}

async function wait(what, condition) {
  const end = Date.now() + DEADLINE
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`not after ${DEADLINE} ms: ${what}`)
    await new Promise(resolve => setTimeout(resolve, 20))
  }
}

// Text of a buffer; null stays null.
const text = buffer => (buffer == null ? null : buffer.toString())

function record(codec, i) {
  return {
    partition: i % CODEC_PARTITIONS,
    key: i % 7 === 0 ? null : `k${i}`,
    // Nulls are tombstones; the repetition makes it worth compressing.
    value: i % 10 === 3 ? null : `${codec} ${i} ${'reka'.repeat(50)}`,
    headers: { n: String(i), same: ['1', '2'] },
  }
}

// What was read of a codec's topic: per partition in order, all of it, offsets without gaps.
function sameRecords(codec, found) {
  for (let partition = 0; partition < CODEC_PARTITIONS; partition++) {
    const expected = []
    for (let i = partition; i < RECORDS; i += CODEC_PARTITIONS) {
      expected.push({ offset: String(expected.length), ...record(codec, i) })
    }
    assert.deepStrictEqual(found.filter(one => one.partition === partition), expected)
  }
}

const groupValues = (start, count) =>
  Array.from({ length: count }, (_, n) => `group ${start + n}`).sort()

// What a group's topic is given.
function forGroup(start, count) {
  const messages = []
  for (let n = start; n < start + count; n++) {
    messages.push({ partition: n % GROUP_PARTITIONS, value: `group ${n}` })
  }
  return messages
}

// Two members share the partitions, and every record is seen by one of them, once. `make` makes a member:
// `start`, `check`, `assigned`, `seen`, `commit`, `leave`, and `settle` where having partitions is not enough.
async function twoMembers(make, produce) {
  const members = [make(), make()]
  try {
    await Promise.all(members.map(member => member.start()))
    await wait('two members share the partitions', () => {
      members.forEach(member => member.check())
      const all = members.flatMap(member => member.assigned).sort()
      return members.every(member => member.assigned.length > 0) && String(all) === '0,1,2,3'
    })
    await Promise.all(members.map(member => member.settle?.()))
    await produce(forGroup(0, BEFORE))
    await wait('every record is seen', () => {
      members.forEach(member => member.check())
      return members[0].seen.length + members[1].seen.length >= BEFORE
    })
    // Both commit before either leaves and its partitions move.
    for (const member of members) await member.commit()
  } finally {
    await Promise.all(members.map(member => member.leave()))
  }
  const seen = members.flatMap(member => member.seen).sort()
  assert.deepStrictEqual(seen, groupValues(0, BEFORE))
  assert(members.every(member => member.seen.length > 0), 'a member saw nothing')
}

// A later member goes on where the group committed.
async function resumes(make, produce) {
  await produce(forGroup(BEFORE, AFTER))
  const member = make()
  try {
    await member.start()
    await wait('the new records are seen', () => {
      member.check()
      return member.seen.length >= AFTER
    })
    await member.commit()
  } finally {
    await member.leave()
  }
  assert.deepStrictEqual(member.seen.sort(), groupValues(BEFORE, AFTER))
}

// Ends the program: with success if every check held.
function end(main) {
  main().then(
    () => process.exit(failed.size ? 1 : 0),
    error => {
      console.error(error)
      process.exit(1)
    },
  )
}

module.exports = {
  CODEC_PARTITIONS, GROUP_PARTITIONS, RECORDS, BEFORE, AFTER,
  check, checkAfter, wait, text, record, sameRecords, twoMembers, resumes, end,
}
