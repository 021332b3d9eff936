import {
  chmodSync,
  chownSync,
  copyFileSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { cli, cliOk } from '../support/cli.ts'
import { checkWrittenImages, haveTool, runOk, temporaryFolder, writes } from '../support/native.ts'

checkWrittenImages()

const isRoot = process.getuid?.() === 0
let demo = ''
beforeAll(async () => {
  demo = join(temporaryFolder(), 'demo.qcow2')
  await cliOk('make-fs', '--demo', '--size', '96M', demo)
})

function image(): string {
  const path = join(temporaryFolder(), 'disk.qcow2')
  copyFileSync(demo, path)
  return writes(path, 'disk')
}

interface Entry {
  name: string
  type: string
  mode: string
  uid: number
  gid: number
  mtime: string
  ino: number
}
const entry = async (path: string, guestPath: string): Promise<Entry> =>
  JSON.parse(await cliOk('ls', '-d', '--json', path, guestPath)).listings[0].entries[0]

describe('into an image', () => {
  test('a file: new name, into a directory, over a file that keeps its owner and mode', async () => {
    const path = image()
    const folder = temporaryFolder()
    const file = join(folder, 'local')
    writeFileSync(file, 'from the host\n', { mode: 0o600 })
    await cliOk('cp', file, `${path}:/srv`)
    expect(await entry(path, '/srv')).toMatchObject({ type: 'file', mode: '0600', uid: 0, gid: 0 })
    await cliOk('cp', file, `${path}:/etc`)
    expect(await cliOk('cat', path, '/etc/local')).toBe('from the host\n')
    const before = await entry(path, '/etc/shadow')
    await cliOk('cp', file, `${path}:/etc/shadow`)
    expect(await cliOk('cat', path, '/etc/shadow')).toBe('from the host\n')
    expect(await entry(path, '/etc/shadow')).toMatchObject({ mode: '0640', gid: 42, ino: before.ino })
    expect((await cli('cp', file, `${path}:/no/such/folder`)).status).toBe(1)
    expect((await cli('cp', file, `${path}:/folder/`)).stderr).toMatch(/folder\/ is to be a directory/)
    expect((await cli('cp', file, join(folder, 'missing'), `${path}:/etc`)).status).toBe(1)
  })

  test('a tree, with links, odd names, and what is in a folder', async () => {
    const path = image()
    const tree = join(temporaryFolder(), 'tree')
    mkdirSync(join(tree, 'sub'), { recursive: true })
    writeFileSync(join(tree, 'sub/file'), 'deep')
    writeFileSync(Buffer.concat([Buffer.from(`${tree}/`), Buffer.from([0xff, 0x0a])]), 'odd')
    symlinkSync('/etc/passwd', join(tree, 'absolute'))
    symlinkSync('nowhere', join(tree, 'dangling'))
    chmodSync(join(tree, 'sub'), 0o700)
    await cliOk('cp', '-r', tree, `${path}:/srv`)
    expect(await cliOk('cat', path, '/srv/sub/file')).toBe('deep')
    expect(await cliOk('ls', path, '/srv')).toBe('absolute\ndangling\nsub\n\\xff\\x0a\n')
    expect(await entry(path, '/srv/sub')).toMatchObject({ mode: '0700', uid: 0 })
    expect(await entry(path, '/srv/absolute')).toMatchObject({ type: 'symlink', target: '/etc/passwd' })
    await cliOk('cp', tree, `${path}:/srv`)
    expect(await cliOk('cat', path, '/srv/tree/sub/file')).toBe('deep')
    await cliOk('cp', `${tree}/.`, `${path}:/home`)
    expect(await cliOk('cat', path, '/home/sub/file')).toBe('deep')
  })

  test.runIf(isRoot)('--archive keeps owners and times', async () => {
    const path = image()
    const file = join(temporaryFolder(), 'f')
    writeFileSync(file, 'x')
    chownSync(file, 1234, 5678)
    utimesSync(file, 1_000_000_000, 1_000_000_000)
    await cliOk('cp', '--archive', file, `${path}:/srv`)
    expect(await entry(path, '/srv')).toMatchObject({ uid: 1234, gid: 5678, mtime: '2001-09-09T01:46:40Z' })
  })

  test('hard links stay; a tree over another leaves owner and mode of what is there', async () => {
    const path = image()
    const tree = join(temporaryFolder(), 'tree')
    mkdirSync(tree)
    writeFileSync(join(tree, 'a'), 'shared', { mode: 0o600 })
    linkSync(join(tree, 'a'), join(tree, 'b'))
    await cliOk('cp', tree, `${path}:/srv`)
    expect((await entry(path, '/srv/a')).ino).toBe((await entry(path, '/srv/b')).ino)
    expect(await cliOk('cat', path, '/srv/a', '/srv/b')).toBe('sharedshared')
    expect(await cliOk('cp', `${tree}/.`, `${path}:/srv`)).toBe('cp: nothing to change\n')
    await cliOk('customize', path, '--chown', '1000:1000:/srv/b', '--chmod', '0640:/srv/b')
    writeFileSync(join(tree, 'a'), 'new')
    await cliOk('cp', `${tree}/.`, `${path}:/srv`)
    expect(await entry(path, '/srv/a')).toMatchObject({ mode: '0640', uid: 1000, gid: 1000 })
    await cliOk('cp', '--archive', `${tree}/.`, `${path}:/srv`)
    expect(await entry(path, '/srv/a')).toMatchObject({ mode: '0600', uid: process.getuid?.() })
    const made = writes(join(temporaryFolder(), 'made.qcow2'), 'disk')
    await cliOk('make-fs', tree, made)
    expect((await entry(made, '/a')).ino).toBe((await entry(made, '/b')).ino)
  })

  test('a large file is streamed', async () => {
    const path = image()
    const file = join(temporaryFolder(), 'big')
    const bytes = Buffer.alloc(20 << 20)
    for (let i = 0; i < bytes.length; i += 4) bytes.writeUInt32LE(i, i)
    writeFileSync(file, bytes)
    await cliOk('cp', file, `${path}:/big`)
    const back = join(temporaryFolder(), 'back')
    await cliOk('cp', `${path}:/big`, back)
    expect(readFileSync(back).equals(bytes)).toBe(true)
  })

  test('holes of a file stay holes, so that it fits', async () => {
    const path = image()
    const file = join(temporaryFolder(), 'sparse')
    writeFileSync(file, 'begin')
    truncateSync(file, (200 << 20) + 70_000)
    writeFileSync(file, 'end', { flag: 'a' })
    await cliOk('cp', file, `${path}:/sparse`)
    const back = join(temporaryFolder(), 'back')
    await cliOk('cp', `${path}:/sparse`, back)
    expect(readFileSync(back).equals(readFileSync(file))).toBe(true)
    expect(statSync(back).blocks * 512).toBeLessThan(1 << 20)
  })

  test('--dry-run copies nothing and lists what it would make', async () => {
    const path = image()
    const before = readFileSync(path)
    const file = join(temporaryFolder(), 'new')
    writeFileSync(file, 'line\n')
    const text = await cliOk('cp', '-n', file, `${path}:/etc`)
    expect(text).toContain('+++ b/etc/new')
    expect(readFileSync(path).equals(before)).toBe(true)
  })
})

describe('out of an image', () => {
  test('a file, a tree, what is in a directory; modes, times and hard links stay', async () => {
    const path = image()
    const tree = join(temporaryFolder(), 'tree')
    mkdirSync(tree)
    writeFileSync(join(tree, 'a'), 'hard', { mode: 0o640 })
    utimesSync(join(tree, 'a'), 1_000_000_000, 1_000_000_000)
    symlinkSync('/etc/shadow', join(tree, 'link'))
    await cliOk('cp', '--archive', tree, `${path}:/srv`)
    const out = temporaryFolder()
    await cliOk('cp', `${path}:/srv`, out)
    expect(readFileSync(join(out, 'srv/a'), 'utf8')).toBe('hard')
    expect(statSync(join(out, 'srv/a')).mode & 0o7777).toBe(0o640)
    expect(statSync(join(out, 'srv/a')).mtimeMs).toBe(1_000_000_000_000)
    expect(readlinkSync(join(out, 'srv/link'))).toBe('/etc/shadow')
    await cliOk('cp', `${path}:/srv/.`, out)
    expect(readFileSync(join(out, 'a'), 'utf8')).toBe('hard')
    await cliOk('cp', `${path}:/etc/hostname`, `${path}:/etc/hosts`, out)
    expect(readFileSync(join(out, 'hostname'), 'utf8')).toBe('demo\n')
    await cliOk('cp', `${path}:/etc/os-release`, join(out, 'copied-link'))
    expect(lstatSync(join(out, 'copied-link')).isSymbolicLink()).toBe(true)
    await cliOk('cp', '-L', `${path}:/etc/os-release`, join(out, 'followed'))
    expect(readFileSync(join(out, 'followed'), 'utf8')).toContain('Debian')
    const json = JSON.parse(await cliOk('cp', '--json', `${path}:/etc/ssh`, join(out, 'ssh')))
    expect(json).toMatchObject({ image: path, from: ['/etc/ssh'], copied: 4, errors: [] })
  })

  test.runIf(haveTool('mkfs.ext4'))('holes stay holes, names stay one file, fifos are told of', async () => {
    const folder = temporaryFolder()
    const tree = join(folder, 'tree')
    mkdirSync(tree)
    writeFileSync(join(tree, 'sparse'), 'x')
    truncateSync(join(tree, 'sparse'), 1 << 30)
    linkSync(join(tree, 'sparse'), join(tree, 'same'))
    await runOk('mkfifo', [join(tree, 'fifo')])
    const disk = writes(join(folder, 'disk.raw'), 'ext4')
    await runOk('mkfs.ext4', ['-q', '-d', tree, disk, '16M'])
    const out = join(folder, 'out')
    const { status, stderr } = await cli('cp', `${disk}:/`, out)
    expect(status).toBe(1)
    expect(stderr).toMatch(/^drydisk: \/fifo: a fifo is not copied[^\n]*\n$/)
    const sparse = statSync(join(out, 'sparse'))
    expect(sparse.size).toBe(1 << 30)
    expect(sparse.blocks).toBeLessThan(1000)
    expect(sparse.nlink).toBe(2)
    expect(statSync(join(out, 'same')).ino).toBe(sparse.ino)
  })
})

/** An ext4 without checksums, so that the test can forge names in its directory blocks. */
async function forged(tree: string, forgeries: [from: string, to: string][]): Promise<string> {
  const disk = join(temporaryFolder(), 'forged.raw')
  await runOk('mkfs.ext4', ['-q', '-O', '^metadata_csum,^dir_index', '-d', tree, disk, '16M'])
  const bytes = readFileSync(disk)
  for (const [from, to] of forgeries) {
    expect(to.length).toBe(from.length)
    let found = 0
    // A name follows its length and file type (struct ext4_dir_entry_2).
    for (const type of [1, 2, 7]) {
      const needle = Buffer.concat([Buffer.from([from.length, type]), Buffer.from(from)])
      for (let at = bytes.indexOf(needle); at >= 0; at = bytes.indexOf(needle, at + 1)) {
        bytes.write(to, at + 2, 'latin1')
        found++
      }
    }
    expect(found, from).toBeGreaterThan(0)
  }
  writeFileSync(disk, bytes)
  return disk
}

describe.runIf(haveTool('mkfs.ext4'))('hostile images', () => {
  /** Copies the whole image below `cage/out` and gives what is in the cage outside of that. */
  async function escapes(disk: string): Promise<{ outside: string[]; stderr: string; out: string }> {
    const cage = temporaryFolder()
    const out = join(cage, 'deep/out')
    mkdirSync(join(cage, 'deep'))
    const { stderr } = await cli('cp', `${disk}:/`, out)
    const outside = [...readdirSync(cage), ...readdirSync(join(cage, 'deep'))]
    return { outside, stderr, out }
  }

  test('names with slashes and dots lead nowhere', async () => {
    const tree = temporaryFolder()
    for (const name of ['aaaaaaa', 'bb', 'ccccccc', 'good']) writeFileSync(join(tree, name), 'x')
    const disk = await forged(tree, [
      ['aaaaaaa', '../evil'],
      ['bb', '..'],
      ['ccccccc', '/tmp/ev'],
    ])
    const { outside, stderr } = await escapes(disk)
    expect(outside.filter(name => !['deep', 'out'].includes(name))).toEqual([])
    expect(existsSync('/tmp/ev')).toBe(false)
    expect(stderr).toMatch(/^(drydisk: [^\n]*\n)+$/)
  })

  test('a link and a directory of one name do not lead out', async () => {
    const target = temporaryFolder()
    const tree = temporaryFolder()
    symlinkSync(target, join(tree, 'swap1'))
    mkdirSync(join(tree, 'swap2'))
    writeFileSync(join(tree, 'swap2/evil'), 'x')
    symlinkSync(join(target, 'file'), join(tree, 'fswp1'))
    writeFileSync(join(tree, 'fswp2'), 'x')
    for (const [from, to] of [
      ['swap1', 'swap2'],
      ['swap2', 'swap1'],
    ] as const) {
      const disk = await forged(tree, [
        [from, to],
        ['fswp2', 'fswp1'],
      ])
      await escapes(disk)
      expect(readdirSync(target)).toEqual([])
    }
  })

  test('links that were in the target before are not followed', async () => {
    const target = temporaryFolder()
    writeFileSync(join(target, 'precious'), 'precious')
    const tree = temporaryFolder()
    mkdirSync(join(tree, 'dir'))
    writeFileSync(join(tree, 'dir/precious'), 'evil')
    writeFileSync(join(tree, 'precious'), 'evil')
    const disk = await forged(tree, [])
    const out = temporaryFolder()
    symlinkSync(target, join(out, 'dir'))
    symlinkSync(join(target, 'precious'), join(out, 'precious'))
    const { status } = await cli('cp', `${disk}:/.`, out)
    expect(status).toBe(1)
    expect(readFileSync(join(target, 'precious'), 'utf8')).toBe('precious')
    expect(lstatSync(join(out, 'precious')).isSymbolicLink()).toBe(false)
  })

  test('names print escaped, in every kind of output', async () => {
    const tree = temporaryFolder()
    writeFileSync(join(tree, '\u001b[31mred\n'), 'x')
    symlinkSync('\u001b]0;title\u0007', join(tree, 'link'))
    const disk = await forged(tree, [])
    for (const args of [
      ['ls', disk],
      ['ls', '-lR', disk],
      ['cat', disk, '/\u001b[31m'],
      ['rm', '-n', disk, '/\u001b[31mred\n'],
    ]) {
      const { stdout, stderr } = await cli(...args)
      expect([...(stdout + stderr)].filter(c => (c < ' ' && c !== '\n') || c === '\x7f')).toEqual([])
      expect(stdout + stderr).toContain('\\x1b')
    }
    const { listings } = JSON.parse(await cliOk('ls', '--json', disk))
    expect(listings[0].entries.map((one: { name: string }) => one.name)).toContain('\u001b[31mred\n')
  })

  test('a directory inside itself ends', async () => {
    const tree = temporaryFolder()
    mkdirSync(join(tree, 'a/b'), { recursive: true })
    const disk = await forged(tree, [])
    // The entry b of a gets a's own inode.
    const stat = await runOk('debugfs', ['-R', 'stat /a', disk])
    const ino = Number(/Inode: (\d+)/.exec(stat)?.[1])
    const bytes = readFileSync(disk)
    const needle = Buffer.from([1, 2, 0x62, 0])
    const at = bytes.indexOf(needle)
    expect(at).toBeGreaterThan(0)
    bytes.writeUInt32LE(ino, at - 6)
    writeFileSync(disk, bytes)
    expect((await cli('ls', '-R', disk)).stdout.length).toBeLessThan(2000)
    const { stderr } = await escapes(disk)
    expect(stderr).toMatch(/contains itself/)
    expect((await cli('rm', '-r', disk, '/a')).status).toBe(1)
  })
})
