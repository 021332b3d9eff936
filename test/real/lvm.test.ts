import { existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { runOk } from '../support/native.ts'
import { copySparse, discard, haveScripts, main, out, scratch, scripts, toRaw } from './real-images.ts'

interface Placed {
  readonly name: string
  /** Bytes of the disk. */
  readonly offset: number
  readonly length: number
}

/** Where the LVs of the image lie by LVM's own tool: each is one run of the second partition. */
async function logicalVolumes(raw: string, folder: string): Promise<{ text: string; volumes: Placed[] }> {
  const { partitiontable } = JSON.parse(await runOk('sfdisk', ['--json', raw])) as {
    partitiontable: { partitions: { start: number; size: number }[] }
  }
  const start = partitiontable.partitions[1]?.start ?? 0
  const head = join(folder, 'pv')
  await runOk('dd', [`if=${raw}`, `of=${head}`, 'bs=512', `skip=${start}`, 'count=8192', 'status=none'])
  const text = await runOk('pvck', ['--dump', 'metadata', head])
  const number = (key: string) => Number(new RegExp(`^${key} = (\\d+)`, 'm').exec(text)?.[1])
  const extent = number('extent_size') * 512
  const volumes = [
    ...text.matchAll(
      /^(\w+) \{\nid = (?:[^{}]|\n)*?segment1 \{\n(?:[^{}]|\n)*?extent_count = (\d+)(?:[^{}]|\n)*?"pv0", (\d+)/gm,
    ),
  ].map(([, name = '', count, first]) => ({
    name,
    offset: start * 512 + number('pe_start') * 512 + Number(first) * extent,
    length: Number(count) * extent,
  }))
  return { text, volumes }
}

describe.runIf(haveScripts)('Debian on LVM', () => {
  let folder = ''
  const original = join(out, 'debian-lvm.qcow2')

  beforeAll(async () => {
    mkdirSync(out, { recursive: true })
    if (!existsSync(original)) {
      await runOk('bash', [join(scripts, 'install-deps.sh'), 'build', 'boot'])
      await runOk('bash', [join(scripts, 'build-debian.sh'), out, 'lvm'])
    }
    folder = scratch()
  })
  afterAll(() => discard(folder))

  it('is edited in the root, in /home and in /boot, made smaller, and boots', async () => {
    const image = await copySparse(original, join(folder, 'guest.qcow2'))
    const before = await logicalVolumes(await toRaw(image, join(folder, 'before.raw')), folder)
    const drydisk = (...args: string[]) => runOk(process.execPath, [main, ...args])
    const edits = ['--hostname', 'on-lvm', '--root-password', 'password:secret', '--kernel-arg', 'drydisk=1']
    await drydisk('customize', image, ...edits, '--write', '/home/note:from outside')
    await drydisk('sparsify', image)
    await runOk('qemu-img', ['check', '-q', image])

    const raw = await toRaw(image, join(folder, 'after.raw'))
    const after = await logicalVolumes(raw, folder)
    expect(after).toEqual(before)
    expect(after.volumes.map(({ name }) => name)).toEqual(['root', 'swap', 'home'])
    for (const { name, offset, length } of after.volumes) {
      if (name === 'swap') continue
      const volume = join(folder, name)
      await runOk('dd', [
        ...[
          `if=${raw}`,
          `of=${volume}`,
          'bs=1M',
          'iflag=skip_bytes,count_bytes',
          'conv=sparse',
          'status=none',
        ],
        ...[`skip=${offset}`, `count=${length}`],
      ])
      await runOk('e2fsck', ['-fn', volume])
    }
    expect(await runOk('debugfs', ['-R', 'cat /etc/hostname', join(folder, 'root')])).toBe('on-lvm\n')
    expect(await runOk('debugfs', ['-R', 'cat /note', join(folder, 'home')])).toBe('from outside')
    const said = await runOk('bash', [
      ...[join(scripts, 'boot.sh'), image, '--user', 'root', '--password', 'secret', '--timeout', '600'],
      ...['--cmd', 'cat /etc/hostname /home/note; findmnt -n -o SOURCE /; cat /proc/cmdline'],
    ])
    expect(said).toMatch(/on-lvm\s+from outside\s*\/dev\/mapper\/debian-root\s+.*drydisk=1/)
  })

  it('boots with new UUIDs of its volume group and physical volume', async () => {
    const image = await copySparse(original, join(folder, 'clone.qcow2'))
    const drydisk = (...args: string[]) => runOk(process.execPath, [main, ...args])
    const before = await logicalVolumes(await toRaw(image, join(folder, 'original.raw')), folder)
    // As one of the defaults, with all the others.
    const told = JSON.parse(
      await drydisk('sysprep', image, '--json', '--root-password', 'password:secret'),
    ) as { operations: { operation: string; changes: { setting: string; after: string }[] }[] }
    const changes = told.operations.find(({ operation }) => operation === 'lvm-uuids')?.changes ?? []
    expect(changes.map(({ setting }) => setting)).toEqual(['UUID of volume group', 'UUID of physical volume'])
    await runOk('qemu-img', ['check', '-q', image])
    const after = await logicalVolumes(await toRaw(image, join(folder, 'clone.raw')), folder)
    expect(after.volumes).toEqual(before.volumes)
    const ids = (text: string) => [...text.matchAll(/^id = "(.*)"$/gm)].map(match => match[1])
    const fresh = changes.map(change => change.after)
    expect(ids(after.text)).toEqual([...fresh, ...ids(before.text).slice(2)])
    const said = await runOk('bash', [
      ...[join(scripts, 'boot.sh'), image, '--user', 'root', '--password', 'secret', '--timeout', '600'],
      ...['--cmd', 'vgs --noheadings -o vg_uuid; pvs --noheadings -o pv_uuid; vgck debian && echo sound'],
      ...['--cmd', 'findmnt -n -o SOURCE /; findmnt -n -o SOURCE /home; swapon --show=NAME --noheadings'],
    ])
    for (const id of fresh) expect(said).toContain(id)
    expect(said).toMatch(/sound/)
    expect(said).toMatch(/\/dev\/mapper\/debian-root\s+\/dev\/mapper\/debian-home\s+\/dev\/dm-\d/)
  })
})
