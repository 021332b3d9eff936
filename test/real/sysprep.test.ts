import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { haveTool, run, runOk } from '../support/native.ts'
import {
  build,
  copySparse,
  differences,
  discard,
  haveScripts,
  kernelWalk,
  main,
  out,
  scratch,
  scripts,
  toRaw,
  type WalkRow,
  withPartition,
} from './real-images.ts'

async function sha(path: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer)
  return hash.digest('hex')
}

/** Times and links of a folder follow from what is in it. */
const content = (lines: readonly string[]) =>
  lines.filter(line => !/^(ctime|mtime|atime|nlink|size) /.test(line) || /^size .*machine-id/.test(line))

describe.runIf(haveScripts)('sysprep on an image that was booted', () => {
  let folder = ''
  let before: Map<string, WalkRow>
  const booted = join(out, 'debian-ext4-booted.qcow2')

  const walk = async (image: string) => {
    const raw = await toRaw(image, join(folder, 'walked.raw'))
    try {
      return await kernelWalk(raw)
    } finally {
      await runOk('rm', [raw])
    }
  }

  beforeAll(async () => {
    await build()
    folder = scratch()
    before = await walk(booted)
  })
  afterAll(() => discard(folder))

  it('removes what it says, by the word of the kernel, and nothing the second time', async () => {
    const image = await copySparse(booted, join(folder, 'prepared.qcow2'))
    const report = JSON.parse(await runOk(process.execPath, [main, 'sysprep', image, '--json'])) as {
      operations: { changes: { file: string }[] }[]
    }
    await runOk('qemu-img', ['check', image])
    const told = report.operations.flatMap(operation => operation.changes.map(change => change.file))
    const found = content(differences(before, await walk(image)))
    const untold = found.filter(line => {
      const path = line.slice(line.indexOf(' ') + 1)
      return !told.some(file => path === file || path.startsWith(`${file}/`))
    })
    // The kernel's own view of folders that lost a folder.
    expect(untold.filter(line => !line.startsWith('+ /etc/systemd/system'))).toEqual([])
    expect(found).toContain('- /etc/ssh/ssh_host_rsa_key')
    expect(found).toContain('- /var/lib/systemd/random-seed')
    expect(found).toContain('size /etc/machine-id')

    const prepared = await sha(image)
    expect(await runOk(process.execPath, [main, 'sysprep', image])).toBe('sysprep: nothing to change\n')
    expect(await sha(image)).toBe(prepared)
    await runOk('rm', [image])
  })

  it('boots without complaint, with its own machine ID and host keys', async () => {
    const image = await copySparse(booted, join(folder, 'clone.qcow2'))
    await runOk(process.execPath, [main, 'sysprep', image, '-q', '--root-password', 'password:drydisk-real'])
    const transcript = await runOk('bash', [
      join(scripts, 'boot.sh'),
      image,
      '--log',
      join(folder, 'console.txt'),
      '--password',
      'drydisk-real',
      '--cmd',
      'systemctl is-system-running --wait',
      '--cmd',
      'cat /etc/machine-id; ls /etc/ssh; systemctl is-active ssh',
    ])
    expect(transcript).toMatch(/^running$/m)
    expect(transcript).toMatch(/^[0-9a-f]{32}$/m)
    expect(transcript).toContain('ssh_host_ed25519_key')
    expect(transcript).toMatch(/^active$/m)
    await runOk('rm', [image])
  })

  it('boots with new UUIDs of its filesystems', async () => {
    const image = await copySparse(join(out, 'debian-ext4.qcow2'), join(folder, 'uuids.qcow2'))
    await runOk(process.execPath, [
      main,
      'sysprep',
      image,
      '-q',
      '--operations',
      'customize,fs-uuids',
      '--root-password',
      'password:drydisk-real',
    ])
    const info = await runOk(process.execPath, [main, 'info', image])
    const uuid = /ext4 LABEL=root UUID=(\S+)/.exec(info)?.[1] ?? 'none'
    for (const firmware of [[], ['--uefi']])
      expect(
        await runOk('bash', [
          join(scripts, 'boot.sh'),
          image,
          ...firmware,
          '--log',
          join(folder, 'console.txt'),
          '--password',
          'drydisk-real',
          '--cmd',
          'findmnt -no UUID /',
        ]),
      ).toContain(uuid)
    await runOk('rm', [image])
  })

  it.skipIf(!haveTool('virt-sysprep'))(
    'removes all that virt-sysprep removes (needs virt-sysprep)',
    async () => {
      const ours = await copySparse(booted, join(folder, 'ours.qcow2'))
      await runOk(process.execPath, [main, 'sysprep', ours, '-q'])
      const theirs = await copySparse(booted, join(folder, 'theirs.qcow2'))
      const result = await run('env', [
        'LIBGUESTFS_BACKEND=direct',
        'LIBGUESTFS_BACKEND_SETTINGS=force_tcg',
        'virt-sysprep',
        '-q',
        '-a',
        theirs,
      ])
      expect(result.status, result.stderr).toBe(0)
      const paths = async (image: string) => new Set((await walk(image)).keys())
      const oursLeft = await paths(ours)
      const theirsLeft = await paths(theirs)
      // An empty lock file that apt would make again.
      expect([...oursLeft].filter(path => before.has(path) && !theirsLeft.has(path))).toEqual([
        '/var/cache/apt/archives/lock',
      ])
      const more = [...theirsLeft].filter(path => before.has(path) && !oursLeft.has(path))
      const known =
        /^\/var\/(?:cache\/apt\/\w*pkgcache\.bin$|lib\/(?:apt\/lists\/|cloud\/|dbus\/machine-id$|systemd\/random-seed$))/
      expect(more.filter(path => !known.test(path))).toEqual([])
      await runOk('rm', [ours, theirs])
    },
  )

  it('prints the journal as journalctl does', async () => {
    const raw = await toRaw(booted, join(folder, 'journal.raw'))
    const journals = await withPartition(raw, 1, async loop => {
      const list = await runOk('debugfs', ['-R', 'ls -p /var/log/journal', loop])
      const [machine = ''] = /[0-9a-f]{32}/.exec(list) ?? []
      const copy = join(folder, 'system.journal')
      await runOk('debugfs', ['-R', `dump /var/log/journal/${machine}/system.journal ${copy}`, loop])
      return copy
    })
    const theirs = await runOk('env', [
      'TZ=UTC',
      'journalctl',
      '--file',
      journals,
      '-o',
      'short',
      '--no-pager',
    ])
    expect(await runOk(process.execPath, [main, 'log', booted])).toBe(theirs)
    await runOk('rm', [raw])
  })
})
