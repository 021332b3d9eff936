import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { copyFileSync, existsSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { beforeAll, describe, expect, test, vi } from 'vitest'
import { cli, cliOk } from '../support/cli.ts'
import { checkWrittenImages, runOk, temporaryFolder, writes } from '../support/native.ts'

checkWrittenImages()

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

const sha = (path: string) => createHash('sha256').update(readFileSync(path)).digest('hex')
const KEY = `ssh-ed25519 ${Buffer.concat([Buffer.from([0, 0, 0, 11]), Buffer.from('ssh-ed25519'), Buffer.from([0, 0, 0, 32]), Buffer.alloc(32, 7)]).toString('base64')} me@test`

const guideEdits = [
  '--serial-console',
  '--kernel-arg',
  'net.ifnames=0',
  '--sshd',
  'PermitRootLogin=yes',
  '--sshd',
  'PasswordAuthentication=yes',
  '--qemu-ga',
  '--cloud-init',
  'datasource_list=[ConfigDrive, OpenStack]',
  '--no-zeroconf',
  '--root-password',
  'password:secret',
  '--ssh-inject',
  `debian:string:${KEY}`,
]

test('a command line for virt-customize: what has no meaning is passed over, what cannot be done says why', async () => {
  const path = image()
  const common = ['--no-network', '--memsize', '1024', '--smp', '2', '--no-logfile', '-v', '-x']
  await cliOk('customize', '-a', path, ...common, '--touch', '/etc/touched')
  await cliOk('sysprep', '-a', path, ...common, '--no-selinux-relabel', '--enable', 'machine-id')
  for (const [option = '', ...value] of [
    ['--sm-register'],
    ['--sm-attach', 'auto'],
    ['-d', 'name'],
    ['--attach', 'x.iso'],
  ]) {
    const { status, stderr } = await cli('customize', '-a', path, option, ...value, '--touch', '/etc/x')
    expect(status).toBe(2)
    expect(stderr).toMatch(/^drydisk: --[\w-]+ is refused: /)
  }
})

test.each(['qcow2', 'raw'])(
  'the edits of the guides on %s, then again: the second run writes nothing',
  async format => {
    const path = format === 'qcow2' ? image() : writes(join(temporaryFolder(), 'disk.raw'), 'disk')
    if (format === 'raw') await cliOk('make-fs', '--demo', '--size', '96M', '--format', 'raw', path)
    const out = await cliOk('customize', path, ...guideEdits)
    expect(out).toMatch(
      /^sshd: PermitRootLogin: .* → yes {2}\(\/etc\/ssh\/sshd_config\.d\/00-drydisk\.conf:\d+\)$/m,
    )
    expect(out).not.toContain('secret')
    expect(await cliOk('cat', path, '/etc/shadow')).toMatch(/^root:\$6\$[^:]+:/)
    expect(await cliOk('cat', path, '/boot/grub/grub.cfg')).toMatch(
      /ro console=tty0 console=ttyS0,115200n8 net\.ifnames=0 quiet$/m,
    )
    expect(await cliOk('cat', path, '/home/debian/.ssh/authorized_keys')).toBe(`${KEY}\n`)
    expect(await cliOk('ls', '-ldn', path, '/home/debian/.ssh')).toMatch(/^drwx------ +2 1000 +1000/)
    const before = sha(path)
    const again = await cliOk('customize', path, ...guideEdits.slice(0, -4), ...guideEdits.slice(-2))
    expect(again.trim().split('\n')).toHaveLength(7)
    for (const line of again.trim().split('\n'))
      expect(line).toMatch(/^[\w-]+: nothing to change: .*\(\/etc|^ssh-inject: nothing to change: .*\(\/home/)
    expect(sha(path)).toBe(before)
  },
)

test('--dry-run shows the diff of exactly what the run then does, and writes nothing', async () => {
  const path = image()
  const before = sha(path)
  const text = await cliOk(
    'customize',
    '--dry-run',
    path,
    ...guideEdits,
    '--touch',
    '/etc/new',
    '--delete',
    '/etc/motd',
  )
  expect(sha(path)).toBe(before)
  expect(readdirSync(join(path, '..'))).toEqual(['disk.qcow2'])
  expect(text).toContain('--- a/etc/default/grub\n+++ b/etc/default/grub\n')
  expect(text).toContain('+root:(hidden, new):')
  expect(text).toMatch(/^ {2}removed file \/etc\/motd$/m)
  expect(text).toMatch(/^ {2}created file \/etc\/new \(mode 0644, owner 0:0, 0 bytes\)$/m)
  expect(text).toMatch(/Nothing was written/)
  const json = JSON.parse(await cliOk('customize', '-n', '--json', '-a', path, ...guideEdits))
  expect(json).toMatchObject({ image: path, dryRun: true })
  expect(json.operations.map((one: { operation: string }) => one.operation)).toContain('root-password')
  const grub = json.files.find((one: { path: string }) => one.path === '/etc/default/grub')
  expect(grub).toMatchObject({
    kind: 'changed',
    type: 'file',
    aspects: ['content'],
    diff: expect.stringContaining('@@'),
  })

  // The diff, applied to the guest's files by patch(1), gives what the run makes of them.
  const folder = temporaryFolder()
  await cliOk('cp', `${path}:/.`, folder)
  writeFileSync(join(folder, 'p'), grub.diff)
  await runOk('patch', ['-p1', '-d', folder, '-i', join(folder, 'p')])
  await cliOk('customize', path, ...guideEdits)
  expect(readFileSync(join(folder, 'etc/default/grub'), 'utf8')).toBe(
    await cliOk('cat', path, '/etc/default/grub'),
  )
})

test('edits run in the order given, and an error leaves the image as it was', async () => {
  const path = image()
  await cliOk('customize', path, '--write', '/etc/x:one', '--copy', '/etc/x:/etc/y', '--write', '/etc/x:two')
  expect(await cliOk('cat', path, '/etc/x', '/etc/y')).toBe('twoone')
  const before = sha(path)
  const failed = await cli('customize', path, '--write', '/etc/x:three', '--move', '/nothing:/etc/z')
  expect(failed).toMatchObject({ status: 1, stdout: '' })
  expect(sha(path)).toBe(before)
})

test('an error names the edit that it comes from; what is wrong with a value is found before the image is opened', async () => {
  const path = image()
  expect(await cli('customize', path, '--touch', '/a', '--chmod', '0600:/nothing')).toMatchObject({
    status: 1,
    stderr: 'drydisk: chmod: /nothing: no such file or directory\n',
  })
  const gone = await cli('customize', '--json', path, '--copy', '/nowhere/f:/etc')
  expect(JSON.parse(gone.stdout).error).toMatchObject({
    code: 'ENOENT',
    message: expect.stringMatching(/^copy: /),
  })
  for (const edit of [
    ['--edit', '/etc/hosts:s/(/x/'],
    ['--edit', '/etc/hosts:tr/a/b/'],
    ['--root-password', 'word'],
    ['--root-password', 'password:'],
    ['--kernel-arg', 'a b'],
  ])
    expect((await cli('customize', '/nowhere/disk.qcow2', ...edit)).status, edit.join(' ')).toBe(2)
  expect((await cli('edit', '/nowhere/disk.qcow2', '/etc/hosts', '-e', 'tr/a/b/')).status).toBe(2)
  const escaped = await cli('customize', path, '--edit', '/etc/\x1b[31m:s/a/b/')
  expect(escaped.stderr).toContain('/etc/\\x1b[31m')
})

test('a file that is uploaded keeps its permissions', async () => {
  const path = image()
  const local = join(temporaryFolder(), 'script')
  writeFileSync(local, '#!/bin/sh\n', { mode: 0o750 })
  await cliOk('customize', path, '--upload', `${local}:/usr/bin/script`)
  expect(await cliOk('ls', '-ln', path, '/usr/bin/script')).toMatch(/^-rwxr-x--- +1 0 +0 /)
})

test('the options of virt-customize', async () => {
  const path = image()
  const folder = temporaryFolder()
  const local = join(folder, 'with:colon')
  writeFileSync(local, 'uploaded\n')
  await cliOk(
    ...['customize', path],
    ...['--mkdir', '/opt/a/b', '--upload', `${local}:/opt/a/f`, '--copy-in', `${local}:/opt`],
    ...[
      '--append-line',
      '/etc/hosts:192.0.2.1 new',
      '--chmod',
      '0600:/opt/a/f',
      '--chown',
      '1000:debian:/opt/a/f',
    ],
    ...[
      '--link',
      '/opt/a/f:/opt/l1:/opt/l2',
      '--edit',
      '/etc/default/grub:s/quiet/loud/',
      '--hostname',
      'web1',
    ],
    ...[
      '--timezone',
      'Europe/Berlin',
      '--truncate',
      '/etc/motd',
      '--delete',
      '/etc/cloud/*.d',
      '--touch',
      '/etc/t',
    ],
    ...['--password', 'debian:locked:password:x', '--quiet'],
  )
  const long = await cliOk('ls', '-l', path, '/opt', '/opt/a', '/etc/localtime')
  expect(long).toMatch(/^-rw------- +1 debian +debian +9 .* f$/m)
  expect(long).toMatch(/l2 -> \/opt\/a\/f$/m)
  expect(long).toMatch(/with:colon$/m)
  expect(long).toMatch(/zoneinfo\/Europe\/Berlin$/m)
  expect(await cliOk('cat', path, '/etc/hosts')).toMatch(/192\.0\.2\.1 new\n$/)
  expect(await cliOk('cat', path, '/etc/hostname', '/etc/motd')).toBe('web1\n')
  expect(await cliOk('cat', path, '/etc/shadow')).toMatch(/^debian:!\$6\$/m)
  expect(await cliOk('ls', path, '/etc/cloud')).toBe('cloud.cfg\n')
})

describe('secrets', () => {
  test('come from a file, the environment, a file of commands', async () => {
    const path = image()
    const folder = temporaryFolder()
    writeFileSync(join(folder, 'secret'), 'from-file\nsecond line\n')
    writeFileSync(
      join(folder, 'commands'),
      `# comment\n\nroot-password file:${join(folder, 'secret')}\n  write /etc/a:with spaces  \nqemu-ga\nedit /etc/hostname:\\\n  s/^/new-/\n`,
    )
    process.env.DRYDISK_TEST_SECRET = 'from-environment'
    try {
      const out = await cliOk(
        ...['customize', path, '--commands-from-file', join(folder, 'commands')],
        ...['--password', 'debian:env:DRYDISK_TEST_SECRET'],
      )
      expect(out).not.toMatch(/from-/)
    } finally {
      delete process.env.DRYDISK_TEST_SECRET
    }
    const shadow = await cliOk('cat', path, '/etc/shadow')
    for (const [user, secret] of [
      ['root', 'from-file'],
      ['debian', 'from-environment'],
    ]) {
      const hash = new RegExp(`^${user}:([^:]+):`, 'm').exec(shadow)?.[1] ?? ''
      const salt = hash.split('$')[2] ?? ''
      expect((await runOk('openssl', ['passwd', '-6', '-salt', salt, '-stdin'], `${secret}\n`)).trim()).toBe(
        hash,
      )
    }
    expect(await cliOk('cat', path, '/etc/a', '/etc/hostname')).toBe('with spaces  new-demo\n')
    const hash = await cli('customize', path, '--root-password', 'hash:')
    expect(hash).toMatchObject({ status: 1, stderr: expect.stringContaining('not a hash') })
    const two = await cli('customize', '-a', path, '-a', path, '--touch', '/a')
    expect(two).toMatchObject({ status: 2, stderr: expect.stringContaining('one image at a time') })
  })

  test('never show in messages', async () => {
    const result = await cli('customize', demo, '--root-password', 'pasword:hunter2')
    expect(result.status).not.toBe(0)
    expect(result.stdout + result.stderr).not.toContain('hunter2')
  })
})

describe('the process', () => {
  let main = ''
  beforeAll(async () => {
    // Under the project, so that packages are found.
    const dist = join(temporaryFolder(), 'dist')
    await runOk('npx', ['tsc', '-p', 'tsconfig.build.json', '--outDir', dist])
    await runOk('ln', ['-s', resolve('node_modules'), join(dist, '../node_modules')])
    copyFileSync('package.json', join(dist, '../package.json'))
    main = join(dist, 'cli/main.js')
  })

  test('a random password is shown even with --quiet, and by a dry run not at all', async () => {
    const path = image()
    const dry = await cliOk('customize', '-n', path, '--root-password', 'random')
    expect(dry).toContain('→ a random password  (/etc/shadow:1)')
    const json = JSON.parse(await cliOk('customize', '-n', '--json', path, '--root-password', 'random'))
    expect(json.operations[0].changes[0].after).toBe('a random password')
    const quiet = await cliOk('customize', '-q', path, '--touch', '/a', '--root-password', 'random')
    expect(quiet).toMatch(/^root-password: password of root: .* → \w{16} {2}\(\/etc\/shadow:1\)\n.*\n$/)
  })

  test('standard input gives secrets line by line', async () => {
    const path = image()
    const args = ['customize', path, '--root-password', 'stdin', '--password', 'debian:-', '-q']
    await runOk(process.execPath, [main, ...args], 'first\nsecond\n')
    const shadow = await cliOk('cat', path, '/etc/shadow')
    const salt = /^debian:\$6\$([^$]+)/m.exec(shadow)?.[1] ?? ''
    expect(shadow).toContain((await runOk('openssl', ['passwd', '-6', '-salt', salt, 'second'])).trim())
  })

  test('Ctrl-C before the commit leaves the image as it was, and nothing beside it', async () => {
    const path = image()
    const before = sha(path)
    // The source of the copy never ends, so the signal comes before the commit.
    const folder = temporaryFolder()
    await runOk('mkfifo', [join(folder, 'fifo')])
    const child = spawn(process.execPath, [
      main,
      'customize',
      path,
      '--write',
      '/etc/x:new',
      '--upload',
      `${join(folder, 'fifo')}:/etc/y`,
    ])
    await new Promise<void>(done => {
      const timer = setInterval(() => {
        if (readdirSync(join(path, '..')).length > 1) {
          clearInterval(timer)
          setTimeout(done, 500)
        }
      }, 20)
    })
    const exited = new Promise<string | null>(done => child.on('exit', (_, signal) => done(signal)))
    child.kill('SIGINT')
    expect(await exited).toBe('SIGINT')
    expect(sha(path)).toBe(before)
    expect(readdirSync(join(path, '..'))).toEqual(['disk.qcow2'])
  })

  test('Ctrl-C while an editor runs is for the editor', async () => {
    const path = image()
    const folder = temporaryFolder()
    const editor = join(folder, 'editor')
    const started = join(folder, 'started')
    writeFileSync(editor, `#!/bin/sh\ntrap '' INT\n: > ${started}\nsleep 1\necho edited > "$1"\n`, {
      mode: 0o755,
    })
    const env = { ...process.env, VISUAL: editor }
    const child = spawn(process.execPath, [main, 'edit', path, '/etc/motd'], { env, detached: true })
    const exited = new Promise<number | null>(done => child.on('exit', status => done(status)))
    await vi.waitUntil(() => existsSync(started), { timeout: 10_000 })
    // As a terminal does: to every process of the foreground group.
    process.kill(-(child.pid ?? 0), 'SIGINT')
    expect(await exited).toBe(0)
    expect(await cliOk('cat', path, '/etc/motd')).toBe('edited\n')
  })

  test('a reader that leaves early is no error', async () => {
    const out = await runOk('bash', [
      '-c',
      `set -o pipefail; '${process.execPath}' '${main}' ls -lR '${demo}' / | head -n 1`,
    ])
    expect(out).toBe('/:\n')
  })
})

test('an option whose value may be left out takes none from the word behind it', async () => {
  const path = image()
  const out = await cliOk('customize', '--qemu-ga', path, '--serial-console', '--touch', '/etc/x', '-n', '-q')
  expect(out).toBe('')
  await cliOk('customize', '--serial-console=ttyS1,9600', '--qemu-ga', path)
  expect(await cliOk('cat', path, '/etc/default/grub')).toContain('console=ttyS1,9600')
})

test('a value that was empty shows as such', async () => {
  expect(await cliOk('customize', image(), '--group-member', 'root:root', '-n')).toMatch(
    /: members of group root: \(empty\) → root /,
  )
})

test('a value of its own is taken by options whose form has brackets', async () => {
  const path = image()
  expect((await cli('customize', path, '--keymap', 'de:x:y', '--mirror', 'nowhere', '-n')).stderr).toMatch(
    /^drydisk: --(?:keymap: "x:y"|mirror: "nowhere") is not /,
  )
})

test('files of the host that are missing, or far too large for a text, are told of before the image is opened', async () => {
  const large = join(temporaryFolder(), 'large.yaml')
  writeFileSync(large, '')
  truncateSync(large, 2 ** 30)
  for (const [option, value] of [
    ['--commands-from-file', large],
    ['--root-password', `file:${large}`],
    ['--install', '/no/such.deb'],
    ['--upload', '/no/such:/x'],
    ['--copy-in', '/no/such:/'],
    ['--tar-in', '/no/such:/'],
  ] as const) {
    const { status, stderr } = await cli('customize', 'no.qcow2', option, value)
    expect(stderr).toMatch(
      /^drydisk: .*cannot be read: (?:has 1073741824 bytes, too many for a file of text.*|no such file)\n$/,
    )
    expect(status).toBe(2)
  }
  for (const args of [
    [large, 'no.qcow2'],
    ['--vars', large, 'growroot', 'no.qcow2'],
  ])
    expect((await cli('apply', ...args)).stderr).toMatch(/too many for a file of text/)
})
