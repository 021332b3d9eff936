import { createHash } from 'node:crypto'
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, expect, test } from 'vitest'
import { cli, cliOk } from '../support/cli.ts'
import { checkWrittenImages, runOk, temporaryFolder, writes } from '../support/native.ts'

checkWrittenImages()

let demo = ''
beforeAll(async () => {
  demo = join(temporaryFolder(), 'demo.qcow2')
  await cliOk('make-fs', '--demo', '--size', '96M', demo)
  const log = join(temporaryFolder(), 'syslog')
  writeFileSync(log, 'first\nsecond\nthird\n')
  const edits = [
    `--upload=${log}:/var/log/syslog`,
    '--write=/etc/ssh/ssh_host_rsa_key:k',
    '--write=/root/.bash_history:h',
  ]
  await cliOk(
    'customize',
    demo,
    ...edits,
    '--mkdir=/home/debian/.ssh',
    '--write=/etc/machine-id:0123456789abcdef0123456789abcdef',
  )
})

function image(): string {
  const path = join(temporaryFolder(), 'disk.qcow2')
  copyFileSync(demo, path)
  return writes(path, 'disk')
}

const sha = (path: string) => createHash('sha256').update(readFileSync(path)).digest('hex')

test('removals, edits, the machine ID; then nothing, and no byte is written', async () => {
  const path = image()
  const out = await cliOk('sysprep', path, '--hostname', 'template', '--write', '/etc/machine-id:again')
  expect(out).toContain('bash-history: file: 1 byte → (none)  (/root/.bash_history)\n')
  expect(out).toContain('hostname: hostname: demo → template')
  expect(out).toMatch(/machine-id: machine ID: 5 bytes → empty {2}\(\/etc\/machine-id\)\n$/)
  expect(await cliOk('cat', path, '/etc/machine-id')).toBe('')
  expect((await cli('cat', path, '/root/.bash_history')).status).toBe(1)
  const before = sha(path)
  expect(await cliOk('sysprep', path)).toBe('sysprep: nothing to change\n')
  expect(sha(path)).toBe(before)
})

test('a dry run writes nothing, and says what would go', async () => {
  const path = image()
  const before = sha(path)
  const out = await cliOk('sysprep', path, '-n')
  expect(out).toContain('ssh-hostkeys: file: 1 byte → (none)')
  expect(out).toContain('Nothing was written (dry run).')
  expect(sha(path)).toBe(before)
  await runOk('qemu-img', ['compare', path, demo])
})

test('operations are chosen as with virt-sysprep', async () => {
  const path = image()
  const report = JSON.parse(
    await cliOk(
      'sysprep',
      path,
      '--operations',
      'bash-history,machine-id',
      '--operation',
      '-machine-id',
      '--json',
    ),
  )
  expect(report.operations).toEqual([
    {
      operation: 'bash-history',
      changes: [{ setting: 'file', before: '1 byte', after: null, file: '/root/.bash_history' }],
      warnings: [],
    },
  ])
  await cliOk('sysprep', path, '--enable', 'ssh-hostkeys', '-q')
  expect((await cli('cat', path, '/etc/ssh/ssh_host_rsa_key')).status).toBe(1)
})

test('filesystems get new UUIDs, and the boot their names', async () => {
  const path = image()
  const uuid = async () => /UUID=([0-9a-f-]{36})/.exec(await cliOk('info', path))?.[1]
  const before = await uuid()
  const untouched = sha(path)
  expect(await cliOk('sysprep', path, '--operations', 'fs-uuids', '-n')).toContain('UUID of ext4')
  expect(sha(path)).toBe(untouched)
  await cliOk('sysprep', path, '--operations', 'fs-uuids')
  const after = await uuid()
  expect(after).not.toBe(before)
  expect(await cliOk('cat', path, '/etc/fstab')).toContain(`UUID=${after} / `)
  const info = JSON.parse(await cliOk('info', path, '--json'))
  expect(JSON.stringify(info)).not.toContain(before)
})

test('what is wrong with the command line is said before the image is opened', async () => {
  const before = sha(demo)
  for (const [args, message] of [
    [['--operations', 'nonsense'], /no operation "nonsense"/],
    [['--script', 'x.sh'], /--script is refused/],
    [['--enable', 'defaults'], /--enable takes names/],
    [['--enable', 'utmp', '--operations', 'utmp'], /exclude each other/],
    [['--keep-user-accounts', 'a,,b'], /empty user name/],
    [['--remove-user-accounts', 'a'], /user-account is not among the operations/],
  ] as const) {
    const result = await cli('sysprep', demo, ...args)
    expect([result.status, result.stderr], args.join(' ')).toEqual([2, expect.stringMatching(message)])
  }
  expect(sha(demo)).toBe(before)
})

test('the list marks defaults', async () => {
  const lines = (await cliOk('sysprep', '--list')).split('\n')
  expect(lines).toContainEqual(expect.stringMatching(/^bash-history \* /))
  expect(lines).toContainEqual(expect.stringMatching(/^firewall-rules {3}/))
  expect(await cliOk('sysprep', '--list-operations')).toBe(lines.join('\n'))
  const entries = JSON.parse(await cliOk('sysprep', '--list', '--json'))
  expect(entries).toContainEqual(expect.objectContaining({ name: 'random-seed', default: true, ours: true }))
})

test('log prints the log of a guest', async () => {
  expect(await cliOk('log', demo)).toBe('first\nsecond\nthird\n')
  expect(await cliOk('log', demo, '--lines', '1')).toBe('third\n')
  expect(await cliOk('log', demo, 'syslog', '-n', '2', '--json')).toBe(
    '{"file":"/var/log/syslog","text":"second"}\n{"file":"/var/log/syslog","text":"third"}\n',
  )
  expect((await cli('log', demo, 'journal')).stderr).toMatch(/keeps no journal/)
  expect((await cli('log', demo, 'missing.log')).status).toBe(1)
})
