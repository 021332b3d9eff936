import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { MemoryDevice } from '../../src/device/memory-device.ts'
import { RefusedDevice } from '../../src/device/refused-device.ts'
import { SegmentDevice } from '../../src/device/segment-device.ts'
import { SegmentMap } from '../../src/device/segment-map.ts'
import { blockDeviceContract } from '../support/block-device-contract.ts'
import { propertySettings } from '../support/native.ts'

function pattern(length: number): Uint8Array {
  const bytes = new Uint8Array(length)
  for (let at = 0; at < length; at++) bytes[at] = (at * 37 + (at >> 9)) & 0xff
  bytes.fill(0, 40_000, Math.min(length, 170_000))
  return bytes
}

blockDeviceContract('SegmentDevice of linear segments', async () => {
  const [a, b] = [pattern(200_000), pattern(300_000)]
  const [one, two] = [new MemoryDevice(a.slice()), new MemoryDevice(b.slice())]
  const device = new SegmentDevice([
    { length: 70_000, areas: [{ device: two, offset: 100_000 }], chunk: 0 },
    { length: 200_000, areas: [{ device: one, offset: 0 }], chunk: 0 },
    { length: 100_000, areas: [{ device: two, offset: 0 }], chunk: 0 },
  ])
  const content = new Uint8Array([...b.subarray(100_000, 170_000), ...a, ...b.subarray(0, 100_000)])
  return { device, content }
})

blockDeviceContract('SegmentDevice of stripes', async () => {
  const bases = [pattern(200_000), pattern(210_000), pattern(220_000).reverse()]
  const devices = bases.map(base => new MemoryDevice(base.slice()))
  const areas = devices.map((device, index) => ({ device, offset: index * 512 }))
  const [first] = devices
  if (first === undefined) throw new Error('there are three')
  const device = new SegmentDevice([
    { length: 3 * 98_304, areas, chunk: 4096 },
    { length: 5000, areas: [{ device: first, offset: 120_000 }], chunk: 0 },
  ])
  // By the definition of dm-stripe: chunk n is in area n mod 3, at row n div 3.
  const content = new Uint8Array(device.size)
  for (let at = 0; at < 3 * 98_304; at++) {
    const chunk = Math.floor(at / 4096)
    const base = bases[chunk % 3] ?? new Uint8Array()
    content[at] = base[(chunk % 3) * 512 + Math.floor(chunk / 3) * 4096 + (at % 4096)] ?? 0
  }
  content.set(bases[0]?.subarray(120_000, 125_000) ?? [], 3 * 98_304)
  return { device, content }
})

test('places of a range are the pieces of it', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 5 }),
      fc.constantFrom(512, 4096, 65_536),
      fc.integer({ min: 1, max: 9 }),
      fc.array(
        fc.tuple(fc.double({ min: 0, max: 1, noNaN: true }), fc.double({ min: 0, max: 1, noNaN: true })),
        {
          minLength: 1,
        },
      ),
      (count, chunk, rows, windows) => {
        const areas = Array.from({ length: count }, (_, index) => ({ device: index, offset: 1000 * index }))
        const map = new SegmentMap([
          { length: 777, areas: [{ device: 9, offset: 5 }], chunk: 0 },
          { length: rows * chunk * count, areas, chunk },
        ])
        for (const [a, b] of windows) {
          const offset = Math.floor(a * map.size)
          const length = Math.floor(b * (map.size - offset))
          const total = (parts: Iterable<{ device: number; start: number; end: number }>) => {
            const sums = new Map<number, { least: number; most: number; bytes: number }>()
            for (const { device, start, end } of parts) {
              const sum = sums.get(device) ?? { least: start, most: end, bytes: 0 }
              sums.set(device, {
                least: Math.min(sum.least, start),
                most: Math.max(sum.most, end),
                bytes: sum.bytes + end - start,
              })
            }
            return sums
          }
          const pieces = [...map.pieces(offset, length)]
          expect(pieces.reduce((at, piece) => (piece.at === at ? at + piece.length : -1), offset)).toBe(
            offset + length,
          )
          expect(total(map.places(offset, length))).toEqual(
            total(pieces.map(piece => ({ ...piece, start: piece.offset, end: piece.offset + piece.length }))),
          )
        }
      },
    ),
    propertySettings(100),
  )
})

describe('what is not written to', () => {
  test('says why', async () => {
    const device = new SegmentDevice(
      [{ length: 512, areas: [{ device: new MemoryDevice(512), offset: 0 }], chunk: 0 }],
      {
        readOnly: 'has a snapshot',
      },
    )
    expect(device.writable).toBe(false)
    await expect(device.write(0, new Uint8Array(1))).rejects.toMatchObject({
      code: 'EROFS',
      message: expect.stringContaining('has a snapshot'),
    })
  })

  test('may not be readable either', async () => {
    const device = new RefusedDevice(4096, 'ERR_UNSUPPORTED', 'it is thin')
    for (const call of [() => device.read(), () => device.write(), () => device.erase()])
      await expect(call()).rejects.toMatchObject({ code: 'ERR_UNSUPPORTED', message: 'it is thin' })
    await expect(device.extents()[Symbol.asyncIterator]().next()).rejects.toMatchObject({
      message: 'it is thin',
    })
  })

  test('areas outside their device are refused', () => {
    expect(
      () =>
        new SegmentDevice([
          { length: 512, areas: [{ device: new MemoryDevice(600), offset: 100 }], chunk: 0 },
        ]),
    ).toThrow(/past the end/)
  })
})
