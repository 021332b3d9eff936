import fc from 'fast-check'
import { expect, test } from 'vitest'
import { equalBytes, isZero } from '../../src/bytes/compare.ts'
import { crc16 } from '../../src/bytes/crc16.ts'
import { crc32 } from '../../src/bytes/crc32.ts'
import { crc32c, crc32cOf } from '../../src/bytes/crc32c.ts'
import { formatGuid, formatUuid, parseGuid, parseUuid, randomUuid } from '../../src/bytes/guid.ts'
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
