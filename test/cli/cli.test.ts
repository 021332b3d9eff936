import { createHash } from 'node:crypto'
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { cli, cliOk } from '../support/cli.ts'
import { checkWrittenImages, temporaryFolder, writes } from '../support/native.ts'

checkWrittenImages()

let demo = ''
beforeAll(async () => {
  demo = join(temporaryFolder(), 'demo.qcow2')
  await cliOk('make-fs', '--demo', '--size', '96M', demo)
})

/** A copy of the demo guest for one test, checked when it ends. */
function image(): string {
  const path = join(temporaryFolder(), 'disk.qcow2')
  copyFileSync(demo, path)
  return writes(path, 'disk')
}

const sha = (path: string) => createHash('sha256').update(readFileSync(path)).digest('hex')

describe('make-fs', () => {
  test('makes a disk of a folder, in both formats, with and without a table', async () => {
    const folder = temporaryFolder()
    const tree = join(folder, 'tree')
    mkdirSync(join(tree, 'a/b'), { recursive: true })
    writeFileSync(join(tree, 'a/b/file'), 'content\n', { mode: 0o640 })
    for (const format of ['qcow2', 'raw'])
      for (const partition of ['gpt', 'none']) {
        const out = writes(join(folder, `${format}-${partition}`), 'disk')
        const made = await cliOk(
          'make-fs',
          tree,
          out,
          '--format',
          format,
          '--partition',
          partition,
          '--label',
          'data',
        )
        expect(made).toContain(`${format}, 64 MiB, 3 files`)
        expect(await cliOk('cat', out, '/a/b/file')).toBe('content\n')
        const info = JSON.parse(await cliOk('info', '--json', out))
        expect(info).toMatchObject({ format, table: partition, virtualSize: 64 << 20 })
        expect(info.volumes[0].filesystem).toMatchObject({ type: 'ext4', label: 'data' })
      }
  })

  test('refuses to overwrite, and leaves nothing behind when it fails', async () => {
    const folder = temporaryFolder()
    const out = join(folder, 'out.qcow2')
    writeFileSync(out, 'precious')
    expect((await cli('make-fs', '--demo', out)).status).toBe(1)
    expect(readFileSync(out, 'utf8')).toBe('precious')
    writeFileSync(join(folder, 'big'), new Uint8Array(30 << 20).fill(1))
    const failed = await cli('make-fs', '--size', '8M', folder, join(folder, 'small.raw'), '--format', 'raw')
    expect(failed).toMatchObject({ status: 1, stderr: expect.stringMatching(/^drydisk: [^\n]+\n$/) })
    expect(existsSync(join(folder, 'small.raw'))).toBe(false)
  })
})

describe('info', () => {
  test('names format, table, filesystem and guest', async () => {
    const text = await cliOk('info', demo)
    expect(text).toMatch(/^format: +qcow2 \(cluster-size 65536/m)
    expect(text).toMatch(/^\/dev\/sda1 .* ext4 UUID=/m)
    expect(text).toMatch(/^guest: +Debian GNU\/Linux 12 \(bookworm\)$/m)
    const info = JSON.parse(await cliOk('info', '--json', '-a', demo))
    expect(info).toMatchObject({
      format: 'qcow2',
      virtualSize: 96 << 20,
      table: 'gpt',
      sectorSize: 512,
      snapshots: [],
      guest: { id: 'debian', family: 'debian', version: '12', hostname: 'demo', root: '/dev/sda1' },
      warnings: [],
    })
  })

  test('works for what holds no guest', async () => {
    const path = join(temporaryFolder(), 'empty.raw')
    writeFileSync(path, new Uint8Array(1 << 20))
    const info = JSON.parse(await cliOk('info', '--json', path))
    expect(info).toMatchObject({ format: 'raw', table: 'none' })
    expect(info.guest).toBeUndefined()
    expect(info.warnings[0]).toMatch(/no root filesystem/)
  })
})

describe('ls and cat', () => {
  test('names, long lines and directories below', async () => {
    expect(await cliOk('ls', demo, '/etc/ssh')).toBe('sshd_config\nsshd_config.d\n')
    expect(await cliOk('ls', `${demo}:/etc/ssh/sshd_config`)).toBe('/etc/ssh/sshd_config\n')
    const long = await cliOk('ls', '-l', demo, '/etc')
    expect(long).toMatch(/^-rw-r----- +1 root +shadow +\d+ \d{4}-\d\d-\d\d \d\d:\d\d shadow$/m)
    expect(long).toMatch(/^lrwxrwxrwx .* os-release -> \.\.\/usr\/lib\/os-release$/m)
    expect(await cliOk('ls', '-ln', demo, '/etc')).toMatch(/^-rw-r----- +1 0 +42 +\d+ .* shadow$/m)
    expect(await cliOk('ls', '-d', '-l', demo, '/tmp')).toMatch(/^drwxrwxrwt/)
    expect(await cliOk('ls', '-R', demo, '/etc/ssh')).toBe(
      '/etc/ssh:\nsshd_config\nsshd_config.d\n\n/etc/ssh/sshd_config.d:\n50-cloud-init.conf\n',
    )
  })

  test('what is mounted from a filesystem that is not read is listed, as unknown', async () => {
    const path = writes(join(temporaryFolder(), 'esp.raw'), 'ext4')
    const folder = join(temporaryFolder(), 'guest')
    mkdirSync(join(folder, 'etc'), { recursive: true })
    mkdirSync(join(folder, 'boot/efi'), { recursive: true })
    writeFileSync(
      join(folder, 'etc/fstab'),
      '/dev/sda1 / ext4 defaults 0 1\nLABEL=ESP /boot/efi vfat defaults 0 2\n',
    )
    await cliOk('make-fs', '--partition', 'none', '--format', 'raw', folder, path)
    expect(await cliOk('ls', path, '/boot')).toBe('efi\n')
    const long = await cli('ls', '-lR', path, '/boot')
    expect(long.status).toBe(1)
    expect(long.stdout).toMatch(/^\/boot:\nd\?{9} +\? \? +\? +\? +\? efi\n$/)
    expect(
      long.stderr
        .trim()
        .split('\n')
        .filter(line => !line.includes('warning')),
    ).toHaveLength(1)
    const json = JSON.parse((await cli('ls', '--json', path, '/boot')).stdout)
    expect(json.listings[0].entries).toEqual([{ name: 'efi', type: 'directory' }])
    expect(json.errors).toHaveLength(1)
  })

  test('JSON of a listing', async () => {
    const { listings, errors } = JSON.parse(
      await cliOk('ls', '--json', '-a', demo, '/etc/ssh/', '/etc/os-release'),
    )
    expect(errors).toEqual([])
    expect(listings[0].path).toBeNull()
    expect(listings[1].path).toBe('/etc/ssh')
    expect(listings[1].entries[0]).toMatchObject({
      name: 'sshd_config',
      type: 'file',
      mode: '0644',
      uid: 0,
      gid: 0,
      nlink: 1,
      mtime: expect.stringMatching(/^\d{4}-.*Z$/),
    })
  })

  test('cat prints bytes; what is missing is said and the rest goes on', async () => {
    expect(await cliOk('cat', demo, '/etc/os-release')).toMatch(/^PRETTY_NAME="Debian/)
    const result = await cli('cat', demo, '/etc/hostname', '/nothing', '/etc/debian_version')
    expect(result).toMatchObject({ status: 1, stdout: 'demo\n12.5\n' })
    expect(result.stderr).toBe('drydisk: /nothing: no such file or directory\n')
    const json = JSON.parse((await cli('cat', '--json', demo, '/etc/hostname', '/etc')).stdout)
    expect(json.files).toEqual([{ path: '/etc/hostname', size: 5, text: 'demo\n' }])
    expect(json.errors).toEqual([{ path: '/etc', code: 'EISDIR', message: '/etc: is a directory' }])
  })
})

describe('exit status and messages', () => {
  test.each([
    [['cat'], 2, /which image/],
    [['cat', 'IMAGE'], 2, /which file/],
    [['info', '-a', 'IMAGE', 'other'], 2, /one image at a time/],
    [['nonsense'], 2, /unknown command/],
    [['ls', '--nonsense', 'IMAGE'], 2, /unknown option.*\n\(drydisk ls --help tells more\)\n$/],
    [['rm', 'IMAGE'], 2, /remove what/],
    [['customize', 'IMAGE'], 2, /nothing to do/],
    [['customize', 'IMAGE', '--chmod', 'rw:/etc/motd'], 2, /octal/],
    [['customize', 'IMAGE', '--password', 'root:file:/no/such/file'], 2, /cannot be read/],
    [['customize', 'IMAGE', '--root-password', 'env:DRYDISK_NO_SUCH'], 2, /no variable DRYDISK_NO_SUCH/],
    [['cp', 'a', 'b'], 2, /neither side is in an image/],
    [['ls', '--format', 'vmdk', 'IMAGE'], 2, /expected raw, qcow2 or auto/],
    [['cat', '/no/such/image', '/x'], 1, /no such file/i],
    [['cat', 'IMAGE', '/no'], 1, /no such file/],
    [['cat', '--root', '/dev/sda9', 'IMAGE', '/x'], 1, /no volume \/dev\/sda9/],
    [['mkdir', 'IMAGE', '/etc'], 1, /exists already/],
  ])('%j exits %i', async (args, status, message) => {
    const before = sha(demo)
    const result = await cli(...args.map(word => word.replace('IMAGE', demo)))
    expect(result).toMatchObject({ status, stdout: '', stderr: expect.stringMatching(message) })
    expect(result.stderr).toMatch(/^drydisk: /)
    expect(sha(demo)).toBe(before)
  })

  test('--json gives errors as JSON', async () => {
    const { status, stdout, stderr } = await cli('rm', '--json', demo, '/nothing')
    expect({ status, stderr }).toEqual({ status: 1, stderr: '' })
    expect(JSON.parse(stdout)).toEqual({
      error: {
        code: 'ENOENT',
        message: '/nothing: no such file or directory',
        context: expect.objectContaining({ path: '/nothing' }),
      },
    })
  })

  test('--json gives a wrong command line as JSON, too', async () => {
    for (const words of [
      ['info', '--json', '--bogus'],
      ['frobnicate', '--json'],
      ['info', '--json'],
    ]) {
      const { status, stdout, stderr } = await cli(...words)
      expect([status, stderr], words.join(' ')).toEqual([2, ''])
      expect(JSON.parse(stdout).error).toMatchObject({ code: 'ERR_INVALID_ARGUMENT', context: {} })
    }
  })

  test('every command has help with examples, and --version is that of the package', async () => {
    for (const name of ['info', 'ls', 'cat', 'edit', 'cp', 'rm', 'mkdir', 'customize', 'make-fs']) {
      const { status, stdout } = await cli(name, '--help')
      expect(status).toBe(0)
      expect(stdout).toMatch(/Examples:\n {2}drydisk/)
      expect(stdout).not.toContain('preset')
      expect((await cli('help', name)).stdout).toBe(stdout)
    }
    const { version } = JSON.parse(readFileSync('package.json', 'utf8'))
    expect(await cliOk('--version')).toBe(`${version}\n`)
  })
})

describe('edit, rm, mkdir', () => {
  test('edits in place, and says what changed', async () => {
    const path = image()
    const before = JSON.parse(await cliOk('ls', '--json', '-d', path, '/etc/default/grub')).listings[0]
      .entries[0]
    const out = await cliOk('edit', path, '/etc/default/grub', '-e', 's/^GRUB_TIMEOUT=.*/GRUB_TIMEOUT=1/')
    expect(out).toMatch(/GRUB_TIMEOUT=5 → GRUB_TIMEOUT=1/)
    expect(await cliOk('cat', path, '/etc/default/grub')).toContain('\nGRUB_TIMEOUT=1\n')
    const after = JSON.parse(await cliOk('ls', '--json', '-d', path, '/etc/default/grub')).listings[0]
      .entries[0]
    expect(after.ino).toBe(before.ino)
  })

  test('an editor edits a copy; its failure changes nothing', async () => {
    const path = image()
    const { EDITOR, VISUAL } = process.env
    try {
      delete process.env.VISUAL
      process.env.EDITOR = "sed -i -e 's/demo/edited/'"
      expect(await cliOk('edit', path, '/etc/hostname')).toContain('5 bytes → 7 bytes')
      expect(await cliOk('cat', path, '/etc/hostname')).toBe('edited\n')
      process.env.EDITOR = 'false'
      const before = sha(path)
      expect(await cli('edit', path, '/etc/hostname')).toMatchObject({ status: 1 })
      expect(sha(path)).toBe(before)
    } finally {
      if (EDITOR === undefined) delete process.env.EDITOR
      else process.env.EDITOR = EDITOR
      if (VISUAL !== undefined) process.env.VISUAL = VISUAL
    }
  })

  test('either every path goes or none', async () => {
    const path = image()
    const before = sha(path)
    expect((await cli('rm', path, '/etc/motd', '/nothing')).status).toBe(1)
    expect((await cli('rm', path, '/etc/motd', '/etc/ssh')).status).toBe(1)
    expect(sha(path)).toBe(before)
    await cliOk('rm', '-rf', path, '/etc/motd', '/nothing', '/etc/ssh')
    expect(await cliOk('ls', path, '/etc')).not.toMatch(/motd|ssh/)
    await cliOk('mkdir', '-p', '-m', '750', path, '/srv/a/b')
    expect(await cliOk('ls', '-ld', path, '/srv/a/b')).toMatch(/^drwxr-x---/)
  })

  test('nothing is left beside the image', async () => {
    const path = image()
    await cliOk('mkdir', path, '/srv')
    expect(readdirSync(join(path, '..'))).toEqual(['disk.qcow2'])
  })
})
