import { createHash } from 'node:crypto'
import { createReadStream, existsSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { run, runOk, temporaryFolder } from '../support/native.ts'
import {
  copySparse,
  differences,
  discard,
  haveScripts,
  main,
  out,
  scratch,
  scripts,
  toRaw,
  type WalkRow,
  withPartition,
} from './real-images.ts'

const BOOT = 1
const ROOT = 2

const drydisk = (...args: string[]) => runOk(process.execPath, [main, ...args])

async function sha(path: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer)
  return hash.digest('hex')
}

async function walk(loop: string, options: string, prefix: string): Promise<[string, WalkRow][]> {
  const top = temporaryFolder()
  await runOk('mount', ['-o', options, loop, top])
  try {
    const lines = await runOk('python3', ['test/real/walk.py', top])
    const rows = lines
      .trimEnd()
      .split('\n')
      .map(line => JSON.parse(line) as WalkRow)
    return rows.map(row => [prefix + row.path, row])
  } finally {
    await runOk('umount', [top])
  }
}

/** The word of xfs_repair and e2fsck on both filesystems, and their trees as the kernel mounts them. A dirty log is replayed in the file. */
async function judged(raw: string, dirty = false): Promise<Map<string, WalkRow>> {
  const rows = await withPartition(
    raw,
    ROOT,
    loop => walk(loop, dirty ? 'noatime,nouuid' : 'ro,nouuid', ''),
    !dirty,
  )
  await withPartition(raw, ROOT, async loop => {
    await runOk('xfs_repair', ['-n', loop])
  })
  const boot = await withPartition(
    raw,
    BOOT,
    async loop => {
      if (dirty) await run('e2fsck', ['-fp', loop])
      await runOk('e2fsck', ['-fn', loop])
      return walk(loop, 'ro', '/boot:')
    },
    !dirty,
  )
  return new Map([...rows, ...boot])
}

const guideEdits = [
  ...['--serial-console', '--kernel-arg', 'net.ifnames=1'],
  ...['--sshd', 'PermitRootLogin=yes', '--sshd', 'PasswordAuthentication=yes', '--qemu-ga'],
  ...['--cloud-init', 'datasource_list=[ConfigDrive, OpenStack]', '--no-zeroconf'],
  ...['--root-password', 'password:drydisk-real', '--write', '/etc/drydisk-note:from outside'],
]

const content = (path: string) => ['ctime', 'mtime', 'sha256', 'size'].map(field => `${field} ${path}`)
const added = (directory: string) => ['ctime', 'mtime', 'size'].map(field => `${field} ${directory}`)

/** Everything that the edits may change, by the kernel's word. Anything else is a bug. */
const ALLOWED = [
  ...['/etc/default/grub', '/boot:/grub/grub.cfg', '/boot:/grub/grubenv', '/etc/shadow'].flatMap(content),
  ...['/etc/sysconfig/network', '/etc/sysconfig/qemu-ga'].flatMap(content),
  ...['/etc', '/etc/ssh/sshd_config.d', '/etc/cloud/cloud.cfg.d', '/etc/sysconfig', '/etc/kernel'].flatMap(
    added,
  ),
  ...['/etc/ssh/sshd_config.d/00-drydisk.conf', '/etc/cloud/cloud.cfg.d/99-zz-drydisk.cfg'].map(
    path => `+ ${path}`,
  ),
  '+ /etc/drydisk-note',
]

describe.runIf(haveScripts).each([
  ['debian-xfs', 'xfs'],
  ['rhel-xfs', 'rhel'],
])('%s is edited', (name, kind) => {
  let folder = ''
  const original = join(out, `${name}.qcow2`)
  beforeAll(async () => {
    if (!existsSync(original)) await runOk('bash', [join(scripts, 'build-debian.sh'), out, kind])
    folder = scratch()
  })
  afterAll(() => discard(folder))

  const boots = (image: string, ...commands: string[]) =>
    runOk('bash', [
      ...[
        join(scripts, 'boot.sh'),
        image,
        '--log',
        join(folder, 'console.txt'),
        '--password',
        'drydisk-real',
      ],
      ...commands.flatMap(command => ['--cmd', command]),
    ])

  it('as qcow2 and as raw: nothing else changes, and it boots', async () => {
    const before = await judged(await toRaw(original, join(folder, 'before.raw')))
    for (const format of ['raw', 'qcow2']) {
      const image = join(folder, `edited.${format}`)
      if (format === 'raw') await toRaw(original, image)
      else await copySparse(original, image)
      await drydisk('customize', image, ...guideEdits)
      if (format === 'qcow2') await runOk('qemu-img', ['check', '-q', image])
      const found = differences(before, await judged(await toRaw(image, join(folder, 'after.raw'))))
      expect(found.filter(line => !ALLOWED.includes(line))).toEqual([])
      expect(found).toContain('sha256 /etc/shadow')
      expect(found).toContain('+ /etc/drydisk-note')
      if (format === 'raw') await runOk('rm', [image])
    }
    const said = await boots(
      join(folder, 'edited.qcow2'),
      'cat /etc/drydisk-note; cat /proc/cmdline; sshd -T | grep -i ^permitrootlogin',
      'dmesg | grep -i "xfs.*\\(corrupt\\|error\\|shutdown\\)" | wc -l',
    )
    expect(said).toContain('from outside')
    expect(said).toMatch(/net\.ifnames=1/)
    expect(said).toMatch(/permitrootlogin yes/i)
    expect(said).toMatch(/^0\r?$/m)
  })

  it('is made ready for OpenStack: doctor, apply, doctor --fix, sysprep, sparsify; a second time changes nothing', async () => {
    const image = await copySparse(original, join(folder, 'openstack.qcow2'))
    expect((await run(process.execPath, [main, 'doctor', image])).status).toBe(1)
    await drydisk('apply', kind === 'rhel' ? 'openstack-centos' : 'openstack-ubuntu', image)
    await drydisk('doctor', '--fix', image)
    await drydisk('sysprep', image)
    const prepared = await sha(image)
    expect(await drydisk('sysprep', image)).toBe('sysprep: nothing to change\n')
    await drydisk('doctor', '--fix', image)
    expect(await sha(image)).toBe(prepared)
    await drydisk('sparsify', image)
    await runOk('qemu-img', ['check', '-q', image])
    const tree = await judged(await toRaw(image, join(folder, 'ready.raw')))
    expect(tree.get('/etc/machine-id')?.size).toBe(0)
    await drydisk('customize', image, '--root-password', 'password:drydisk-real')
    expect(await boots(image, 'hostname; systemctl is-system-running --wait; echo up')).toMatch(/^up\r?$/m)
  })
})

describe.runIf(haveScripts)('debian-xfs that was killed', () => {
  let folder = ''
  const original = join(out, 'debian-xfs-dirty.qcow2')
  beforeAll(async () => {
    if (!existsSync(original)) await runOk('bash', [join(scripts, 'make-dirty.sh'), out, 'debian-xfs'])
    folder = scratch()
  })
  afterAll(() => discard(folder))

  it('has its log replayed, is edited and boots', async () => {
    const raw = await toRaw(original, join(folder, 'before.raw'))
    const before = await judged(raw, true)
    const image = await copySparse(original, join(folder, 'edited.qcow2'))
    await drydisk('customize', image, ...guideEdits)
    const found = differences(before, await judged(await toRaw(image, join(folder, 'after.raw'))))
    expect(found.filter(line => !ALLOWED.includes(line))).toEqual([])
    const said = await runOk('bash', [
      ...[join(scripts, 'boot.sh'), image, '--log', join(folder, 'console.txt')],
      ...['--password', 'drydisk-real', '--cmd', 'cat /etc/drydisk-note'],
    ])
    expect(said).toContain('from outside')
  })
})
