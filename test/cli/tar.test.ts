import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  ftruncateSync,
  linkSync,
  lutimesSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { cli, cliOk } from '../support/cli.ts'
import { checkWrittenImages, haveTool, runOk, temporaryFolder, writes } from '../support/native.ts'

checkWrittenImages()

const isRoot = process.getuid?.() === 0
const LONG = `long-${'n'.repeat(200)}`

let tree = ''
let image = ''

beforeAll(async () => {
  const folder = temporaryFolder()
  tree = join(folder, 'tree')
  mkdirSync(join(tree, 'd/empty'), { recursive: true })
  writeFileSync(join(tree, 'd/file'), 'content\n')
  writeFileSync(join(tree, 'empty'), '')
  writeFileSync(join(tree, 'd/block'), new Uint8Array(512).fill(1))
  linkSync(join(tree, 'd/file'), join(tree, 'second name'))
  symlinkSync('../somewhere', join(tree, 'd/link'))
  symlinkSync('t'.repeat(150), join(tree, 'long link'))
  mkdirSync(join(tree, LONG))
  writeFileSync(join(tree, LONG, LONG), 'deep')
  writeFileSync(Buffer.concat([Buffer.from(join(tree, 'b')), Buffer.from([0xff, 0xfe])]), 'bytes')
  writeFileSync(
    Buffer.concat([Buffer.from(join(tree, LONG, 'x'.repeat(99))), Buffer.from([0xff])]),
    'long bytes',
  )
  const sparse = openSync(join(tree, 'sparse'), 'w')
  ftruncateSync(sparse, 3 << 20)
  writeSync(sparse, 'middle', 1 << 20)
  writeSync(sparse, 'end', (3 << 20) - 3)
  closeSync(sparse)
  const hole = openSync(join(tree, 'hole'), 'w')
  ftruncateSync(hole, 1 << 20)
  closeSync(hole)
  chmodSync(join(tree, 'd/file'), 0o4750)
  chmodSync(join(tree, 'd'), 0o1777)
  utimesSync(join(tree, 'd/file'), 1_000_000_000.25, 1_000_000_000.25)
  lutimesSync(join(tree, 'd/link'), 5, 5)
  if (isRoot) {
    execFileSync('mkfifo', [join(tree, 'fifo')])
    execFileSync('mknod', [join(tree, 'null'), 'c', '1', '3'])
    chownSync(join(tree, 'empty'), 3_000_000, 70_000)
  }
  image = join(folder, 'disk.raw')
  await cliOk('make-fs', '--archive', '--format', 'raw', '--partition', 'none', '--size', '32M', tree, image)
  await cliOk('rm', '-r', image, '/lost+found')
})

describe.skipIf(!haveTool('tar'))('tar-out', () => {
  test('gives what GNU tar finds no difference in', async () => {
    const archive = join(temporaryFolder(), 'out.tar')
    await cliOk('tar-out', image, '/', archive)
    const listed = execFileSync('tar', ['-tf', archive], { encoding: 'utf8' }).split('\n')
    expect(listed).toContain('./d/empty/')
    expect(readFileSync(archive).length % 10_240).toBe(0)
    // Names, types, modes, owners, times, sizes, content, links.
    await runOk('tar', ['--numeric-owner', '-df', archive, '-C', tree])
  })

  test.skipIf(!isRoot)('unpacks to the same tree: hard links, holes, devices, attributes', async () => {
    const folder = temporaryFolder()
    const [archive, out] = [join(folder, 'out.tar.gz'), join(folder, 'out')]
    mkdirSync(out)
    await cliOk('tar-out', '-z', image, '/', archive)
    await runOk('tar', ['-xpf', archive, '--numeric-owner', '-C', out])
    const list = (root: string) =>
      execFileSync('find', ['.', '-mindepth', '1', '-printf', '%P %y %m %U %G %n %l %s\\n'], {
        cwd: root,
        encoding: 'latin1',
      })
        .split('\n')
        .map(line => line.replace(/^(.* d .*) \d+$/, '$1'))
        .sort()
    expect(list(out)).toEqual(list(tree))
    const blocks = Number(execFileSync('stat', ['-c', '%b', join(out, 'sparse')], { encoding: 'utf8' }))
    expect(blocks * 512).toBeLessThan(1 << 20)
  })

  test('goes into another image again, once', async () => {
    const folder = temporaryFolder()
    const archive = join(folder, 'out.tar')
    await cliOk('tar-out', image, '/', archive)
    const other = writes(join(folder, 'other.qcow2'), 'disk')
    await cliOk('make-fs', '--archive', '--size', '48M', join(tree, 'd/empty'), other)
    await cliOk('tar-in', other, archive, '/')
    const differs = await cli('diff', '--path', '/', image, other)
    expect(differs.stdout.split('\n').filter(line => line !== '' && !/lost\+found/.test(line))).toEqual([])
    expect((await cliOk('tar-in', other, archive, '/')).trim()).toBe('tar-in: nothing to change')
  })

  test('keeps extended attributes', async () => {
    const folder = temporaryFolder()
    const copy = writes(join(folder, 'copy.raw'), 'ext4')
    await runOk('cp', [image, copy])
    const { openImage } = await import('../../src/index.ts')
    const disk = await openImage(copy, { writable: true })
    const guest = await disk.guest()
    await guest.fs.setxattr('/empty', 'user.note', Buffer.from('a\nb=c\0'))
    await guest.fs.setxattr('/d', 'security.selinux', Buffer.from('system_u:object_r:etc_t:s0\0'))
    await disk.commit()
    await disk.close()
    const archive = join(folder, 'out.tar')
    await cliOk('tar-out', copy, '/', archive)
    const listing = execFileSync('tar', ['--xattrs', '--xattrs-include=*', '-tvvf', archive], {
      encoding: 'utf8',
    })
    expect(listing).toMatch(/x: +6 user\.note/)
    expect(listing).toMatch(/x: +27 security\.selinux/)
  })

  test('goes to standard output where no archive is named', async () => {
    const archive = join(temporaryFolder(), 'out.tar')
    await cliOk('tar-out', image, '/d', archive)
    // Nothing in that folder but text.
    expect(await cliOk('tar-out', `${image}:/d`)).toBe(readFileSync(archive).toString())
  })

  test('says what is wrong, and leaves no half archive', async () => {
    const archive = join(temporaryFolder(), 'out.tar')
    expect((await cli('tar-out', image, '/nowhere', archive)).status).toBe(1)
    expect((await cli('tar-out', image, '/d/file', archive)).stderr).toContain('no directory')
    expect((await cli('tar-out', image)).status).toBe(2)
    expect((await cli('tar-in', image, archive, '/')).status).toBe(1)
    expect(existsSync(archive)).toBe(false)
    const before = readFileSync(image)
    expect((await cli('tar-out', image, '/d', image)).status).toBe(1)
    expect(readFileSync(image).equals(before)).toBe(true)
    writeFileSync(archive, 'an old one', { mode: 0o600 })
    expect((await cli('tar-out', image, '/nowhere', archive)).status).toBe(1)
    expect(readFileSync(archive, 'utf8')).toBe('an old one')
    await cliOk('tar-out', image, '/d', archive)
    expect(statSync(archive).mode & 0o777).toBe(0o600)
    expect(readdirSync(dirname(archive))).toEqual(['out.tar'])
  })
})

test('what is no archive, not there or not writable is told by its name, as what it is', async () => {
  const folder = temporaryFolder()
  const text = join(folder, 'text')
  writeFileSync(text, 'no archive\n'.repeat(100))
  expect((await cli('tar-in', image, text, '/')).stderr).toMatch(/^drydisk: this is no tar archive: /)
  const missing = join(folder, 'missing.tar')
  expect((await cli('tar-in', image, missing, '/')).stderr).toBe(
    `drydisk: cannot read ${missing}: no such file\n`,
  )
  const nowhere = join(folder, 'nowhere/x.tar')
  expect((await cli('tar-out', image, '/', nowhere)).stderr).toBe(
    `drydisk: cannot create ${nowhere}: the folder ${join(folder, 'nowhere')} does not exist\n`,
  )
})
