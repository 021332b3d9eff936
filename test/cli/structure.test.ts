import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { cli, cliOk } from '../support/cli.ts'
import { checkWrittenImages, haveTool, runOk, temporaryFolder, writes } from '../support/native.ts'

checkWrittenImages()

async function make(options = 'cluster_size=4k', size = '1M'): Promise<string> {
  const path = writes(join(temporaryFolder(), 't.qcow2'), 'qcow2')
  await runOk('qemu-img', ['create', '-q', '-f', 'qcow2', '-o', options, path, size])
  return path
}

async function failure(...args: string[]): Promise<{ status: number; stderr: string }> {
  const { status, stderr } = await cli(...args)
  return { status, stderr }
}

describe.skipIf(!haveTool('qemu-img') || !haveTool('qemu-io'))('drydisk snapshot', () => {
  it('lists what qemu-img lists, in its columns and its JSON', async () => {
    const path = await make()
    await runOk('qemu-img', ['snapshot', '-c', 'theirs', path])
    await cliOk('snapshot', 'create', path, 'ours', '--date', '2026-01-31T12:00:00.5Z')
    await cliOk('snapshot', '-c', 'ours', path, '-q')
    const theirs = await runOk('env', ['TZ=UTC', 'qemu-img', 'snapshot', '-l', path])
    for (const args of [['list', path], ['-l', path], [path]])
      expect(await cliOk('snapshot', ...args)).toBe(theirs.replace(/ +$/gm, ''))
    await cliOk('snapshot', '-c', 'ü', path)
    const { snapshots } = JSON.parse(await runOk('qemu-img', ['info', '--output=json', path])) as {
      snapshots: unknown[]
    }
    expect(JSON.parse(await cliOk('snapshot', 'list', path, '--json'))).toEqual({ snapshots })
    expect(snapshots).toMatchObject([
      { id: '1', name: 'theirs' },
      { id: '2', name: 'ours', 'date-sec': 1_769_860_800, 'date-nsec': 500_000_000 },
      { id: '3', name: 'ours' },
      { id: '4', name: 'ü' },
    ])
  })

  it('applies and deletes by name and by identifier, as qemu-img', async () => {
    const path = await make()
    await runOk('qemu-io', ['-c', 'write -P 1 0 64k', path])
    await cliOk('snapshot', 'create', path, '2')
    await runOk('qemu-io', ['-c', 'write -P 2 0 64k', path])
    await cliOk('snapshot', 'create', path, 'second')
    // Identifier 2 before the name 2; for deleting, the other way round.
    await cliOk('snapshot', 'apply', path, '1')
    await cliOk('snapshot', '-a', '2', path)
    await runOk('qemu-io', ['-c', 'read -P 2 0 64k', path])
    expect(JSON.parse(await cliOk('snapshot', 'delete', path, '2', '--json'))).toEqual({
      event: 'result',
      filename: path,
      action: 'delete',
      id: '1',
      name: '2',
    })
    await cliOk('snapshot', 'delete', path, '2')
    expect(await cliOk('snapshot', path)).toBe('')
    expect(await failure('snapshot', 'apply', path, 'nope')).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('none at all'),
    })
  })

  it('refuses what has no meaning', async () => {
    const path = await make('refcount_bits=1')
    for (const args of [
      ['-c', 'a', '-l', path],
      ['create', path],
      ['list', path, 'x'],
      ['frobnicate', path],
      ['list', path, '--date', '@1'],
      ['create', path, 'x', '--date', 'yesterday'],
    ])
      expect(await failure('snapshot', ...args), args.join(' ')).toMatchObject({ status: 2 })
    expect(await failure('snapshot', 'create', path, 'x'.repeat(256))).toMatchObject({ status: 1 })
    await runOk('qemu-io', ['-c', 'write -P 1 0 64k', path])
    const before = readFileSync(path)
    expect(await failure('snapshot', 'create', path, 'x')).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('drydisk amend -o refcount_bits=16'),
    })
    expect(Buffer.compare(readFileSync(path), before)).toBe(0)
    const raw = join(temporaryFolder(), 'disk.raw')
    writeFileSync(raw, Buffer.alloc(4096))
    expect(await failure('snapshot', 'create', raw, 'x')).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('raw'),
    })
  })
})

describe.skipIf(!haveTool('qemu-img'))('drydisk resize', () => {
  it('takes sizes and differences as qemu-img does', async () => {
    const path = await make()
    const size = async (): Promise<unknown> =>
      (JSON.parse(await runOk('qemu-img', ['info', '--output=json', path])) as Record<string, unknown>)[
        'virtual-size'
      ]
    for (const [text, bytes] of [
      ['2M', 2 << 20],
      ['+512k', 2.5 * 2 ** 20],
      ['-1M', 1.5 * 2 ** 20],
      ['1048576', 1 << 20],
      ['+1.5K', (1 << 20) + 1536],
    ] as const) {
      await cliOk('resize', '--shrink', path, text)
      expect(await size()).toBe(bytes)
    }
    for (const text of ['-1G', '0', '+1'])
      expect(await failure('resize', '--shrink', path, text)).toMatchObject({ status: 1 })
    for (const text of ['lots', '--shrnk', '+-1'])
      expect(await failure('resize', path, text)).toMatchObject({ status: 2 })
    expect(await failure('resize', path, '-512k')).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('--shrink'),
    })
    expect(await size()).toBe((1 << 20) + 1536)
  })

  it.skipIf(!haveTool('mke2fs') || !haveTool('sfdisk'))('says what a smaller disk cuts off', async () => {
    const folder = temporaryFolder()
    const [whole, parts] = [join(folder, 'whole.raw'), join(folder, 'parts.raw')]
    await runOk('mke2fs', ['-q', '-F', '-t', 'ext4', whole, '8M'])
    writeFileSync(parts, Buffer.alloc(16 << 20))
    await runOk('sh', ['-c', 'printf "label: dos\\n2048,,83\\n" | sfdisk -q "$1"', 'sh', parts])
    await runOk('mke2fs', ['-q', '-F', '-t', 'ext4', '-E', 'offset=1048576', parts, '8M'])

    // A disk that is larger than its filesystem loses nothing.
    await cliOk('resize', whole, '10M')
    const warnings = async (path: string, size: string): Promise<unknown> =>
      JSON.parse(await cliOk('resize', '--shrink', '--json', path, size)).warnings
    expect(await warnings(whole, '8M')).toEqual([])
    expect(await warnings(whole, '7M')).toEqual([
      'The ext4 filesystem on /dev/sda reaches beyond the new end of the disk: it is cut off and cannot be used any more.',
    ])
    expect(await warnings(parts, '9M')).toEqual([
      '/dev/sda1 reaches beyond the new end of the disk; its ext4 filesystem ends before it.',
      expect.stringContaining('past the end of the disk'),
    ])
    const { status, stderr } = await cli('resize', '--shrink', parts, '4M')
    expect({ status, stderr }).toMatchObject({
      status: 0,
      stderr: expect.stringContaining('The ext4 filesystem on /dev/sda1 reaches beyond the new end'),
    })
    expect(await warnings(parts, '64k')).toContainEqual(expect.stringContaining('/dev/sda1'))
  })

  it.skipIf(!haveTool('sgdisk'))('says when the backup GPT is no longer at the end', async () => {
    const path = join(temporaryFolder(), 'disk.raw')
    writeFileSync(path, Buffer.alloc(4 << 20))
    await runOk('sgdisk', ['-n', '1:2048:4095', path])
    const { status, stderr, stdout } = await cli('resize', path, '+1M')
    expect({ status, stdout }).toEqual({ status: 0, stdout: `${path}: 4 MiB → 5 MiB\n` })
    expect(stderr).toContain('sgdisk -e')
    expect(statSync(path).size).toBe(5 << 20)
    await runOk('sgdisk', ['-e', path])
    expect(JSON.parse(await cliOk('resize', path, '5M', '--json'))).toEqual({
      event: 'result',
      filename: path,
      format: 'raw',
      'virtual-size': 5 << 20,
      'previous-virtual-size': 5 << 20,
      warnings: [],
    })
  })
})

describe.skipIf(!haveTool('qemu-img'))('drydisk amend', () => {
  it('takes the options of qemu-img amend, and refuses the others by name', async () => {
    const path = await make()
    await cliOk('amend', '-o', 'compat=v2', path)
    await cliOk('amend', '-o', 'compat=1.1,refcount_bits=32', '-o', 'lazy_refcounts', '-q', path)
    expect(JSON.parse(await runOk('qemu-img', ['info', '--output=json', path]))).toMatchObject({
      'format-specific': { data: { compat: '1.1', 'refcount-bits': 32, 'lazy-refcounts': true } },
    })
    const theirs = await runOk('qemu-img', ['amend', '-f', 'qcow2', '-o', 'help'])
    const named = (text: string): string[] =>
      [...text.matchAll(/^ {2}(\w+)=/gm)].map(([, name]) => name ?? '')
    expect(named(await cliOk('amend', '-o', 'help'))).toEqual(
      named(theirs).filter(name => !name.startsWith('encrypt')),
    )
    for (const list of [
      'cluster_size=4k',
      'compat=3',
      'refcount_bits=many',
      'lazy_refcounts=perhaps',
      'foo=bar',
      '',
    ])
      expect(await failure('amend', '-o', list, path), list).toMatchObject({ status: 2 })
    expect(await failure('amend', path)).toMatchObject({ status: 2 })
    expect(await failure('amend', '-o', 'compat=0.10', path)).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('refcount_bits=16'),
    })
  })
})
