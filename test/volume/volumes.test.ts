import { writeFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { FileStorage } from '../../src/device/file-storage.ts'
import { MemoryDevice } from '../../src/device/memory-device.ts'
import { OverlayDevice } from '../../src/device/overlay-device.ts'
import { StorageDevice } from '../../src/device/storage-device.ts'
import { isDrydiskError } from '../../src/errors.ts'
import { GPT_TYPE } from '../../src/volume/partition-types.ts'
import { readVolumes } from '../../src/volume/read-volumes.ts'
import type { VolumeList } from '../../src/volume/volume.ts'
import { writeGpt } from '../../src/volume/write-gpt.ts'
import { haveTool, propertySettings, run, runOk, temporaryFolder } from '../support/native.ts'

const MIB = 1 << 20

async function diskFile(size: number): Promise<string> {
  const path = join(temporaryFolder(), 'disk.raw')
  const file = await open(path, 'w')
  await file.truncate(size)
  await file.close()
  return path
}

async function volumesOf(path: string): Promise<VolumeList> {
  const device = new StorageDevice(await FileStorage.open(path, 'read'))
  const list = await readVolumes(device)
  await device.close()
  return list
}

async function patch(path: string, offset: number, bytes: Uint8Array | number[]): Promise<void> {
  const file = await open(path, 'r+')
  await file.write(Uint8Array.from(bytes), 0, bytes.length, offset)
  await file.close()
}

interface SfdiskTable {
  partitiontable: {
    label: string
    id: string
    sectorsize: number
    partitions: { node: string; start: number; size: number; type: string; uuid?: string; name?: string }[]
  }
}

/** Our reading against that of sfdisk. */
async function expectAsSfdisk(path: string): Promise<void> {
  const { partitiontable: table } = JSON.parse(await runOk('sfdisk', ['--json', path])) as SfdiskTable
  const list = await volumesOf(path)
  expect(list.table).toBe(table.label === 'dos' ? 'mbr' : 'gpt')
  expect(list.volumes.map(({ number, offset, type }) => [number, offset, Number.parseInt(type, 16)])).toEqual(
    table.partitions.map(({ node, start, type }) => [
      Number(node.slice(path.length)),
      start * table.sectorsize,
      Number.parseInt(type, 16),
    ]),
  )
  for (const [index, theirs] of table.partitions.entries()) {
    const ours = list.volumes[index]
    if (ours?.typeName.toLowerCase().includes('extended') !== true && !ours?.typeName.includes("Ext'd"))
      expect(ours?.length).toBe(theirs.size * table.sectorsize)
    if (theirs.uuid) expect(ours?.uuid).toBe(theirs.uuid.toLowerCase())
    expect(ours?.label).toBe(theirs.name ?? '')
  }
}

test.skipIf(!haveTool('sgdisk') || !haveTool('sfdisk'))('reads a GPT that sgdisk made', async () => {
  const path = await diskFile(64 * MIB)
  await runOk('sgdisk', [
    ...['-n', '15:1M:+10M', '-t', '15:ef00', '-c', '15:EFI system'],
    ...['-n', '1:12M:+40M', '-t', '1:8300', '-c', '1:Wurzel ä'],
    ...['-n', '14:53M:+2M', '-t', '14:ef02'],
    path,
  ])
  await expectAsSfdisk(path)
  const list = await volumesOf(path)
  expect(list.warnings).toEqual([])
  expect(list.sectorSize).toBe(512)
  expect(list.volumes.map(({ name, typeName, label }) => [name, typeName, label])).toEqual([
    ['/dev/sda1', 'Linux filesystem', 'Wurzel ä'],
    ['/dev/sda14', 'BIOS boot', ''],
    ['/dev/sda15', 'EFI System', 'EFI system'],
  ])
})

test.skipIf(!haveTool('sfdisk'))(
  'reads MBRs that sfdisk made, with logical partitions and without',
  async () => {
    const path = await diskFile(200 * MIB)
    const tables = [
      'label: dos\nlabel-id: 0x1234abcd\nstart=2048,size=20480,type=83,bootable\n',
      'label: dos\n2048,20480,83\n,20480,82\n,40960,8e\n,,c\n',
      'label: dos\n2048,20480,83\n22528,,5\n24576,20480,83\n47104,20480,82\n69632,,8e\n',
      // Logical partitions whose chain is not in the order of their place.
      'label: dos\n2048,,f\n206848,20480,83\n4096,20480,82\n40960,2048,83\n',
    ]
    for (const table of tables) {
      await runOk('sfdisk', ['--wipe', 'always', path], table)
      await expectAsSfdisk(path)
      expect((await volumesOf(path)).warnings).toEqual([])
    }
  },
)

test.skipIf(!haveTool('sgdisk') || !haveTool('sfdisk'))(
  'a GPT of ours is right by sgdisk and sfdisk',
  async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.record({ length: fc.integer({ min: 1, max: 9_000_000 }), label: fc.string() }), {
          maxLength: 6,
        }),
        fc.boolean(),
        fc.integer({ min: 64 * MIB, max: 100 * MIB }),
        async (wanted, rest, size) => {
          const path = await diskFile(size)
          const device = new StorageDevice(await FileStorage.open(path, 'write'))
          const partitions = [
            ...wanted.map(({ length, label }) => ({
              length,
              label: label.slice(0, 36),
              type: GPT_TYPE.linux,
            })),
            ...(rest ? [{ type: GPT_TYPE.esp, label: 'EFI', attributes: 4n }] : []),
          ]
          await writeGpt(device, partitions)
          await device.close()
          expect(await runOk('sgdisk', ['-v', path])).toContain('No problems found')
          const verified = await run('sfdisk', ['--verify', path])
          expect(verified.stdout + verified.stderr).toMatch(/No errors detected|Empty/)
          const list = await volumesOf(path)
          expect(list.warnings).toEqual([])
          expect(list.volumes.map(volume => volume.label)).toEqual(partitions.map(({ label }) => label))
        },
      ),
      propertySettings(10),
    )
  },
)

test.skipIf(!haveTool('fdisk'))('a GPT of ours with 4096-byte sectors is right by fdisk', async () => {
  const path = await diskFile(64 * MIB)
  const device = new StorageDevice(await FileStorage.open(path, 'write'))
  await writeGpt(device, [{ length: 8 * MIB, type: GPT_TYPE.esp }, { type: GPT_TYPE.linux }], {
    sectorSize: 4096,
  })
  await device.close()
  const list = await volumesOf(path)
  expect(list).toMatchObject({ table: 'gpt', sectorSize: 4096, warnings: [] })
  expect(list.volumes.map(({ offset, length }) => [offset, length])).toEqual([
    [MIB, 8 * MIB],
    [9 * MIB, 54 * MIB],
  ])
  const printed = await runOk('fdisk', ['-b', '4096', '-o', 'Start,Sectors', '-l', path])
  expect(printed).not.toMatch(/corrupt|mismatch|fixed/)
  const rows = [...printed.matchAll(/^ *(\d+) +(\d+)$/gm)]
  expect(rows.map(row => [Number(row[1]) * 4096, Number(row[2]) * 4096])).toEqual([
    [MIB, 8 * MIB],
    [9 * MIB, 54 * MIB],
  ])
})

test.skipIf(!haveTool('partx') || !haveTool('sfdisk'))(
  'libblkid finds the partitions that we find',
  async () => {
    const logical = 'label: dos\n2048,20480,83\n22528,,5\n24576,20480,83\n47104,20480,82\n69632,,8e\n'
    const ordered = 'label: gpt\n2048,20480,L\n,20480,S\n,,L\n'
    for (const [table, sectorSize] of [
      [logical, 512],
      [ordered, 512],
      [undefined, 4096],
    ] as const) {
      const path = await diskFile(64 * MIB)
      if (table === undefined) writeFileSync(path, (await ourGpt(4096)).bytes)
      else await runOk('sfdisk', [path], table)
      const columns = ['-g', '-b', '-o', 'NR,START,SIZE']
      const printed = await runOk('partx', [...columns, '-S', String(sectorSize), '-s', path])
      const theirs = printed
        .trim()
        .split('\n')
        .map(line => line.trim().split(/\s+/).map(Number))
        .map(([number, start, size]) => [number, (start ?? 0) * 512, size])
      const list = await volumesOf(path)
      const extended = list.volumes.find(v => v.type === '05')?.number
      // libblkid tells the length of the extended partition, the kernel makes it short.
      const comparable = ([number, start, size]: (number | undefined)[]) =>
        number === extended ? [number, start] : [number, start, size]
      expect(list.volumes.map(v => comparable([v.number, v.offset, v.length]))).toEqual(
        theirs.map(comparable),
      )
      expect(theirs.length).toBeGreaterThan(1)
    }
  },
)

async function ourGpt(sectorSize: 512 | 4096 = 512): Promise<{ disk: MemoryDevice; bytes: Uint8Array }> {
  const disk = new MemoryDevice(16 * MIB)
  await writeGpt(disk, [{ length: 3 * MIB, type: GPT_TYPE.linux, label: 'root' }, { type: GPT_TYPE.swap }], {
    sectorSize,
  })
  return { disk, bytes: disk.toBytes() }
}

test.each([512, 4096] as const)(
  'the backup GPT serves when the first is damaged (sectors of %i)',
  async sectorSize => {
    const { bytes } = await ourGpt(sectorSize)
    const whole = await readVolumes(new MemoryDevice(bytes))
    for (const [at, what] of [
      [sectorSize, /no first GPT header/],
      [sectorSize + 20, /checksum/],
      [sectorSize + 56, /checksum/],
      [2 * sectorSize + 5, /checksum of its entries/],
    ] as const) {
      const damaged = bytes.slice()
      damaged[at] = (damaged[at] ?? 0) ^ 0x5a
      const list = await readVolumes(new MemoryDevice(damaged))
      expect(list.sectorSize).toBe(sectorSize)
      expect(list.volumes.map(v => [v.offset, v.length, v.uuid])).toEqual(
        whole.volumes.map(v => [v.offset, v.length, v.uuid]),
      )
      expect(list.warnings.join(' ')).toMatch(what)
      expect(list.warnings.join(' ')).toMatch(/backup GPT of \/dev\/sda is used/)
    }
    const backupDamaged = bytes.slice()
    backupDamaged[bytes.length - sectorSize + 30] = 99
    expect((await readVolumes(new MemoryDevice(backupDamaged))).warnings.join()).toMatch(
      /backup GPT.*is damaged/,
    )
    const both = backupDamaged.slice()
    both[sectorSize + 30] = 99
    await expect(readVolumes(new MemoryDevice(both))).rejects.toSatisfy(e => isDrydiskError(e, 'ERR_CORRUPT'))
    const grown = new Uint8Array(bytes.length + MIB)
    grown.set(bytes)
    expect((await readVolumes(new MemoryDevice(grown))).warnings.join()).toMatch(/not at the end/)
    grown[sectorSize] = 0
    expect((await readVolumes(new MemoryDevice(grown))).volumes.length).toBe(2)
  },
)

test('a GPT without its MBR: the first copy counts, an old backup at the end does not', async () => {
  const { bytes } = await ourGpt()
  const noMbr = bytes.slice()
  noMbr.fill(0, 0, 512)
  const list = await readVolumes(new MemoryDevice(noMbr))
  expect(list.table).toBe('gpt')
  expect(list.warnings.join()).toMatch(/no protective MBR/)
  noMbr.fill(0, 0, 40 * 512)
  expect((await readVolumes(new MemoryDevice(noMbr))).table).toBe('none')
})

test.skipIf(!haveTool('sfdisk'))('an MBR written over a GPT is what counts', async () => {
  const path = await diskFile(16 * MIB)
  writeFileSync(path, (await ourGpt()).bytes)
  const mbr = new Uint8Array(512)
  mbr.set([0x80, 0, 0, 0, 0x83, 0, 0, 0, 0, 8, 0, 0, 0, 8, 0, 0], 446)
  mbr.set([0x55, 0xaa], 510)
  await patch(path, 0, mbr)
  const list = await volumesOf(path)
  expect(list.table).toBe('mbr')
  expect(list.volumes).toHaveLength(1)
  expect(list.warnings.join()).toMatch(/ignored/)
})

test('a filesystem on the bare disk is /dev/sda', async () => {
  // The boot sector of a FAT filesystem has an MBR's signature.
  const fat = new Uint8Array(MIB)
  fat.set([0xeb, 0x3c, 0x90], 0)
  fat.set([0x55, 0xaa], 510)
  for (const bytes of [new Uint8Array(MIB), fat, new Uint8Array(100), new Uint8Array(0)]) {
    const list = await readVolumes(new MemoryDevice(bytes))
    expect(list).toMatchObject({ table: 'none', warnings: [] })
    expect(list.volumes.map(v => [v.name, v.number, v.offset, v.length])).toEqual([
      ['/dev/sda', 0, 0, bytes.length],
    ])
  }
})

function mbrEntry(type: number, start: number, size: number): number[] {
  const word = (value: number) => [0, 8, 16, 24].map(shift => (value >>> shift) & 0xff)
  return [0, 0, 0, 0, type, 0, 0, 0, ...word(start), ...word(size)]
}

test('partitions past the end are cut or left out, overlaps are told', async () => {
  const disk = new Uint8Array(MIB)
  disk.set(
    [
      ...mbrEntry(0x83, 100, 500),
      ...mbrEntry(0x83, 500, 100),
      ...mbrEntry(0x83, 1000, 5000),
      ...mbrEntry(0x83, 9000, 10),
    ],
    446,
  )
  disk.set([0x55, 0xaa], 510)
  const list = await readVolumes(new MemoryDevice(disk))
  expect(list.volumes.map(v => [v.name, v.offset, v.length])).toEqual([
    ['/dev/sda1', 51_200, 256_000],
    ['/dev/sda2', 256_000, 51_200],
    ['/dev/sda3', 512_000, MIB - 512_000],
  ])
  expect(list.warnings).toHaveLength(3)
})

test('a chain of logical partitions that bites its tail ends', async () => {
  const disk = new Uint8Array(MIB)
  disk.set(mbrEntry(5, 10, 1000), 446)
  disk.set([0x55, 0xaa], 510)
  for (const at of [10, 20]) {
    disk.set([...mbrEntry(0x83, 1, 5), ...mbrEntry(5, 10, 20)], at * 512 + 446)
    disk.set([0x55, 0xaa], at * 512 + 510)
  }
  const list = await readVolumes(new MemoryDevice(disk))
  expect(list.volumes.map(v => v.number)).toEqual([1, 5, 6])
  expect(list.warnings.join()).toMatch(/leads back/)
})

test('random damage of a partition table gives volumes or a typed error', async () => {
  const { bytes } = await ourGpt()
  const base = new MemoryDevice(bytes, { writable: false })
  const spots = fc.oneof(fc.nat(1535), fc.integer({ min: bytes.length - 600, max: bytes.length - 1 }))
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(spots, fc.nat(255)), { minLength: 1, maxLength: 8 }), async damage => {
      const damaged = new OverlayDevice(base)
      for (const [at, value] of damage) await damaged.write(at, Uint8Array.of(value))
      try {
        const list = await readVolumes(damaged)
        for (const { device, offset, length } of list.volumes) {
          expect(device.size).toBe(length)
          expect((offset ?? 0) + length).toBeLessThanOrEqual(bytes.length)
        }
      } catch (error) {
        if (!isDrydiskError(error, 'ERR_CORRUPT')) throw error
      }
    }),
    propertySettings(200),
  )
})
