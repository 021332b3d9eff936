import { readFileSync, writeFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  lvmId,
  type PvFixture,
  type VgFixture,
  vgText,
  writeMda,
  writePv,
} from '../../native-fixtures/lvm-images.ts'
import { equalBytes } from '../../src/bytes/compare.ts'
import type { BlockDevice } from '../../src/device/block-device.ts'
import { FileStorage } from '../../src/device/file-storage.ts'
import type { MemoryDevice } from '../../src/device/memory-device.ts'
import { StorageDevice } from '../../src/device/storage-device.ts'
import { isDrydiskError } from '../../src/errors.ts'
import { lvmIdSpellings, replaceLvmIds } from '../../src/operations/sysprep/lvm-id-text.ts'
import { type LvmIdPlan, planLvmIds } from '../../src/volume/lvm/change-ids.ts'
import { parseMetadataText } from '../../src/volume/lvm/metadata-text.ts'
import { withNewIds } from '../../src/volume/lvm/rename-ids.ts'
import { GPT_TYPE } from '../../src/volume/partition-types.ts'
import { readVolumes } from '../../src/volume/read-volumes.ts'
import { writeGpt } from '../../src/volume/write-gpt.ts'
import { haveLoopMounts, haveTool, propertySettings, runOk, temporaryFolder } from '../support/native.ts'
import { partitioned, withLoops } from './lvm-disk.ts'

const KIB = 1024
const MIB = 1 << 20
const DATA_START = 128 * KIB
const AREA = { offset: 4096, size: 60 * KIB }
const SECOND = { offset: 64 * KIB, size: 64 * KIB }
const PV = [lvmId('P', 0), lvmId('P', 1)] as const
const VG = lvmId('V', 1)

/** Two physical volumes of 16 extents of 64 KiB. */
function group(change: Partial<VgFixture> = {}): VgFixture {
  return {
    pvs: PV.map((id, number) => ({ key: `pv${number}`, id, start: DATA_START / 512, count: 16 })),
    lvs: [
      { name: 'one', segments: [{ extents: 4, stripes: [['pv0', 0]] }] },
      {
        name: 'both',
        segments: [
          {
            extents: 4,
            stripes: [
              ['pv0', 8],
              ['pv1', 8],
            ],
            chunk: 8,
          },
        ],
      },
    ],
    ...change,
  }
}

function pv(number: number, mdas: PvFixture['mdas'], more: Partial<PvFixture> = {}): Uint8Array {
  const bytes = new Uint8Array(DATA_START + 16 * 64 * KIB)
  writePv(bytes, { id: PV[number] ?? '', dataStart: DATA_START, mdas, ...more })
  return bytes
}

const area = (vg: VgFixture) => ({ ...AREA, text: vgText(vg) })

/** Each sector with bytes of its own. */
function pattern(length: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(length)
  for (let at = 0; at < length; at += 512) bytes.fill((at >> 9) * 7 + seed, at, at + 512)
  return bytes
}

async function plan(disk: BlockDevice): Promise<LvmIdPlan> {
  return planLvmIds((await readVolumes(disk)).volumes)
}

async function change(disk: BlockDevice): Promise<LvmIdPlan> {
  const made = await plan(disk)
  for (const one of made.changes) await one.apply()
  return made
}

async function bytesOf(disk: BlockDevice): Promise<Uint8Array> {
  const bytes = new Uint8Array(disk.size)
  await disk.read(0, bytes)
  return bytes
}

describe('new ids', () => {
  const shapes: Record<string, readonly Uint8Array[]> = {
    'with an area each': [pv(0, [area(group())]), pv(1, [area(group())])],
    'with two areas, and none': [pv(0, [area(group()), { ...SECOND, text: vgText(group()) }]), pv(1, [])],
    'with an area that is old, and one that is empty': [
      pv(0, [area(group({ seqno: 7 })), { ...SECOND, text: vgText(group({ seqno: 6 })) }]),
      pv(1, [AREA]),
    ],
    'with an area that is ignored': [
      pv(0, [area(group()), { ...SECOND, text: vgText(group()), ignored: true }]),
      pv(1, [{ ...AREA, ignored: true }]),
    ],
    'with text around the ring': [
      pv(0, [{ ...area(group()), at: AREA.size - 1024 }]),
      pv(1, [{ ...area(group()), at: AREA.size - 2560 }]),
    ],
    'with labels in other sectors, and headers without their extension': [
      pv(0, [area(group())], { sector: 0, old: true }),
      pv(1, [area(group())], { sector: 3, old: true }),
    ],
  }
  test.each(Object.entries(shapes))('of a group %s', async (_, parts) => {
    const disk = await partitioned(...parts)
    const before = await readVolumes(disk)
    const untouched = await bytesOf(disk)
    const { changes, kept } = await plan(disk)
    expect(kept).toEqual([])
    expect(equalBytes(await bytesOf(disk), untouched)).toBe(true)
    const [made] = changes
    expect(made?.logicalVolumes).toEqual(['/dev/mapper/vg-one', '/dev/mapper/vg-both'])
    await made?.apply()
    const after = await readVolumes(disk)
    expect(after.warnings).toEqual([])
    const [vg, ...pvs] = (made?.ids ?? []).map(({ after: id }) => id)
    for (const id of [vg, ...pvs]) expect(id).toMatch(/^[0-9a-zA-Z]{6}(-[0-9a-zA-Z]{4}){5}-[0-9a-zA-Z]{6}$/)
    expect(made?.ids.map(one => one.before)).toEqual([VG, ...PV])
    expect(after.groups).toMatchObject([
      { uuid: vg, seqno: (before.groups[0]?.seqno ?? 0) + 1, physicalVolumes: pvs.map(uuid => ({ uuid })) },
    ])
    const shape = (list: typeof after) =>
      list.volumes.map(({ name, length, offset, readOnly, unreadable, places }) => [
        ...[name, length, offset, readOnly, unreadable],
        [...places(0, length)],
      ])
    expect(shape(after)).toEqual(shape(before))
    // Again, each time in the next place of the ring.
    for (let round = 0; round < 40; round++) expect((await change(disk)).kept).toEqual([])
    expect((await readVolumes(disk)).groups[0]?.seqno).toBe((before.groups[0]?.seqno ?? 0) + 41)
  })

  test('leave every other byte of the text, also one that is no UTF-8, and are found by key, not by value', () => {
    const extra = `tags = ["id = \\"${VG}\\"", "seqno = 9"]\n# ${PV[0]}\nother_id = "${PV[1]}"\n`
    const text = vgText(group({ extra, seqno: 9 }))
    const bytes = Uint8Array.of(...new TextEncoder().encode(`${text}# `), 0xff, 0x0a, 0)
    const ids = [VG, ...PV].map((id): [string, string] => [id, lvmId(`n${id[0]}`, 5)])
    const expected = text
      .replace(`vg {\nid = "${VG}"\nseqno = 9`, `vg {\nid = "${ids[0]?.[1]}"\nseqno = 10`)
      .replace(`pv0 {\nid = "${PV[0]}"`, `pv0 {\nid = "${ids[1]?.[1]}"`)
      .replace(`pv1 {\nid = "${PV[1]}"`, `pv1 {\nid = "${ids[2]?.[1]}"`)
    const changed = withNewIds(bytes, new Map(ids))
    expect(changed).toEqual(Uint8Array.of(...new TextEncoder().encode(`${expected}# `), 0xff, 0x0a, 0))
  })

  test.each([
    ['where another key would change', 'tags = ["seqno = 3"]\n', /cannot be told from what else/],
    ['where the count would pass 32 bits', '', /seqno is 4294967295/],
  ])('are not made %s', (_, before, message) => {
    const text = vgText(group({ seqno: before === '' ? 4294967295 : 1 }))
    const moved = text.replace('vg {\n', `vg {\n${before}`)
    expect(() => parseMetadataText(moved)).not.toThrow()
    expect(() => withNewIds(new TextEncoder().encode(moved), new Map())).toThrow(message)
  })

  test('of a physical volume in no group are in its label', async () => {
    const disk = await partitioned(pv(0, [AREA], { old: true }))
    const { changes, kept } = await change(disk)
    expect([changes.map(({ name }) => name), kept]).toEqual([['/dev/sda1'], []])
    const [again] = (await plan(disk)).changes
    expect(again?.ids[0]?.before).toBe(changes[0]?.ids[0]?.after)
  })
})

describe('ids stay, with a reason, and nothing is written', () => {
  const flipped = (bytes: Uint8Array, at: number) => {
    bytes[at] = (bytes[at] ?? 0) ^ 1
    return bytes
  }
  const raid = pv(0, [area(group())])
  // Version 1.0 of an md superblock: 8 KiB before the end.
  new DataView(raid.buffer).setUint32(raid.length - 8192, 0xa92b_4efc, true)
  const used = pv(0, [])
  const large = group({ extra: `x = "${'y'.repeat(30 * KIB)}"\n` })
  const other = group({ name: 'other', id: lvmId('V', 2), pvs: [], lvs: [] })
  const over = pv(0, [area(group()), { ...AREA, offset: 6144 }])
  writeMda(over, area(group()))
  const cases: Record<string, [readonly Uint8Array[], string, RegExp]> = {
    'a damaged text': [
      [flipped(pv(0, [area(group())]), AREA.offset + 700), pv(1, [area(group())])],
      'ERR_CORRUPT',
      /a copy of its metadata is damaged/,
    ],
    'a damaged header of an area': [
      [flipped(pv(0, [area(group())]), AREA.offset + 30), pv(1, [area(group())])],
      'ERR_CORRUPT',
      /a copy of its metadata is damaged/,
    ],
    'a physical volume on another disk': [[pv(0, [area(group())])], 'ERR_UNSUPPORTED', /not on this disk/],
    'a physical volume that is there twice': [
      [pv(0, [area(group())]), pv(1, [area(group())]), pv(0, [])],
      'ERR_UNSUPPORTED',
      /there twice/,
    ],
    'half of a mirror': [[raid, pv(1, [area(group())])], 'ERR_UNSUPPORTED', /md RAID/],
    'an exported group': [
      [pv(0, [area(group({ status: ['EXPORTED'] }))]), pv(1, [])],
      'ERR_UNSUPPORTED',
      /exported/,
    ],
    'a group of several machines': [
      [pv(0, [area(group({ extra: 'lock_type = "sanlock"\n' }))]), pv(1, [])],
      'ERR_UNSUPPORTED',
      /several machines share it/,
    ],
    'metadata that would not fit': [[pv(0, [area(large)]), pv(1, [])], 'ENOSPC', /does not fit beside/],
    'metadata of another group': [
      [pv(0, [area(group()), { ...SECOND, text: vgText(other) }]), pv(1, [])],
      'ERR_UNSUPPORTED',
      /sda1 also holds metadata of the volume group other/,
    ],
    'areas over one another': [[over, pv(1, [])], 'ERR_CORRUPT', /over one another/],
    'a physical volume whose group is elsewhere': [[used], 'ERR_UNSUPPORTED', /on another disk/],
    'a physical volume whose group may be elsewhere': [
      [pv(0, [{ ...AREA, ignored: true }], { old: true })],
      'ERR_UNSUPPORTED',
      /may have it/,
    ],
  }
  test.each(Object.entries(cases))('%s', async (_, [parts, code, message]) => {
    const disk = await partitioned(...parts)
    const before = await bytesOf(disk)
    const { changes, kept } = await change(disk)
    expect(changes).toEqual([])
    expect(kept[0]).toMatchObject({ code, message: expect.stringMatching(message) })
    expect(kept[0]?.message).toMatch(/^the (volume group vg|physical volume \/dev\/sda\d) keeps its UUID: /)
    expect(equalBytes(await bytesOf(disk), before)).toBe(true)
  })
})

test('whatever is in headers and text, what is written lies in labels and metadata areas', async () => {
  const words = [
    '0',
    '-1',
    '4294967295',
    '9007199254740993',
    '""',
    '[]',
    '"pv0"',
    '{',
    '}',
    '=',
    '"',
    '#',
    'id',
  ]
  await fc.assert(
    fc.asyncProperty(
      fc.array(
        fc.tuple(fc.double({ min: 0, max: 0.999, noNaN: true }), fc.constantFrom(...words), fc.nat(6)),
        {
          maxLength: 3,
        },
      ),
      fc.array(fc.tuple(fc.nat(AREA.offset + 700), fc.nat(255)), { maxLength: 2 }),
      async (edits, flips) => {
        let text = vgText(group())
        for (const [place, word, length] of edits) {
          const spots = [...text.matchAll(/\d+|id|seqno/g)]
          const spot = spots[Math.floor(place * spots.length)]
          const at = spot?.index ?? 0
          text = text.slice(0, at) + word + text.slice(at + (spot?.[0].length ?? length))
        }
        const first = pv(0, [{ ...AREA, text }])
        for (const [at, value] of flips) first[at] = value
        const disk: MemoryDevice = await partitioned(first, pv(1, [{ ...AREA, text }]))
        const { volumes } = await readVolumes(disk)
        const before = await bytesOf(disk)
        const began = performance.now()
        const { kept } = await change(disk)
        for (const error of kept) expect(isDrydiskError(error)).toBe(true)
        expect(performance.now() - began).toBeLessThan(2000)
        const after = await bytesOf(disk)
        for (const { offset = 0 } of volumes.filter(({ kind }) => kind === 'partition'))
          for (const bytes of [before, after]) {
            bytes.fill(0, offset, offset + 2048)
            bytes.fill(0, offset + AREA.offset, offset + AREA.offset + AREA.size)
          }
        expect(equalBytes(after, before)).toBe(true)
      },
    ),
    propertySettings(60),
  )
})

test.skipIf(!haveLoopMounts() || !haveTool('lvm') || !haveTool('grub-fstest'))(
  'lvm2 and GRUB see the same volumes with new ids, and lvm2 goes on from there, all around the ring',
  async () => {
    const path = join(temporaryFolder(), 'disk.raw')
    const file = await open(path, 'w')
    await file.truncate(60 * MIB)
    await file.close()
    const opened = async () => new StorageDevice(await FileStorage.open(path, 'write'))
    const writer = await opened()
    const placed = await writeGpt(
      writer,
      [14, 14, 14, 4].map(size => ({ length: size * MIB, type: GPT_TYPE.lvm })),
    )
    await writer.close()
    await withLoops(path, placed, async ([one = '', two = '', three = '', alone = ''], lvm) => {
      const create = (device: string, copies: string) =>
        lvm(
          ...['pvcreate', '-q', '--metadatasize', '32k', '--dataalignment', '64k'],
          ...['--metadatacopies', copies, device],
        )
      await create(one, '2')
      await create(two, '1')
      // Nothing on it: GRUB does not read a physical volume without metadata.
      await create(three, '0')
      await create(alone, '1')
      await lvm('vgcreate', '-q', '-s', '512k', 'a-b', one, two, three)
      await lvm('lvcreate', '-q', '-an', '-Zn', '-Wn', '-l', '9', '-n', 'lin', 'a-b', one)
      await lvm(
        'lvcreate',
        '-q',
        '-an',
        '-Zn',
        '-Wn',
        '-l',
        '8',
        '-i',
        '2',
        '-I',
        '4k',
        '-n',
        'str',
        'a-b',
        one,
        two,
      )
    })
    const content = async (name: string, length: number) => {
      const out = join(temporaryFolder(), 'content')
      await runOk('grub-fstest', [path, 'cp', `(lvm/a--b-${name})0+${length / 512}`, out])
      const bytes = await open(out)
      try {
        return await bytes.readFile()
      } finally {
        await bytes.close()
      }
    }
    const backup = join(temporaryFolder(), 'backup')
    await withLoops(path, placed, async (_, lvm) => {
      await lvm('vgcfgbackup', '-q', '-f', backup, 'a-b')
    })
    const disk = await opened()
    const logical = (await readVolumes(disk)).volumes.filter(({ kind }) => kind === 'logical')
    for (const [index, { device, length }] of logical.entries()) await device.write(0, pattern(length, index))
    await disk.close()
    const rows = (text: string) => text.trim().split(/\s*\n\s*/)
    let layout: string | undefined
    for (let round = 0; round < 7; round++) {
      const device = await opened()
      const { changes, kept } = await change(device)
      const { groups } = await readVolumes(device)
      await device.close()
      expect(kept).toEqual([])
      const ids = changes.flatMap(one => one.ids.map(({ after }) => after))
      const spellings = lvmIdSpellings(changes.flatMap(one => one.ids))
      writeFileSync(backup, replaceLvmIds(readFileSync(backup, 'latin1'), spellings).text, 'latin1')
      expect(new Set(ids).size).toBe(5)
      await withLoops(path, placed, async (devices, lvm) => {
        expect(await lvm('vgck', 'a-b')).toBe('')
        const [vg] = rows(await lvm('vgs', '--noheadings', '-o', 'vg_uuid,vg_seqno', 'a-b'))
        expect(vg?.split(/\s+/)).toEqual([ids[0], String(groups[0]?.seqno)])
        for (const [index, device] of devices.entries())
          expect(rows(await lvm('pvs', '--noheadings', '-o', 'pv_uuid', device))).toEqual([ids[index + 1]])
        const now = await lvm('lvs', '--noheadings', '-o', 'lv_name,lv_uuid,lv_size,seg_pe_ranges', 'a-b')
        const places = now.replace(/\/dev\/loop\d+/g, device => `PV ${devices.indexOf(device)}`).trim()
        layout ??= places
        expect(places).toBe(layout)
        // Texts of other lengths: the next one begins elsewhere.
        await lvm('vgchange', '-q', '--addtag', `tag${'x'.repeat(round * 31)}`, 'a-b')
        if (round === 5) await lvm('vgcfgrestore', '-q', '-f', backup, 'a-b')
        if (round === 5) expect(await lvm('vgck', 'a-b')).toBe('')
        if (round === 6) await lvm('vgchange', '-q', '--uuid', 'a-b')
      })
    }
    for (const [index, { name, length }] of logical.entries()) {
      const found = await content(name.replace('/dev/mapper/a--b-', ''), length)
      expect(equalBytes(found, pattern(length, index))).toBe(true)
    }
  },
)
