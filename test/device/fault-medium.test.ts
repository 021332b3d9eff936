import { expect, test } from 'vitest'
import { FaultMedium } from '../../src/device/fault-medium.ts'
import { isDrydiskError } from '../../src/errors.ts'

const bytes = (...values: number[]) => Uint8Array.from(values)

test('what no flush covers may be lost, what one covers may not', async () => {
  const medium = new FaultMedium({ a: bytes(1, 2, 3) })
  const a = await medium.open('a', 'write')
  await a?.write(0, bytes(9))
  expect(medium.content('a')).toEqual(bytes(9, 2, 3))
  expect(medium.afterPowerLoss({ unflushed: 'lose' }).content('a')).toEqual(bytes(1, 2, 3))
  expect(medium.afterPowerLoss({ unflushed: 'keep' }).content('a')).toEqual(bytes(9, 2, 3))
  await a?.flush()
  await a?.truncate(1)
  expect(medium.afterPowerLoss({ unflushed: 'lose' }).content('a')).toEqual(bytes(9, 2, 3))
  expect(medium.afterPowerLoss({ unflushed: 'keep' }).content('a')).toEqual(bytes(9))
})

test('a new name needs a flush of the folder', async () => {
  const medium = new FaultMedium()
  const log = await medium.create('log')
  await log.write(0, bytes(5))
  await log.flush()
  expect(medium.afterPowerLoss({ unflushed: 'lose' }).names).toEqual([])
  await medium.flush()
  expect(medium.afterPowerLoss({ unflushed: 'lose' }).content('log')).toEqual(bytes(5))
  await medium.remove('log')
  expect(medium.afterPowerLoss({ unflushed: 'lose' }).names).toEqual(['log'])
  expect(medium.names).toEqual([])
})

test('the operation that the power failure meets may be torn at sectors', async () => {
  const results = new Set<string>()
  for (let seed = 0; seed < 50; seed++) {
    const medium = new FaultMedium({ a: new Uint8Array(2048) }, { stopAt: 0 })
    const a = await medium.open('a', 'write')
    await expect(a?.write(0, new Uint8Array(2048).fill(1))).rejects.toSatisfy(e => isDrydiskError(e, 'EIO'))
    await expect(a?.read(0, new Uint8Array(1))).rejects.toSatisfy(e => isDrydiskError(e, 'EIO'))
    await expect(a?.write(0, new Uint8Array(2048).fill(2))).rejects.toSatisfy(e => isDrydiskError(e, 'EIO'))
    const after = medium.afterPowerLoss({ unflushed: 'some', seed, torn: true }).content('a')
    expect(after?.includes(2), 'nothing is issued after the power has failed').toBe(false)
    const sectors = [0, 512, 1024, 1536].map(at => after?.[at])
    for (const at of [0, 512, 1024, 1536])
      expect(new Set(after?.subarray(at, at + 512)).size, 'sectors are whole').toBe(1)
    results.add(sectors.join(''))
  }
  expect(results.size).toBeGreaterThan(10)
})

test('a single failure leaves the medium working', async () => {
  const medium = new FaultMedium({ a: bytes(1) }, { failAt: { operation: 1, code: 'ENOSPC' } })
  const a = await medium.open('a', 'write')
  await a?.write(0, bytes(2))
  await expect(a?.write(0, bytes(3))).rejects.toSatisfy(e => isDrydiskError(e, 'ENOSPC'))
  await a?.write(1, bytes(4))
  expect(medium.content('a')).toEqual(bytes(2, 4))
  expect(medium.operations).toBe(3)
})
