import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { BlockDevice, Extent } from '../../src/device/block-device.ts'
import { isDrydiskError } from '../../src/errors.ts'
import { propertySettings } from './native.ts'

/** What the contract suite needs to know of an implementation. */
export interface DeviceUnderTest {
  readonly device: BlockDevice
  /** What the device reads as in the beginning. */
  readonly content: Uint8Array
}

/**
 * What every BlockDevice must do, whatever it is made of.
 * @param make a new device of at least 64 KiB and at most some MiB, of any content.
 * @param runs of the property test.
 */
export function blockDeviceContract(name: string, make: () => Promise<DeviceUnderTest>, runs = 25): void {
  describe(`${name} as a BlockDevice`, () => {
    test('reads what it holds, at any offset and length', async () => {
      const { device, content } = await make()
      expect(device.size).toBe(content.length)
      await expectContent(device, content)
      for (const [offset, length] of [
        [0, 0],
        [0, 1],
        [511, 3],
        [device.size - 1, 1],
        [device.size, 0],
        [4095, 8194],
      ] as const) {
        const bytes = new Uint8Array(length)
        await device.read(offset, bytes)
        expect(bytes).toEqual(content.subarray(offset, offset + length))
      }
      await device.close()
    })

    test('refuses ranges outside its size', async () => {
      const { device } = await make()
      const outside = (error: unknown) => isDrydiskError(error, 'ERR_INVALID_ARGUMENT')
      for (const offset of [-1, device.size, device.size + 1, 0.5, Number.NaN, 2 ** 60]) {
        await expect(device.read(offset, new Uint8Array(1))).rejects.toSatisfy(outside)
        await expect(
          (async () => {
            for await (const _ of device.extents(offset, 1));
          })(),
        ).rejects.toSatisfy(outside)
        if (!device.writable) continue
        await expect(device.write(offset, new Uint8Array(1))).rejects.toSatisfy(outside)
        await expect(device.erase(offset, 1)).rejects.toSatisfy(outside)
      }
      await expect(device.read(device.size - 1, new Uint8Array(2))).rejects.toSatisfy(outside)
      await device.close()
    })

    test('behaves as an array of bytes', async () => {
      await fc.assert(
        fc.asyncProperty(deviceSteps, async steps => {
          const { device, content } = await make()
          const model = content.slice()
          if (!device.writable) {
            await expect(device.write(0, new Uint8Array(1))).rejects.toSatisfy(e =>
              isDrydiskError(e, 'EROFS'),
            )
            await expect(device.erase(0, 1)).rejects.toSatisfy(e => isDrydiskError(e, 'EROFS'))
            await device.close()
            return
          }
          for (const step of steps) {
            await applyStep(device, model, step)
            const { offset, length } = placeStep(step, device.size)
            const from = Math.max(0, offset - 600)
            const bytes = new Uint8Array(Math.min(device.size - from, length + 1200))
            await device.read(from, bytes)
            expect(Buffer.compare(bytes, model.subarray(from, from + bytes.length))).toBe(0)
          }
          await expectContent(device, model)
          await expectExtents(device, model)
          await device.close()
        }),
        propertySettings(runs),
      )
    })

    test('writes that overlap in time all arrive', async () => {
      const { device, content } = await make()
      if (!device.writable) return
      const model = content.slice()
      const parts = Array.from({ length: 40 }, (_, index) => ({
        offset: index * 777,
        bytes: new Uint8Array(777).fill(index + 1),
      }))
      for (const { offset, bytes } of parts) model.set(bytes, offset)
      await Promise.all(parts.map(({ offset, bytes }) => device.write(offset, bytes)))
      await expectContent(device, model)
      await device.close()
    })
  })
}

/** A random change of a device, placed by fractions of its size so that one generator serves every size. */
export interface DeviceStep {
  readonly kind: 'write' | 'erase'
  readonly place: number
  readonly length: number
  readonly align: number
  readonly fill: number
}

export const deviceStep: fc.Arbitrary<DeviceStep> = fc.record({
  kind: fc.constantFrom('write' as const, 'write' as const, 'erase' as const),
  place: fc.double({ min: 0, max: 1, noNaN: true }),
  length: fc.oneof(fc.nat(700), fc.nat(9000), fc.nat(300_000)),
  align: fc.constantFrom(1, 512, 4096, 65536),
  fill: fc.nat(255),
})

const deviceSteps = fc.array(deviceStep, { minLength: 1, maxLength: 12 })

export function placeStep(
  step: DeviceStep,
  size: number,
): { readonly offset: number; readonly length: number } {
  const offset = Math.floor((step.place * size) / step.align) * step.align
  const length = step.align === 1 ? step.length : Math.ceil(step.length / step.align) * step.align
  return { offset: Math.min(offset, size), length: Math.max(0, Math.min(length, size - offset)) }
}

/** Does a step on the device and on the model. */
export async function applyStep(device: BlockDevice, model: Uint8Array, step: DeviceStep): Promise<void> {
  const { offset, length } = placeStep(step, device.size)
  if (step.kind === 'erase') {
    model.fill(0, offset, offset + length)
    await device.erase(offset, length)
    return
  }
  const bytes = new Uint8Array(length)
  for (let at = 0; at < length; at++) bytes[at] = step.fill + (at >> 9)
  model.set(bytes, offset)
  const passed = bytes.slice()
  await device.write(offset, passed)
  // The caller may use its buffer again.
  passed.fill(0xee)
}

export async function expectContent(device: BlockDevice, model: Uint8Array): Promise<void> {
  const bytes = new Uint8Array(device.size)
  await device.read(0, bytes)
  expect(bytes.length).toBe(model.length)
  if (Buffer.compare(bytes, model) !== 0) {
    const at = bytes.findIndex((byte, index) => byte !== model[index])
    expect.fail(`byte ${at} is ${bytes[at]}, expected ${model[at]}`)
  }
}

/** Extents are gapless, merged, inside the window, and what they call zero is zero. */
export async function expectExtents(device: BlockDevice, model: Uint8Array): Promise<void> {
  const { size } = device
  for (const [start, end] of [
    [0, size],
    [1, size - 1],
    [Math.floor(size / 3), Math.floor(size / 2)],
  ] as const) {
    let at = start
    let last: Extent | undefined
    for await (const extent of device.extents(start, end - start)) {
      expect(extent.offset).toBe(at)
      expect(extent.length).toBeGreaterThan(0)
      if (last) expect([last.kind, last.depth]).not.toEqual([extent.kind, extent.depth])
      if (extent.kind === 'zero')
        expect(model.subarray(at, at + extent.length).every(byte => byte === 0)).toBe(true)
      at += extent.length
      last = extent
    }
    expect(at).toBe(end)
  }
}
