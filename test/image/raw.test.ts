import fc from 'fast-check'
import { expect, test } from 'vitest'
import { FaultMedium, type PowerLoss } from '../../src/device/fault-medium.ts'
import { isDrydiskError } from '../../src/errors.ts'
import { RawImage } from '../../src/image/raw.ts'
import {
  applyStep,
  blockDeviceContract,
  type DeviceStep,
  deviceStep,
  expectContent,
} from '../support/block-device-contract.ts'
import { propertySettings } from '../support/native.ts'

const NAME = 'disk.raw'
const LOG = 'disk.raw.drydisk-redo'

/** toEqual compares large arrays a thousand times as slowly. */
function same(a: Uint8Array | undefined, b: Uint8Array | undefined): boolean {
  return a !== undefined && b !== undefined && Buffer.compare(a, b) === 0
}

async function openIn(
  medium: FaultMedium,
  mode: 'read' | 'write' = 'write',
  budget?: number,
): Promise<RawImage> {
  const storage = await medium.open(NAME, mode)
  if (storage === undefined) throw new Error('no image')
  return await RawImage.open(storage, medium, NAME, budget)
}

function pattern(length: number): Uint8Array {
  const bytes = new Uint8Array(length)
  for (let at = 0; at < length; at++) bytes[at] = (at * 13 + (at >> 9)) & 0xff
  return bytes
}

for (const budget of [1, undefined])
  blockDeviceContract(
    `RawImage with ${budget === 1 ? 'every page spilled' : 'pages in memory'}`,
    async () => {
      const content = pattern(500_123)
      return { device: await openIn(new FaultMedium({ [NAME]: content }), 'write', budget), content }
    },
  )

blockDeviceContract('RawImage for reading', async () => {
  const content = pattern(100_123)
  return { device: await openIn(new FaultMedium({ [NAME]: content }), 'read'), content }
})

test('nothing changes before commit, all after it, and no log stays', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(
        fc.tuple(fc.array(deviceStep, { maxLength: 5 }), fc.constantFrom('commit', 'rollback', 'reopen')),
        { minLength: 1, maxLength: 5 },
      ),
      fc.constantFrom(1, 200_000, undefined),
      async (rounds, budget) => {
        let committed = pattern(400_001)
        const medium = new FaultMedium({ [NAME]: committed })
        let image = await openIn(medium, 'write', budget)
        for (const [steps, end] of rounds) {
          const model = committed.slice()
          for (const step of steps) await applyStep(image, model, step)
          await expectContent(image, model)
          expect(Buffer.compare(medium.content(NAME) ?? model, committed)).toBe(0)
          if (end === 'commit') {
            await image.commit()
            committed = model
          } else if (end === 'rollback') await image.rollback()
          else {
            await image.close()
            image = await openIn(medium, 'write', budget)
          }
          expect(image.dirty).toBe(false)
          await expectContent(image, committed)
          expect(medium.names).toEqual([NAME])
          expect(Buffer.compare(medium.content(NAME) ?? new Uint8Array(), committed)).toBe(0)
        }
        await image.close()
      },
    ),
    propertySettings(25),
  )
})

test('a commit with nothing to commit writes nothing', async () => {
  const medium = new FaultMedium({ [NAME]: pattern(5000) })
  const image = await openIn(medium)
  const before = medium.operations
  await image.commit()
  await image.erase(0, 0)
  await image.commit()
  expect(medium.operations).toBe(before)
})

const losses: readonly PowerLoss[] = [
  { unflushed: 'keep' },
  { unflushed: 'lose' },
  ...[1, 2, 3].map(seed => ({ unflushed: 'some' as const, seed })),
  ...[4, 5, 6].map(seed => ({ unflushed: 'some' as const, seed, torn: true })),
]

const edit: readonly DeviceStep[] = [
  { kind: 'write', place: 0.1, length: 3000, align: 1, fill: 7 },
  { kind: 'erase', place: 0.2, length: 90_000, align: 1, fill: 0 },
  { kind: 'write', place: 0.22, length: 5000, align: 512, fill: 99 },
  { kind: 'write', place: 0.5, length: 70_000, align: 4096, fill: 3 },
  { kind: 'write', place: 0.99, length: 70_000, align: 1, fill: 42 },
]

async function makeEdit(medium: FaultMedium, budget: number | undefined): Promise<void> {
  const image = await openIn(medium, 'write', budget)
  const scratch = new Uint8Array(image.size)
  for (const step of edit) await applyStep(image, scratch, step)
  await image.commit()
  await image.close()
}

/** What a crashed medium holds, seen read-only and then after recovery; both have to agree. */
async function contentAfter(crashed: FaultMedium): Promise<Uint8Array> {
  const before = crashed.content(NAME)
  const names = crashed.names
  const reader = await openIn(crashed, 'read')
  const seen = new Uint8Array(reader.size)
  await reader.read(0, seen)
  await reader.close()
  expect(same(crashed.content(NAME), before), 'reading writes nothing').toBe(true)
  expect(crashed.names).toEqual(names)
  const writer = await openIn(crashed)
  await expectContent(writer, seen)
  await writer.close()
  expect(crashed.names, 'the log is gone').toEqual([NAME])
  expect(Buffer.compare(crashed.content(NAME) ?? new Uint8Array(), seen)).toBe(0)
  return seen
}

test.each([undefined, 1])('power failure at every operation: all or nothing (budget %s)', async budget => {
  const before = pattern(300_123)
  const whole = new FaultMedium({ [NAME]: before })
  await makeEdit(whole, budget)
  const after = whole.content(NAME) ?? new Uint8Array()
  expect(Buffer.compare(before, after)).not.toBe(0)
  let olds = 0
  let news = 0
  let lastWasNew = false
  for (let stopAt = 0; stopAt < whole.operations; stopAt++) {
    const medium = new FaultMedium({ [NAME]: before }, { stopAt })
    const failure = await makeEdit(medium, budget).catch((error: unknown) => error)
    expect(isDrydiskError(failure)).toBe(true)
    for (const loss of losses) {
      const found = await contentAfter(medium.afterPowerLoss(loss))
      const isNew = Buffer.compare(found, after) === 0
      if (!isNew)
        expect(Buffer.compare(found, before), `operation ${stopAt}, ${JSON.stringify(loss)}`).toBe(0)
      if (isDrydiskError(failure) && failure.context.published === true) expect(isNew).toBe(true)
      if (isDrydiskError(failure) && failure.context.published === false) expect(isNew).toBe(false)
      if (isNew) news++
      else olds++
      if (loss.unflushed === 'lose') {
        expect(isNew || !lastWasNew, 'what was durable stays so').toBe(true)
        lastWasNew = isNew
      }
    }
  }
  expect(olds).toBeGreaterThan(20)
  expect(news).toBeGreaterThan(20)
})

test('power failure at every operation of the recovery itself', async () => {
  const before = pattern(300_123)
  const whole = new FaultMedium({ [NAME]: before })
  await makeEdit(whole, undefined)
  const after = whole.content(NAME) ?? new Uint8Array()
  // Find a crash that leaves a complete log and a half-changed image.
  let tried = 0
  for (let stopAt = whole.operations - 1; stopAt > 0 && tried < 3; stopAt--) {
    const first = new FaultMedium({ [NAME]: before }, { stopAt })
    await makeEdit(first, undefined).catch(() => undefined)
    const crashed = first.afterPowerLoss({ unflushed: 'some', seed: stopAt, torn: true })
    if (!crashed.names.includes(LOG)) continue
    if (!same(await contentAfter(crashed.afterPowerLoss({ unflushed: 'keep' })), after)) continue
    tried++
    for (let again = 0; ; again++) {
      const second = crashed.afterPowerLoss({ unflushed: 'keep' })
      second.arm({ stopAt: again })
      const failed = await openIn(second).then(
        () => false,
        () => true,
      )
      for (const loss of losses.slice(0, 5))
        expect(Buffer.compare(await contentAfter(second.afterPowerLoss(loss)), after)).toBe(0)
      if (!failed) break
    }
  }
  expect(tried).toBe(3)
})

test('an error midway of a commit: the context tells what counts, and the image goes on', async () => {
  const before = pattern(300_123)
  const whole = new FaultMedium({ [NAME]: before })
  await makeEdit(whole, undefined)
  const after = whole.content(NAME) ?? new Uint8Array()
  for (let operation = 0; operation < whole.operations; operation++) {
    const medium = new FaultMedium({ [NAME]: before }, { failAt: { operation, code: 'ENOSPC' } })
    const image = await openIn(medium)
    const scratch = new Uint8Array(image.size)
    let failure: unknown
    try {
      for (const step of edit) await applyStep(image, scratch, step)
      await image.commit()
    } catch (error) {
      failure = error
    }
    if (failure === undefined) {
      // The failure met the removal of something that is not there, or came after all.
      await image.close()
      continue
    }
    expect(isDrydiskError(failure, 'ENOSPC')).toBe(true)
    if (!isDrydiskError(failure)) return
    if (failure.context.published === true) {
      await expect(image.write(0, new Uint8Array(1))).rejects.toSatisfy(e => isDrydiskError(e, 'EBUSY'))
      await expect(image.rollback()).rejects.toSatisfy(e => isDrydiskError(e, 'EBUSY'))
      await expectContent(image, after)
      expect(
        Buffer.compare(await contentAfter(medium.afterPowerLoss({ unflushed: 'lose' })), after),
        'published',
      ).toBe(0)
    } else
      expect(Buffer.compare(await contentAfter(medium.afterPowerLoss({ unflushed: 'keep' })), before)).toBe(0)
    await image.commit()
    await expectContent(image, after)
    expect(medium.names).toEqual([NAME])
    expect(Buffer.compare(medium.content(NAME) ?? new Uint8Array(), after)).toBe(0)
    await image.write(0, new Uint8Array([1, 2, 3]))
    await image.commit()
    await image.close()
    expect(medium.content(NAME)?.subarray(0, 3)).toEqual(new Uint8Array([1, 2, 3]))
  }
})

/** A medium whose log is complete and whose image is as before or half done. */
async function interrupted(): Promise<{ medium: FaultMedium; before: Uint8Array; after: Uint8Array }> {
  const before = pattern(300_123)
  const whole = new FaultMedium({ [NAME]: before })
  await makeEdit(whole, undefined)
  for (let stopAt = whole.operations - 1; ; stopAt--) {
    const medium = new FaultMedium({ [NAME]: before }, { stopAt })
    await makeEdit(medium, undefined).catch(() => undefined)
    const crashed = medium.afterPowerLoss({ unflushed: 'lose' })
    if (crashed.names.includes(LOG) && Buffer.compare(crashed.content(NAME) ?? before, before) === 0)
      return { medium: crashed, before, after: whole.content(NAME) ?? before }
  }
}

test('a log is not applied to an image that is not the one it was made for', async () => {
  const { medium, before } = await interrupted()
  const log = medium.content(LOG) ?? new Uint8Array()
  const longer = new Uint8Array(before.length + 1)
  longer.set(before)
  const changed = before.slice()
  // A machine was booted from the half-done image: it changed a block that the log changes too.
  changed[Math.floor(0.5 * before.length)] = 0x11
  const other = before.map(byte => byte ^ 1)
  for (const image of [longer, changed, other, before.subarray(0, 1000)])
    for (const mode of ['read', 'write'] as const) {
      const replaced = new FaultMedium({ [NAME]: image, [LOG]: log })
      await expect(openIn(replaced, mode)).rejects.toSatisfy(
        e => isDrydiskError(e, 'ERR_CORRUPT') && e.message.includes(LOG),
      )
      expect(same(replaced.content(NAME), image)).toBe(true)
      expect(replaced.names).toContain(LOG)
    }
})

test('a damaged log gives a typed error or the right content, and never a wrong write', async () => {
  const { medium, before, after } = await interrupted()
  const log = medium.content(LOG) ?? new Uint8Array()
  const place = fc.oneof(
    fc.nat(511),
    fc.nat(log.length - 1),
    fc.integer({ min: log.length - 4000, max: log.length - 1 }),
  )
  await fc.assert(
    fc.asyncProperty(place, fc.integer({ min: 1, max: 255 }), fc.boolean(), async (at, flip, cut) => {
      const damaged = cut ? log.slice(0, at) : log.slice()
      if (!cut) damaged[at] = (damaged[at] ?? 0) ^ flip
      const hurt = new FaultMedium({ [NAME]: before, [LOG]: damaged })
      try {
        const image = await openIn(hurt)
        await expectContent(image, cut && at < 512 ? before : after)
      } catch (error) {
        if (!isDrydiskError(error, 'ERR_CORRUPT', 'ERR_UNSUPPORTED')) throw error
        expect(same(hurt.content(NAME), before)).toBe(true)
      }
    }),
    propertySettings(150),
  )
})
