import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { cli, cliOk } from '../support/cli.ts'
import { checkWrittenImages, haveTool, runOk, temporaryFolder, writes } from '../support/native.ts'

checkWrittenImages()

const MIB = 1 << 20
const qemu = (...args: string[]): Promise<string> => runOk('qemu-img', args)

/**
 * A disk of 64 MiB: an ext4 with a file of 4 MiB and the data of a deleted one of 16 MiB, swap space with rubbish in it, rubbish
 * behind the last partition, and a partition with unknown content.
 */
async function usedDisk(folder: string): Promise<string> {
  const path = join(folder, 'disk.raw')
  const rubbish = (length: number) => Buffer.alloc(length, 'rubbish ')
  await qemu('create', '-q', '-f', 'raw', path, '64M')
  await runOk(
    'sfdisk',
    ['-q', path],
    'label: gpt\nstart=1MiB,size=40MiB\nsize=4MiB,type=swap\nsize=2MiB,type=uefi\n',
  )
  await runOk('mkfs.ext4', ['-q', '-F', '-E', `offset=${MIB}`, path, '40M'])
  const [kept, deleted] = [join(folder, 'kept'), join(folder, 'deleted')]
  writeFileSync(kept, Buffer.alloc(4 * MIB, 'kept '))
  writeFileSync(deleted, rubbish(16 * MIB))
  const filesystem = `${path}?offset=${MIB}`
  await runOk('debugfs', ['-w', '-R', `write ${deleted} deleted`, filesystem])
  await runOk('debugfs', ['-w', '-R', `write ${kept} kept`, filesystem])
  await runOk('debugfs', ['-w', '-R', 'rm deleted', filesystem])
  const bytes = readFileSync(path)
  const swap = join(folder, 'swap')
  writeFileSync(swap, rubbish(4 * MIB))
  await runOk('mkswap', ['-q', swap])
  readFileSync(swap).copy(bytes, 41 * MIB)
  rubbish(2 * MIB).copy(bytes, 45 * MIB)
  rubbish(16 * MIB).copy(bytes, 47 * MIB)
  writeFileSync(path, bytes)
  return path
}

const tools = ['qemu-img', 'sfdisk', 'mkfs.ext4', 'debugfs', 'mkswap'].every(haveTool)

describe.skipIf(!tools)('drydisk sparsify', () => {
  it('makes a copy without what nobody uses', { timeout: 60_000 }, async () => {
    const folder = temporaryFolder()
    const disk = await usedDisk(folder)
    const source = join(folder, 'disk.qcow2')
    await qemu('convert', '-O', 'qcow2', disk, source)
    for (const options of [[], ['-c'], ['-O', 'raw']]) {
      const target = writes(join(folder, `target${options.join('')}`), 'disk')
      const printed = await cliOk('sparsify', ...options, source, target)
      expect(printed).toMatch(/^\/dev\/sda1 \(ext4\): [\d.]+ MiB free$/m)
      expect(printed).toMatch(/^\/dev\/sda2 \(swap\): 4.0 MiB free$/m)
      expect(printed).toMatch(/^\/dev\/sda3 holds no filesystem that drydisk knows$/m)
      expect(printed).toMatch(/^between partitions: \d+(\.\d+)? MiB free$/m)
      const { 'actual-size': size, format } = JSON.parse(await qemu('info', '--output=json', target))
      expect(format).toBe(options.includes('raw') ? 'raw' : 'qcow2')
      // 4 MiB of a file, 2 MiB unknown, and metadata: not the 36 MiB of rubbish.
      expect(size).toBeLessThan(9 * MIB)
      const raw = join(folder, 'raw')
      await qemu('convert', '-O', 'raw', target, raw)
      const bytes = readFileSync(raw)
      const before = readFileSync(disk)
      expect(bytes.subarray(45 * MIB, 47 * MIB).equals(before.subarray(45 * MIB, 47 * MIB))).toBe(true)
      // The swap header stays: the guest finds its swap by UUID.
      expect(
        bytes.subarray(41 * MIB, 41 * MIB + 4096).equals(before.subarray(41 * MIB, 41 * MIB + 4096)),
      ).toBe(true)
      expect(bytes.subarray(41 * MIB + 4096, 45 * MIB).every(byte => byte === 0)).toBe(true)
      await runOk('debugfs', ['-R', `dump kept ${join(folder, 'dumped')}`, `${raw}?offset=${MIB}`])
      expect(readFileSync(join(folder, 'dumped')).equals(readFileSync(join(folder, 'kept')))).toBe(true)
    }
    const converted = writes(join(folder, 'converted'), 'disk')
    await cliOk('convert', '-O', 'qcow2', '--sparsify', source, converted)
    await qemu('compare', converted, join(folder, 'target'))
  })

  it('makes a qcow2 image smaller in place', { timeout: 60_000 }, async () => {
    const folder = temporaryFolder()
    const disk = await usedDisk(folder)
    const image = writes(join(folder, 'disk.qcow2'), 'disk')
    await qemu('convert', '-O', 'qcow2', disk, image)
    const before = statSync(image)
    const printed = await cliOk('sparsify', image)
    expect(printed).toMatch(/^\/dev\/sda1 \(ext4\): [\d.]+ MiB free$/m)
    expect(printed).toMatch(/disk\.qcow2: [\d.]+ MiB dropped, .* moved, [\d.]+ MiB → [\d.]+ MiB$/m)
    const after = statSync(image)
    expect([after.ino, after.size < before.size - 34 * MIB]).toEqual([before.ino, true])
    const copy = join(folder, 'copy.qcow2')
    await cliOk('sparsify', disk, '-O', 'qcow2', copy)
    const [raw, expected] = [join(folder, 'raw'), join(folder, 'expected')]
    await qemu('convert', '-O', 'raw', image, raw)
    await qemu('convert', '-O', 'raw', copy, expected)
    await runOk('debugfs', ['-R', `dump kept ${join(folder, 'dumped')}`, `${raw}?offset=${MIB}`])
    expect(readFileSync(join(folder, 'dumped')).equals(readFileSync(join(folder, 'kept')))).toBe(true)
    const events = (await cliOk('sparsify', '--json', '--zeros', image))
      .trimEnd()
      .split('\n')
      .map(line => JSON.parse(line))
    expect(events.at(-1)).toMatchObject({
      event: 'result',
      filename: image,
      before: after.size,
      warnings: [],
    })
    const { status, stderr } = await cli('sparsify', disk)
    expect([status, stderr]).toEqual([1, expect.stringMatching(/raw image.*drydisk sparsify .* COPY/)])
    expect((await cli('sparsify', '-f', 'raw', image)).status).toBe(2)
  })

  it('says what it would drop, and writes nothing', async () => {
    const folder = temporaryFolder()
    const disk = await usedDisk(folder)
    const source = join(folder, 'disk.qcow2')
    await qemu('convert', '-O', 'qcow2', disk, source)
    const before = readFileSync(source)
    const all = JSON.parse(await cliOk('sparsify', '--check-only', '--json', source))
    expect(all).toMatchObject({ event: 'result', filename: source, warnings: [] })
    expect(all.saved).toBeGreaterThan(34 * MIB)
    expect(all.saved).toBeLessThan(38 * MIB)
    expect(all.volumes.map(({ name, dropped }: Record<string, unknown>) => [name, dropped !== 0])).toEqual([
      ['/dev/sda1', true],
      ['/dev/sda2', true],
      ['/dev/sda3', false],
    ])
    const less = JSON.parse(
      await cliOk('sparsify', '-n', '--json', '--ignore', '/dev/sda1', '--ignore', '/dev/sda2', disk),
    )
    expect(less.volumes.every(({ dropped }: Record<string, unknown>) => dropped === 0)).toBe(true)
    expect(less.free).toBe(less.gaps)
    expect(await cliOk('sparsify', '--dry-run', disk)).toMatch(/unused, of which the image holds up to/)
    expect(readFileSync(source).equals(before)).toBe(true)
  })

  it('drops from several sources as from one', async () => {
    const folder = temporaryFolder()
    const disk = await usedDisk(folder)
    const [first, second] = [join(folder, 'first'), join(folder, 'second')]
    const bytes = readFileSync(disk)
    writeFileSync(first, bytes.subarray(0, 20 * MIB))
    writeFileSync(second, bytes.subarray(20 * MIB))
    const [joined, whole] = [join(folder, 'joined.qcow2'), join(folder, 'whole.qcow2')]
    await cliOk('convert', '--sparsify', first, second, writes(joined, 'disk'))
    await cliOk('convert', '--sparsify', disk, whole)
    await qemu('compare', '-s', joined, whole)
  })

  it('refuses what has no meaning', async () => {
    const folder = temporaryFolder()
    const disk = join(folder, 'disk.qcow2')
    await qemu('create', '-q', '-f', 'qcow2', disk, '1M')
    const before = statSync(disk).mtimeMs
    for (const [args, message] of [
      [['-c', disk], /name the target too/],
      [['-O', 'qcow2', disk], /name the target too/],
      [['-o', 'backing_file=x,backing_fmt=raw', disk, join(folder, 'x.qcow2')], /whole images/],
      [['-c', '-O', 'raw', disk, join(folder, 'x')], /cannot be compressed/],
      [[disk, disk], /source/],
    ] as const) {
      const { status, stderr } = await cli('sparsify', ...args)
      expect([status === 0, stderr]).toEqual([false, expect.stringMatching(message)])
    }
    expect(statSync(disk).mtimeMs).toBe(before)
  })
})
