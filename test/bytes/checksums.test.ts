import fc from 'fast-check'
import { expect, test } from 'vitest'
import { equalBytes, isZero } from '../../src/bytes/compare.ts'
import { crc16 } from '../../src/bytes/crc16.ts'
import { crc32 } from '../../src/bytes/crc32.ts'
import { crc32c, crc32cOf } from '../../src/bytes/crc32c.ts'
import { formatGuid, formatUuid, parseGuid, parseUuid, randomUuid } from '../../src/bytes/guid.ts'
import { xxhash64 } from '../../src/bytes/xxhash64.ts'
import { propertySettings } from '../support/native.ts'

const check = new TextEncoder().encode('123456789')

test('check values of the CRC catalogue', () => {
  expect(crc32(check)).toBe(0xcbf43926)
  expect(crc32cOf(check)).toBe(0xe3069283)
  expect(crc16(0, check)).toBe(0xbb3d)
  // RFC 3720 B.4
  expect(crc32cOf(new Uint8Array(32))).toBe(0x8a9136aa)
  expect(crc32cOf(new Uint8Array(32).fill(0xff))).toBe(0x62a8ab43)
})

test('a checksum goes on from the one before, at any alignment', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), fc.nat(100), fc.nat(7), (bytes, cut, shift) => {
      const holder = new Uint8Array(shift + bytes.length)
      holder.set(bytes, shift)
      const shifted = holder.subarray(shift)
      expect(crc32(shifted.subarray(cut), crc32(shifted.subarray(0, cut)))).toBe(crc32(bytes))
      expect(crc32c(crc32c(0xffffffff, shifted.subarray(0, cut)), shifted.subarray(cut))).toBe(
        ~crc32cOf(bytes) >>> 0,
      )
      expect(crc16(crc16(0xffff, shifted.subarray(0, cut)), shifted.subarray(cut))).toBe(crc16(0xffff, bytes))
    }),
    propertySettings(200),
  )
})

test('isZero finds one set bit anywhere', () => {
  fc.assert(
    fc.property(fc.nat(200), fc.nat(7), fc.nat(300), (length, shift, at) => {
      const bytes = new Uint8Array(shift + length + 8).subarray(shift, shift + length)
      expect(isZero(bytes)).toBe(true)
      if (at < length) {
        bytes[at] = 0x80
        expect(isZero(bytes)).toBe(false)
        expect(equalBytes(bytes, new Uint8Array(length))).toBe(false)
      }
      expect(equalBytes(bytes, bytes.slice())).toBe(true)
    }),
    propertySettings(300),
  )
})

test('GUIDs swap their first three fields, UUIDs do not', () => {
  const text = 'c12a7328-f81f-11d2-ba4b-00a0c93ec93b'
  const guid = parseGuid(text)
  // UEFI 2.10 table 5.7: the EFI system partition, as sgdisk writes it.
  expect(guid && formatUuid(guid)).toBe('28732ac1-1ff8-d211-ba4b-00a0c93ec93b')
  expect(guid && formatGuid(guid)).toBe(text)
  const uuid = randomUuid()
  const parsed = parseUuid(uuid)
  expect(parsed && formatUuid(parsed)).toBe(uuid)
  expect(parseUuid('not-a-uuid')).toBeUndefined()
})

test('XXH64: known values, and the same as in 64-bit arithmetic', () => {
  const big = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true)
  expect(big(xxhash64(new Uint8Array()))).toBe(0xef46db3751d8e999n)
  expect(big(xxhash64(new TextEncoder().encode('a')))).toBe(0xd24ec4f1a98c6e5bn)
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), bytes => {
      expect(big(xxhash64(bytes))).toBe(xxhash64ByBigInt(bytes))
    }),
    propertySettings(300),
  )
})

/** As the specification has it (doc/xxhash_spec.md of xxHash). */
function xxhash64ByBigInt(bytes: Uint8Array): bigint {
  const [p1, p2, p3] = [0x9e3779b185ebca87n, 0xc2b2ae3d27d4eb4fn, 0x165667b19e3779f9n]
  const [p4, p5] = [0x85ebca77c2b2ae63n, 0x27d4eb2f165667c5n]
  const wrap = (value: bigint) => BigInt.asUintN(64, value)
  const rotate = (value: bigint, bits: bigint) => wrap((value << bits) | (value >> (64n - bits)))
  const round = (lane: bigint, value: bigint) => wrap(rotate(wrap(lane + value * p2), 31n) * p1)
  const view = new DataView(bytes.slice().buffer)
  let at = 0
  let hash = p5
  if (bytes.length >= 32) {
    let lanes = [wrap(p1 + p2), p2, 0n, wrap(-p1)]
    for (; at + 32 <= bytes.length; at += 32)
      lanes = lanes.map((lane, index) => round(lane, view.getBigUint64(at + index * 8, true)))
    hash = lanes.reduce((sum, lane, index) => wrap(sum + rotate(lane, [1n, 7n, 12n, 18n][index] ?? 0n)), 0n)
    for (const lane of lanes) hash = wrap((hash ^ round(0n, lane)) * p1 + p4)
  }
  hash = wrap(hash + BigInt(bytes.length))
  for (; at + 8 <= bytes.length; at += 8)
    hash = wrap(rotate(hash ^ round(0n, view.getBigUint64(at, true)), 27n) * p1 + p4)
  if (at + 4 <= bytes.length) {
    hash = wrap(rotate(hash ^ wrap(BigInt(view.getUint32(at, true)) * p1), 23n) * p2 + p3)
    at += 4
  }
  for (; at < bytes.length; at++) hash = wrap(rotate(hash ^ wrap(BigInt(view.getUint8(at)) * p5), 11n) * p1)
  for (const [shift, factor] of [
    [33n, p2],
    [29n, p3],
    [32n, 1n],
  ] as const)
    hash = wrap((hash ^ (hash >> shift)) * factor)
  return hash
}
