import { truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  lvmCrc,
  lvmId,
  type PvFixture,
  type VgFixture,
  vgText,
  writePv,
} from '../../native-fixtures/lvm-images.ts'
import { FileStorage } from '../../src/device/file-storage.ts'
import { StorageDevice } from '../../src/device/storage-device.ts'
import { isDrydiskError } from '../../src/errors.ts'
import { parseMetadataText } from '../../src/volume/lvm/metadata-text.ts'
import { parseVolumeGroup } from '../../src/volume/lvm/volume-group.ts'
import { readVolumes } from '../../src/volume/read-volumes.ts'
import type { VolumeList } from '../../src/volume/volume.ts'
import { haveTool, propertySettings, runOk, temporaryFolder } from '../support/native.ts'
import { partitioned } from './lvm-disk.ts'

const KIB = 1024
const DATA_START = 128 * KIB
const AREA = { offset: 4096, size: 60 * KIB }
const SECOND = { offset: 64 * KIB, size: 64 * KIB }
const PV = [lvmId('P', 0), lvmId('P', 1), lvmId('P', 2)] as const

/** Two physical volumes of 16 extents of 64 KiB. */
function group(change: Partial<VgFixture> = {}): VgFixture {
  return {
    pvs: [0, 1].map(number => ({
      key: `pv${number}`,
      id: PV[number] ?? '',
      start: DATA_START / 512,
      count: 16,
    })),
    lvs: [
      { name: 'one', segments: [{ extents: 4, stripes: [['pv0', 0]] }] },
      { name: 'two', segments: [{ extents: 4, stripes: [['pv1', 4]] }] },
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

function pv(number: number, ...mdas: PvFixture['mdas']): Uint8Array {
  const bytes = new Uint8Array(DATA_START + 16 * 64 * KIB)
  writePv(bytes, { id: PV[number] ?? '', dataStart: DATA_START, mdas })
  return bytes
}

const area = (vg: VgFixture) => ({ ...AREA, text: vgText(vg) })

/** A disk with the two physical volumes, each with this metadata. */
const diskOf = (vg: VgFixture) => partitioned(pv(0, area(vg)), pv(1, area(vg)))

const logical = ({ volumes }: VolumeList) => volumes.filter(({ kind }) => kind === 'logical')
const namesOf = (list: VolumeList) => logical(list).map(({ name }) => name.replace('/dev/mapper/', ''))
/** Why each volume is not to be used, or not to be written to. */
const reasons = (list: VolumeList) =>
  Object.fromEntries(
    logical(list).map(({ name, unreadable, readOnly }) => [
      name.replace('/dev/mapper/vg-', ''),
      unreadable ?? readOnly ?? '',
    ]),
  )

describe('of copies of the metadata', () => {
  const older = group({ seqno: 3, lvs: group().lvs.slice(0, 1) })
  const newer = group({ seqno: 4, lvs: group().lvs.slice(1) })

  test('the newest counts, in whichever area and on whichever volume it is', async () => {
    for (const parts of [
      [pv(0, area(older), { ...SECOND, text: vgText(newer) }), pv(1, area(older))],
      [pv(0, area(newer), { ...SECOND, text: vgText(older) }), pv(1)],
      [pv(0), pv(1, area(older), { ...SECOND, text: vgText(newer) })],
      [pv(0, area(older)), pv(1, area(newer))],
    ]) {
      const list = await readVolumes(await partitioned(...parts))
      expect(namesOf(list)).toEqual(['vg-two', 'vg-both'])
      expect(list.groups).toMatchObject([{ seqno: 4 }])
      for (const warning of list.warnings) expect(warning).toContain('old metadata')
      expect(list.warnings.length).toBeGreaterThan(0)
    }
  })

  test('one that is ignored does not, though it is newer', async () => {
    const list = await readVolumes(
      await partitioned(pv(0, { ...AREA, text: vgText(newer), ignored: true }), pv(1, area(older))),
    )
    expect(namesOf(list)).toEqual(['vg-one'])
    expect(list.warnings).toEqual([])
  })

  test('one that is damaged leaves it to the others, with a doubt about what is free', async () => {
    for (const at of [AREA.offset + 600, AREA.offset + 30, AREA.offset + 60]) {
      const damaged = pv(0, area(newer))
      damaged[at] = (damaged[at] ?? 0) ^ 1
      const list = await readVolumes(await partitioned(damaged, pv(1, area(older))))
      expect(namesOf(list)).toEqual(['vg-one'])
      expect(list.warnings).toEqual([
        expect.stringMatching(/sda1: the LVM metadata area at byte 4096 does not count/),
      ])
      expect(list.groups[0]?.physicalVolumes.map(({ free }) => free.length)).toEqual([0, 0])
      // Without another there are none.
      expect(namesOf(await readVolumes(await partitioned(damaged)))).toEqual([])
    }
  })

  test('two that differ under one number are an error for all', async () => {
    const list = await readVolumes(await partitioned(pv(0, area(older)), pv(1, area({ ...newer, seqno: 3 }))))
    expect(reasons(list)).toEqual({ one: expect.stringContaining('two different metadata') })
    await expect(logical(list)[0]?.device.read(0, new Uint8Array(1))).rejects.toMatchObject({
      code: 'ERR_UNSUPPORTED',
      message: expect.stringMatching(/^\/dev\/mapper\/vg-one is in .*two different/),
    })
  })

  test('text that goes around the ring is put together', async () => {
    for (const at of [512, 1024, AREA.size - 512, AREA.size - 1024]) {
      const bytes = pv(0, { ...area(group()), at })
      const list = await readVolumes(await partitioned(bytes, pv(1)))
      expect(namesOf(list)).toEqual(['vg-one', 'vg-two', 'vg-both'])
      if (haveTool('pvck')) {
        const path = join(temporaryFolder(), 'pv')
        writeFileSync(path, bytes)
        expect(await runOk('pvck', ['--dump', 'metadata', path])).toContain(vgText(group()).slice(0, 1000))
      }
    }
  })

  test('labels may be in any of the first four sectors, and headers without their extension', async () => {
    for (let sector = 0; sector < 4; sector++) {
      const bytes = new Uint8Array(DATA_START + 16 * 64 * KIB)
      writePv(bytes, { id: PV[0], dataStart: DATA_START, mdas: [area(group())], sector, old: true })
      expect(namesOf(await readVolumes(await partitioned(bytes)))).toHaveLength(3)
    }
  })
})

describe('a logical volume that is not to be used says why, and the others go on', () => {
  const cases: Record<string, [VgFixture, Record<string, unknown>]> = {
    thin: [
      group({
        lvs: [
          ...group().lvs.slice(0, 1),
          {
            name: 'pool',
            segments: [
              'start_extent = 0\nextent_count = 2\ntype = "thin-pool"\nmetadata = "pool_tmeta"\npool = "pool_tdata"',
            ],
          },
          {
            name: 'slim',
            segments: [
              'start_extent = 0\nextent_count = 200\ntype = "thin"\nthin_pool = "pool"\ndevice_id = 1\nexternal_origin = "one"',
            ],
          },
        ],
      }),
      { one: 'is what slim (thin) is made of', pool: /^is of type thin-pool/, slim: /^is of type thin:/ },
    ],
    'cache, raid, mirror and what the future brings': [
      group({
        lvs: ['cache', 'raid1', 'mirror', 'vdo', 'writecache', 'integrity', 'holographic'].map(type => ({
          name: `of-${type}`,
          segments: [`start_extent = 0\nextent_count = 2\ntype = "${type}"`],
        })),
      }),
      Object.fromEntries(
        ['cache', 'raid1', 'mirror', 'vdo', 'writecache', 'integrity', 'holographic'].map(type => [
          `of--${type}`,
          new RegExp(`^is of type ${type}:`),
        ]),
      ),
    ],
    snapshots: [
      group({
        lvs: [
          ...group().lvs,
          { name: 'snap', segments: [{ extents: 1, stripes: [['pv0', 6]] }] },
          {
            name: 'snapshot0',
            status: ['READ', 'WRITE'],
            segments: [
              'start_extent = 0\nextent_count = 4\ntype = "snapshot"\nchunk_size = 8\norigin = "one"\ncow_store = "snap"',
            ],
          },
          {
            name: 'snapshot1',
            status: ['READ', 'WRITE'],
            segments: [
              'start_extent = 0\nextent_count = 4\ntype = "snapshot"\nchunk_size = 8\norigin = "two"\nmerging_store = "gone"',
            ],
          },
        ],
      }),
      { one: /^has the snapshot snap/, two: /^is being merged/, both: '', snap: /^is a snapshot of one/ },
    ],
    'a move that goes on': [
      group({
        lvs: [
          {
            name: 'moving',
            status: ['READ', 'WRITE', 'VISIBLE', 'LOCKED'],
            segments: [{ extents: 4, stripes: [['pvmove0', 0]] }],
          },
          {
            name: 'pvmove0',
            status: ['READ', 'WRITE', 'PVMOVE', 'LOCKED'],
            segments: [
              'start_extent = 0\nextent_count = 4\ntype = "mirror"\nmirror_count = 2\nmirrors = [ "pv0", 0, "pv1", 0 ]',
            ],
          },
        ],
      }),
      { moving: /^lies on the logical volume pvmove0/ },
    ],
    'status words': [
      group({
        lvs: [
          { ...(group().lvs[0] ?? { name: '', segments: [] }), status: ['READ', 'VISIBLE'] },
          {
            ...(group().lvs[1] ?? { name: '', segments: [] }),
            status: ['READ', 'WRITE', 'VISIBLE', 'FROM_THE_FUTURE'],
          },
          { ...(group().lvs[2] ?? { name: '', segments: [] }), status: ['READ', 'WRITE_LOCKED', 'VISIBLE'] },
        ],
      }),
      { one: /^is read-only for LVM/, two: /FROM_THE_FUTURE/, both: '' },
    ],
    'shared extents': [
      group({
        lvs: [...group().lvs, { name: 'thief', segments: [{ extents: 2, stripes: [['pv0', 3]] }] }],
      }),
      { one: /^shares extents with thief/, two: '', both: '', thief: /^shares extents with one/ },
    ],
    'extents past the end': [
      group({
        lvs: [...group().lvs, { name: 'far', segments: [{ extents: 2, stripes: [['pv0', 15]] }] }],
      }),
      { one: '', two: '', both: '', far: /past the end/ },
    ],
    'sections that make no sense': [
      group({
        lvs: [
          ...group().lvs,
          {
            name: 'gap',
            segments: [
              'start_extent = 1\nextent_count = 1\ntype = "striped"\nstripe_count = 1\nstripes = ["pv0", 0]',
            ],
          },
          {
            name: 'many',
            segments: [
              'start_extent = 0\nextent_count = 1\ntype = "striped"\nstripe_count = 3\nstripes = ["pv0", 0]',
            ],
          },
        ],
      }),
      { one: '', two: '', both: '' },
    ],
    'an exported group': [
      group({ status: ['EXPORTED', 'RESIZEABLE', 'READ', 'WRITE'] }),
      { one: /exported/, two: /exported/, both: /exported/ },
    ],
    'a group of a cluster': [
      group({ extra: 'lock_type = "sanlock"\n' }),
      { one: /several machines share/, two: /several machines/, both: /several machines/ },
    ],
    'a group with an unknown status': [
      group({ status: ['READ', 'QUANTUM'] }),
      { one: /QUANTUM/, two: /QUANTUM/, both: /QUANTUM/ },
    ],
    'extents over the metadata': [
      group({ pvs: group().pvs.map((each, index) => (index === 0 ? { ...each, start: 100 } : each)) }),
      { one: /^lies over LVM's own metadata/, two: '', both: /^lies over/ },
    ],
    'a volume that counts as missing': [
      group({
        pvs: group().pvs.map((each, index) => (index === 0 ? { ...each, flags: ['MISSING'] } : each)),
      }),
      { one: /counts as missing/, two: '', both: /counts as missing/ },
    ],
  }
  test.each(Object.entries(cases))('%s', async (_, [vg, expected]) => {
    const list = await readVolumes(await diskOf(vg))
    const found = reasons(list)
    expect(Object.keys(found)).toEqual(Object.keys(expected))
    for (const [name, reason] of Object.entries(expected))
      if (reason instanceof RegExp) expect(found[name]).toMatch(reason)
      else expect(found[name]).toBe(reason)
    for (const { device, unreadable, readOnly } of logical(list)) {
      expect(device.writable).toBe(unreadable === undefined && readOnly === undefined)
      const read = device.read(0, new Uint8Array(512))
      if (unreadable === undefined) await read
      else await expect(read).rejects.toMatchObject({ code: 'ERR_UNSUPPORTED' })
    }
  })

  test('a physical volume on another disk matters to those that need it', async () => {
    const list = await readVolumes(await partitioned(pv(1, area(group()))))
    const missing = expect.stringMatching(/^needs the physical volume P0.*pv0.*not on this disk/)
    expect(reasons(list)).toEqual({ one: missing, two: '', both: missing })
    expect(list.groups[0]?.physicalVolumes.map(({ name }) => name)).toEqual([undefined, '/dev/sda1'])
    expect(list.warnings).toHaveLength(1)
  })

  test('words of the metadata are shown short and without control characters, and problems by the dozen', async () => {
    const lvs = Array.from({ length: 50 }, (_, index) => ({
      name: `n${index}`,
      segments: [
        `start_extent = ${index === 0 ? 0 : 7}\nextent_count = 2\ntype = "x\u001b[31m${'y'.repeat(300)}"`,
      ],
    }))
    const list = await readVolumes(await diskOf(group({ lvs })))
    expect(reasons(list)).toEqual({ n0: expect.stringMatching(/^is of type x\\x1b\[31my{60,80}…:/) })
    expect(list.warnings).toHaveLength(17)
    expect(list.warnings.at(-1)).toContain('33 more problems')
  })

  test('half of a mirror is read, and not written to', async () => {
    const half = pv(0, area(group()))
    // Version 1.0 of an md superblock: 8 KiB before the end, rounded down to 4 KiB.
    new DataView(half.buffer).setUint32(half.length - 8192, 0xa92b_4efc, true)
    const list = await readVolumes(await partitioned(half, pv(1, area(group()))))
    const raid = expect.stringMatching(/^lies on \/dev\/sda1, which is also a member of an md RAID/)
    expect(reasons(list)).toEqual({ one: raid, two: '', both: raid })
    expect(list.groups[0]?.physicalVolumes.map(({ free }) => free.length > 0)).toEqual([false, true])
  })

  test('a physical volume that is there twice, and two groups with one name', async () => {
    const vg = group()
    const twice = await readVolumes(await partitioned(pv(0, area(vg)), pv(1, area(vg)), pv(0, area(vg))))
    expect(reasons(twice)).toMatchObject({
      one: expect.stringMatching(/there twice: \/dev\/sda1, \/dev\/sda3/),
      two: '',
    })
    const other = {
      ...vg,
      id: lvmId('V', 2),
      pvs: vg.pvs.slice(0, 1).map(each => ({ ...each, id: PV[2] })),
      lvs: vg.lvs.slice(0, 1),
    }
    const named = await readVolumes(await partitioned(pv(0, area(vg)), pv(1, area(vg)), pv(2, area(other))))
    for (const { unreadable } of logical(named)) expect(unreadable).toContain('shares its name')
    const claimed = { ...vg, name: 'other', id: lvmId('V', 2) }
    const both = await readVolumes(await partitioned(pv(0, area(vg)), pv(1, area(claimed))))
    for (const { unreadable } of logical(both)) expect(unreadable).toContain('two volume groups claim')
  })
})

describe('metadata text', () => {
  test('is read with comments, escapes and arrays', () => {
    const text = '# c\na = "x\\"y\\\\z # no comment"  # c\nb=[1,-2 "three"]\n c{d=1.5 "e f" = [] }\n\0junk'
    expect(parseMetadataText(text)).toEqual(
      new Map<string, unknown>([
        ['a', 'x"y\\z # no comment'],
        ['b', [1, -2, 'three']],
        [
          'c',
          new Map<string, unknown>([
            ['d', 1.5],
            ['e f', []],
          ]),
        ],
      ]),
    )
    expect(parseVolumeGroup(vgText(group())).logical_volumes.map(volume => volume.name)).toEqual([
      'one',
      'two',
      'both',
    ])
  })

  test.each([
    ['a', /line 1: expected = or {/],
    ['a = 1\nb = ', /line 2: expected a number/],
    ['a = "x', /does not end/],
    ['a {', /ends within a section/],
    ['}', /expected a name/],
    ['a = [1, 2', /expected a number/],
    ['a = 010', /expected a number/],
    ['a = 1\na = 2', /there twice/],
    ['__proto__ = 1\n__proto__ {}', /there twice/],
    [`${'a {'.repeat(100)}`, /nested more than 16/],
    [`a = [${'1,'.repeat(1_100_000)}]`, /more than 1048576/],
    [`a = "${'x'.repeat(20 << 20)}`, /does not end/],
    [`${' '.repeat(20 << 20)}a`, /expected =/],
  ])('%.30s', (text, message) => {
    const before = performance.now()
    expect(() => parseMetadataText(text)).toThrow(message)
    expect(performance.now() - before).toBeLessThan(3000)
  })

  test('that is too long is not read', async () => {
    const path = join(temporaryFolder(), 'disk')
    const bytes = pv(0, { offset: 4096, size: 200e6, text: 'x' })
    const header = new DataView(bytes.buffer, 4096, 512)
    for (const [size, message] of [
      [100_000_000n, 'drydisk reads up to'],
      [200_000_000n, 'lies over the header'],
      [2n ** 63n, 'more than the area'],
    ] as const) {
      header.setBigUint64(48, size, true)
      header.setUint32(0, lvmCrc(bytes.subarray(4100, 4608)), true)
      writeFileSync(path, bytes)
      truncateSync(path, 300e6)
      const disk = new StorageDevice(await FileStorage.open(path, 'read'))
      const before = performance.now()
      expect((await readVolumes(disk)).warnings).toEqual([expect.stringContaining(message)])
      expect(performance.now() - before).toBeLessThan(200)
      await disk.close()
    }
  })
})

test('whatever is in label, headers and text, the answer is a list or a typed error, soon', async () => {
  const words = [
    '0',
    '-1',
    '4294967295',
    '4294967296',
    '9007199254740993',
    '1e9',
    '""',
    '[]',
    '"pv0"',
    '"one"',
    '{',
    '}',
    '=',
    '"',
    '#',
    ',',
    'striped',
    'VISIBLE',
  ]
  await fc.assert(
    fc.asyncProperty(
      fc.array(
        fc.tuple(
          fc.double({ min: 0, max: 0.999, noNaN: true }),
          fc.oneof(fc.constantFrom(...words), fc.string({ maxLength: 3 })),
          fc.nat(12),
        ),
        { maxLength: 6 },
      ),
      fc.array(fc.tuple(fc.nat(4096 + 700), fc.nat(255)), { maxLength: 3 }),
      fc.boolean(),
      async (edits, flips, numbers) => {
        let text = vgText(group())
        for (const [place, word, length] of edits) {
          // Numbers are where the danger is: half of the runs change those alone.
          const spots = numbers ? [...text.matchAll(/\d+/g)] : undefined
          const spot = spots?.[Math.floor(place * spots.length)]
          const at = spot?.index ?? Math.floor(place * text.length)
          text = text.slice(0, at) + word + text.slice(at + (spot?.[0].length ?? length))
        }
        const first = pv(0, { ...AREA, text })
        for (const [at, value] of flips) first[at] = value
        const disk = await partitioned(first, pv(1, { ...AREA, text }))
        const before = performance.now()
        const list = await readVolumes(disk)
        for (const volume of list.volumes) {
          for (const { start, end } of volume.places(0, volume.length)) {
            expect(start).toBeGreaterThanOrEqual(0)
            expect(end).toBeLessThanOrEqual(disk.size)
          }
          expect(volume.device.size).toBe(volume.length)
          const read = volume.device.read(0, new Uint8Array(Math.min(volume.length, 1 << 20)))
          if (volume.unreadable === undefined) await read
          else await read.catch(error => expect(isDrydiskError(error, 'ERR_UNSUPPORTED')).toBe(true))
        }
        // Free space and logical volumes that may be written to have nothing in common, nor have they with the metadata.
        const taken = new Map<number, string>()
        for (const volume of logical(list))
          if (volume.readOnly === undefined)
            for (const { start, end } of volume.places(0, volume.length))
              for (let at = start; at < end; at += 512) {
                expect(taken.get(at)).toBeUndefined()
                taken.set(at, volume.name)
              }
        for (const { physicalVolumes } of list.groups)
          for (const { name, free } of physicalVolumes)
            for (const range of free) {
              const base = list.volumes.find(each => each.name === name)
              expect(range.start).toBeGreaterThanOrEqual(2048)
              for (const { start, end } of base?.places(range.start, range.end - range.start) ?? [])
                for (let at = start; at < end; at += 512) expect(taken.get(at)).toBeUndefined()
            }
        expect(performance.now() - before).toBeLessThan(2000)
      },
    ),
    propertySettings(60),
  )
})
