import { readFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { lvmId, type VgFixture, vgText, writePv } from '../../native-fixtures/lvm-images.ts'
import { FileStorage } from '../../src/device/file-storage.ts'
import { StorageDevice } from '../../src/device/storage-device.ts'
import { GPT_TYPE } from '../../src/volume/partition-types.ts'
import { readVolumes } from '../../src/volume/read-volumes.ts'
import type { Volume } from '../../src/volume/volume.ts'
import { writeGpt } from '../../src/volume/write-gpt.ts'
import { haveLoopMounts, haveTool, propertySettings, runOk, temporaryFolder } from '../support/native.ts'
import { withLoops } from './lvm-disk.ts'

const MIB = 1 << 20
const EXTENT = 64 << 10
const DATA_START = MIB

interface Plan {
  /** Extents of each physical volume; each is a partition, or one alone may be the disk. */
  readonly counts: readonly number[]
  readonly bare: boolean
  /** What each segment is to be: number of the volume, stripes, extents for each, sectors of a chunk. */
  readonly segments: readonly (readonly [number, number, number, number])[]
  readonly order: number
  /** Sector of the metadata area where the text begins. */
  readonly at: number
}

const plans: fc.Arbitrary<Plan> = fc.record({
  counts: fc.array(fc.integer({ min: 4, max: 20 }), { minLength: 1, maxLength: 3 }),
  bare: fc.boolean(),
  segments: fc.array(
    fc.tuple(
      fc.nat(3),
      fc.integer({ min: 1, max: 3 }),
      fc.integer({ min: 1, max: 3 }),
      fc.constantFrom(8, 16, 64, 128),
    ),
    { minLength: 1, maxLength: 12 },
  ),
  order: fc.nat(),
  at: fc.oneof(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 2030, max: 2039 })),
})

/** Gives segments extents that are scattered, but nobody else's; what finds no room is left out. */
function allocate({ counts, segments, order }: Plan): VgFixture['lvs'] {
  const free = counts.map(count => Array.from({ length: Math.floor(count / 3) }, (_, run) => run * 3))
  const volumes = new Map<number, { extents: number; stripes: [string, number][]; chunk: number }[]>()
  for (const [index, [volume, wanted, extents, chunk]] of segments.entries()) {
    const width = Math.min(wanted, counts.length)
    const stripes: [string, number][] = []
    for (let stripe = 0; stripe < width; stripe++) {
      const pv = (index + stripe) % counts.length
      const runs = free[pv] ?? []
      const [start] = runs.splice((order + index) % Math.max(1, runs.length), 1)
      if (start !== undefined) stripes.push([`pv${pv}`, start])
    }
    if (stripes.length < width) break
    const list = volumes.get(volume) ?? []
    volumes.set(volume, [...list, { extents: extents * width, stripes, chunk }])
  }
  return [...volumes].map(([number, list]) => ({ name: `lv-${number}.x`, segments: list }))
}

async function makeDisk(path: string, plan: Plan): Promise<{ lvs: VgFixture['lvs'] }> {
  const lvs = allocate(plan)
  const group: VgFixture = {
    name: 'vg-0',
    seqno: 7,
    pvs: plan.counts.map((count, index) => ({
      key: `pv${index}`,
      id: lvmId('P', index),
      start: DATA_START / 512,
      count,
    })),
    lvs,
  }
  const sizes = plan.counts.map(count => DATA_START + count * EXTENT)
  const bare = plan.bare && sizes.length === 1
  const size = bare ? (sizes[0] ?? 0) : sizes.reduce((sum, each) => sum + each + 2 * MIB, 4 * MIB)
  const file = await open(path, 'w')
  await file.truncate(size)
  await file.close()
  const disk = new StorageDevice(await FileStorage.open(path, 'write'))
  const placed = bare
    ? [{ offset: 0 }]
    : await writeGpt(
        disk,
        sizes.map(length => ({ length, type: GPT_TYPE.lvm })),
      )
  for (const [index, { offset }] of placed.entries()) {
    const head = new Uint8Array(DATA_START)
    writePv(head, {
      id: lvmId('P', index),
      dataStart: DATA_START,
      mdas: [{ offset: 4096, size: DATA_START - 4096, text: vgText(group), at: plan.at * 512 }],
    })
    await disk.write(offset, head)
  }
  await disk.close()
  return { lvs }
}

/** What GRUB reads, which has an LVM driver of its own. */
async function grubReads(path: string, name: string, length: number): Promise<Uint8Array> {
  const out = join(temporaryFolder(), 'out')
  await runOk('grub-fstest', [path, 'cp', `(lvm/${name})0+${length / 512}`, out])
  return readFileSync(out)
}

test.skipIf(!haveTool('grub-fstest'))(
  'GRUB reads what is written to logical volumes of any shape',
  async () => {
    await fc.assert(
      fc.asyncProperty(plans, async plan => {
        const path = join(temporaryFolder(), 'disk.raw')
        const { lvs } = await makeDisk(path, plan)
        const disk = new StorageDevice(await FileStorage.open(path, 'write'))
        const list = await readVolumes(disk)
        expect(list.warnings).toEqual([])
        const volumes = list.volumes.filter(({ kind }) => kind === 'logical')
        expect(volumes.map(({ name }) => name)).toEqual(
          lvs.map(({ name }) => `/dev/mapper/vg--0-${name.replaceAll('-', '--')}`),
        )
        const contents = new Map<Volume, Uint8Array>()
        for (const [index, volume] of volumes.entries()) {
          expect([volume.unreadable, volume.readOnly]).toEqual([undefined, undefined])
          const content = new Uint8Array(volume.length)
          for (let at = 0; at < content.length; at++) content[at] = (at >> 9) * 7 + index * 31 + at
          await volume.device.write(0, content)
          contents.set(volume, content)
        }
        const used = volumes.reduce((sum, { length }) => sum + length, 0)
        const [group] = list.groups
        const pvs = group?.physicalVolumes ?? []
        expect(pvs.reduce((sum, { extents, freeExtents }) => sum + (extents - freeExtents) * EXTENT, 0)).toBe(
          used,
        )
        // Free extents hold nothing of theirs: noise there changes nothing.
        for (const { name, free } of pvs)
          for (const { start, end } of free)
            await list.volumes
              .find(each => each.name === name)
              ?.device.write(start, new Uint8Array(end - start).fill(0xee))
        await disk.close()
        for (const [volume, content] of contents) {
          const theirs = await grubReads(path, volume.name.slice('/dev/mapper/'.length), volume.length)
          expect(Buffer.compare(theirs, content)).toBe(0)
        }
      }),
      propertySettings(12),
    )
  },
)

interface LvsSegment {
  readonly lv_name: string
  readonly lv_size: string
  readonly lv_uuid: string
  readonly segtype: string
  readonly stripesize: string
  readonly seg_pe_ranges: string
}

test.skipIf(!haveLoopMounts() || !haveTool('lvm') || !haveTool('grub-fstest'))(
  'what lvm2 made reads as lvm2 and GRUB read it, also when the metadata has wrapped around its ring',
  async () => {
    const path = join(temporaryFolder(), 'disk.raw')
    const file = await open(path, 'w')
    await file.truncate(60 * MIB)
    await file.close()
    const writer = new StorageDevice(await FileStorage.open(path, 'write'))
    const placed = await writeGpt(writer, [
      { length: 20 * MIB, type: GPT_TYPE.lvm },
      { length: 25 * MIB, type: GPT_TYPE.lvm },
    ])
    await writer.close()
    await withLoops(path, placed, async ([one = '', two = ''], lvm) => {
      await lvm(
        'pvcreate',
        '-q',
        '--metadatasize',
        '32k',
        '--dataalignment',
        '64k',
        '--metadatacopies',
        '2',
        one,
      )
      await lvm(
        'pvcreate',
        '-q',
        '--metadatasize',
        '32k',
        '--dataalignment',
        '64k',
        '--metadatacopies',
        '1',
        two,
      )
      await lvm('vgcreate', '-q', '-s', '512k', 'a-b', one, two)
      const create = (...args: string[]) => lvm('lvcreate', '-q', '-an', '-Zn', '-Wn', ...args)
      await create('-l', '9', '-n', 'lin', 'a-b', one)
      await create('-l', '8', '-i', '2', '-I', '4k', '-n', 'str-iped', 'a-b')
      await create('-l', '3', '-n', 'gone', 'a-b', one)
      await lvm('lvextend', '-q', '-l', '+5', 'a-b/lin', two)
      await lvm('lvremove', '-q', '-f', 'a-b/gone')
      // Each change takes a kilobyte or two of the 32.
      for (let round = 0; round < 24; round++) await lvm('vgchange', '-q', '--addtag', `tag${round}`, 'a-b')
    })
    const lines: string[] = []
    await withLoops(path, placed, async (_, lvm) => {
      lines.push(
        await lvm(
          'lvs',
          '--reportformat',
          'json',
          '--units',
          'b',
          '--nosuffix',
          '--segments',
          '-o',
          'lv_name,lv_size,lv_uuid,segtype,stripesize,seg_pe_ranges',
          'a-b',
        ),
      )
      lines.push(await lvm('vgs', '--noheadings', '-o', 'seqno,vg_free_count,vg_uuid', 'a-b'))
    })
    const { report } = JSON.parse(lines[0] ?? '') as { report: [{ seg: LvsSegment[] }] }
    const disk = new StorageDevice(await FileStorage.open(path, 'write'))
    const { volumes, groups, warnings } = await readVolumes(disk)
    expect(warnings).toEqual([])
    const [group] = groups
    const free = group?.physicalVolumes.reduce((sum, { freeExtents }) => sum + freeExtents, 0)
    expect([group?.seqno, free, group?.uuid]).toEqual(
      (lines[1] ?? '')
        .trim()
        .split(/\s+/)
        .map((word, index) => (index < 2 ? Number(word) : word)),
    )
    expect(group?.seqno).toBeGreaterThan(25)
    const logical = volumes.filter(({ kind }) => kind === 'logical')
    expect(new Set(logical.map(({ uuid, length }) => `${uuid} ${length}`))).toEqual(
      new Set(report[0].seg.map(({ lv_uuid, lv_size }) => `${lv_uuid} ${lv_size}`)),
    )
    expect(logical.map(({ name, typeName }) => [name, typeName])).toEqual([
      ['/dev/mapper/a--b-lin', 'LVM linear'],
      ['/dev/mapper/a--b-str--iped', 'LVM striped'],
    ])
    for (const volume of logical) {
      const content = new Uint8Array(volume.length)
      for (let at = 0; at < content.length; at += 512)
        content.fill((at >> 9) + volume.name.length, at, at + 512)
      await volume.device.write(0, content)
      const theirs = await grubReads(path, volume.name.slice('/dev/mapper/'.length), volume.length)
      expect(Buffer.compare(theirs, content)).toBe(0)
    }
    await disk.close()
    for (const { offset, length } of placed) {
      const pv = join(temporaryFolder(), 'pv')
      await runOk('dd', [
        `if=${path}`,
        `of=${pv}`,
        'bs=64k',
        `skip=${offset / 65_536}`,
        `count=${length / 65_536}`,
        'status=none',
      ])
      expect(await runOk('pvck', ['--dump', 'metadata', pv])).toContain('str-iped')
    }
  },
  30_000,
)

/** One of each kind that is made of hidden volumes, with its sections whole, as LVM demands. */
const COMPOUND: VgFixture = {
  name: 'vg',
  extentSize: 128,
  pvs: [0, 1].map(number => ({
    key: `pv${number}`,
    id: lvmId('P', number),
    start: DATA_START / 512,
    count: 64,
  })),
  lvs: [
    { name: 'one', segments: [{ extents: 4, stripes: [['pv0', 0]] }] },
    { name: 'snap', segments: [{ extents: 1, stripes: [['pv0', 4]] }] },
    {
      name: 'snapshot0',
      status: ['READ', 'WRITE'],
      segments: [
        'start_extent = 0\nextent_count = 4\ntype = "snapshot"\nchunk_size = 8\norigin = "one"\ncow_store = "snap"',
      ],
    },
    {
      name: 'pool',
      segments: [
        'start_extent = 0\nextent_count = 5\ntype = "thin-pool"\nmetadata = "pool_tmeta"\npool = "pool_tdata"\n' +
          'transaction_id = 1\nchunk_size = 128\ndiscards = "passdown"\nzero_new_blocks = 1',
      ],
    },
    {
      name: 'slim',
      segments: [
        'start_extent = 0\nextent_count = 90\ntype = "thin"\nthin_pool = "pool"\ntransaction_id = 0\ndevice_id = 1',
      ],
    },
    { name: 'pool_tmeta', status: ['READ', 'WRITE'], segments: [{ extents: 32, stripes: [['pv0', 10]] }] },
    { name: 'pool_tdata', status: ['READ', 'WRITE'], segments: [{ extents: 5, stripes: [['pv1', 5]] }] },
    {
      name: 'twin',
      segments: [
        'start_extent = 0\nextent_count = 3\ntype = "raid1"\ndevice_count = 2\nregion_size = 1024\n' +
          'raids = [ "twin_rmeta_0", "twin_rimage_0", "twin_rmeta_1", "twin_rimage_1" ]',
      ],
    },
    ...[0, 1].flatMap(number => [
      {
        name: `twin_rmeta_${number}`,
        status: ['READ', 'WRITE'],
        segments: [{ extents: 1, stripes: [[`pv${number}`, 50]] as const }],
      },
      {
        name: `twin_rimage_${number}`,
        status: ['READ', 'WRITE'],
        segments: [{ extents: 3, stripes: [[`pv${number}`, 51]] as const }],
      },
    ]),
  ],
}

test.skipIf(!haveLoopMounts() || !haveTool('lvm'))(
  'lvm2 sees the same volumes and the same free extents where some are made of hidden ones',
  async () => {
    const path = join(temporaryFolder(), 'disk.raw')
    const length = DATA_START + 64 * EXTENT
    const file = await open(path, 'w')
    for (const number of [0, 1]) {
      const head = new Uint8Array(length)
      const mdas = [{ offset: 4096, size: DATA_START - 4096, text: vgText(COMPOUND) }]
      writePv(head, { id: lvmId('P', number), dataStart: DATA_START, mdas })
      await file.write(head, 0, length, MIB + number * length)
    }
    await file.truncate(MIB + 2 * length + MIB)
    await file.close()
    const parts = [0, 1].map(number => ({ offset: MIB + number * length, length }))
    const sectors = parts.map(part => `${part.offset / 512},${part.length / 512},8e\n`)
    await runOk('sfdisk', ['-q', '--wipe', 'never', path], `label: dos\n${sectors.join('')}`)
    const said: string[] = []
    await withLoops(path, parts, async (_, lvm) => {
      said.push(await lvm('lvs', '--noheadings', '-o', 'lv_name', 'vg'))
      said.push(
        await lvm(
          'pvs',
          '--noheadings',
          '--units',
          's',
          '--nosuffix',
          '-o',
          'pv_pe_alloc_count',
          '-O',
          'pv_uuid',
        ),
      )
    })
    const disk = new StorageDevice(await FileStorage.open(path, 'read'))
    const { volumes, groups, warnings } = await readVolumes(disk)
    await disk.close()
    expect(warnings).toEqual([])
    const names = (said[0] ?? '').trim().split(/\s+/)
    expect(volumes.flatMap(({ kind, aliases }) => (kind === 'logical' ? [aliases[0]] : []))).toEqual(
      ['one', 'snap', 'pool', 'slim', 'twin'].map(name => `/dev/vg/${name}`),
    )
    expect(new Set(names)).toEqual(new Set(['one', 'snap', 'pool', 'slim', 'twin']))
    const members = groups[0]?.physicalVolumes ?? []
    expect(members.map(({ extents, freeExtents }) => extents - freeExtents)).toEqual(
      (said[1] ?? '').trim().split(/\s+/).map(Number),
    )
    for (const { free, freeExtents } of members)
      expect(free.reduce((sum, { start, end }) => sum + end - start, 0)).toBe(freeExtents * EXTENT)
  },
)
