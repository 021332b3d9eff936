import { mkdtempSync, readdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { run, runOk } from '../support/native.ts'
import {
  build,
  copySparse,
  differences,
  discard,
  haveScripts,
  kernelRead,
  kernelWalk,
  main,
  out,
  scratch,
  scripts,
  toRaw,
  type WalkRow,
} from './real-images.ts'

const KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEPecB1V+gvC6dzhdChYg+uyfbtvSPlcwHRriVGwh4oS real@test'

/** The seven edits that image guides make, in one commit. */
const guideEdits = [
  '--serial-console',
  '--kernel-arg',
  'net.ifnames=1',
  '--sshd',
  'PermitRootLogin=yes',
  '--sshd',
  'PasswordAuthentication=yes',
  '--qemu-ga',
  '--cloud-init',
  'datasource_list=[ConfigDrive, OpenStack]',
  '--no-zeroconf',
  '--root-password',
  'password:drydisk-real',
  '--password',
  'admin:password:other-secret',
  '--ssh-inject',
  `root:string:${KEY}`,
]

/**
 * Everything that the edits may change, as `field path` by the kernel's word. Anything else is a bug.
 * Files are rewritten in place, so their inode, mode, owner and xattrs are not in the list.
 */
const content = (path: string) => [`ctime ${path}`, `mtime ${path}`, `sha256 ${path}`, `size ${path}`]
const entryAdded = (directory: string) => [`ctime ${directory}`, `mtime ${directory}`]
const allowed = new Set([
  ...content('/etc/default/grub'),
  ...content('/boot/grub/grub.cfg'),
  ...content('/etc/shadow'),
  ...content('/root/.ssh/authorized_keys'),
  ...entryAdded('/etc/ssh/sshd_config.d'),
  '+ /etc/ssh/sshd_config.d/00-drydisk.conf',
  ...entryAdded('/etc/cloud/cloud.cfg.d'),
  '+ /etc/cloud/cloud.cfg.d/99-zz-drydisk.cfg',
])

async function customize(image: string, ...more: string[]): Promise<void> {
  await runOk(process.execPath, [main, 'customize', image, ...guideEdits, ...more])
}

describe.runIf(haveScripts)('the main job on real images', () => {
  let folder = ''
  let before: Map<string, WalkRow>
  let beforeDirty: Map<string, WalkRow>
  const original = (name: string) => join(out, name)

  beforeAll(async () => {
    await build()
    folder = scratch()
    before = await kernelWalk(original('debian-ext4.raw'))
    const dirty = await toRaw(original('debian-ext4-dirty.qcow2'), join(folder, 'dirty.raw'))
    beforeDirty = await kernelWalk(dirty, { dirty: true })
    await runOk('rm', [dirty])
  })
  afterAll(() => discard(folder))

  /** After an edit: qemu-img check, e2fsck -fn, and the kernel's mount shows exactly the change. */
  async function judge(image: string, baseline: Map<string, WalkRow>): Promise<void> {
    const info = JSON.parse(await runOk('qemu-img', ['info', '--output=json', image])) as { format: string }
    if (info.format === 'qcow2') await runOk('qemu-img', ['check', image])
    const raw = info.format === 'raw' ? image : await toRaw(image, join(folder, 'judged.raw'))
    const after = await kernelWalk(raw)
    const found = differences(baseline, after)
    expect(found.filter(line => !allowed.has(line))).toEqual([])
    expect(found).toContain('sha256 /etc/shadow')
    expect(found).toContain('sha256 /boot/grub/grub.cfg')
    expect(found).toContain('+ /etc/ssh/sshd_config.d/00-drydisk.conf')
    expect(await kernelRead(raw, '/etc/shadow')).toMatch(/^root:\$6\$/m)
    expect(await kernelRead(raw, '/root/.ssh/authorized_keys')).toContain(KEY)
    expect(await kernelRead(raw, '/etc/default/grub')).toContain('net.ifnames=1')
    if (raw !== image) await runOk('rm', [raw])
    // Nothing is left beside the image.
    expect(readdirSync(dirname(image)).filter(name => name.includes('drydisk'))).toEqual([])
  }

  const boots = async (image: string): Promise<string> =>
    await runOk('bash', [
      join(scripts, 'boot.sh'),
      image,
      '--log',
      join(folder, 'console.txt'),
      '--password',
      'drydisk-real',
      '--cmd',
      'sshd -T | grep -Ei "^(permitrootlogin|passwordauthentication) "',
      '--cmd',
      'cat /proc/cmdline',
      '--cmd',
      'tail -n 1 /root/.ssh/authorized_keys',
    ])

  function sawTheEdits(transcript: string): void {
    expect(transcript).toContain('permitrootlogin yes')
    expect(transcript).toContain('passwordauthentication yes')
    expect(transcript).toMatch(/net\.ifnames=1.*|console=ttyS0/)
    expect(transcript).toContain(KEY)
  }

  it('edits the qcow2 image, which then boots', async () => {
    const image = await copySparse(original('debian-ext4.qcow2'), join(folder, 'edited.qcow2'))
    await customize(image)
    await judge(image, before)
    // A second run finds nothing to do, apart from the salts of the passwords.
    sawTheEdits(await boots(image))
  })

  it('edits the raw image, which then boots', async () => {
    const image = await copySparse(original('debian-ext4.raw'), join(folder, 'edited.raw'))
    await customize(image)
    await judge(image, before)
    sawTheEdits(await boots(image))
  })

  it('recovers the journal of a guest that was killed, edits it, and it boots', async () => {
    const image = await copySparse(original('debian-ext4-dirty.qcow2'), join(folder, 'edited-dirty.qcow2'))
    await customize(image)
    await judge(image, beforeDirty)
    sawTheEdits(await boots(image))
  })

  it('--dry-run leaves every byte alone', async () => {
    const image = await copySparse(original('debian-ext4.qcow2'), join(folder, 'dry.qcow2'))
    const text = await runOk(process.execPath, [main, 'customize', image, '--dry-run', ...guideEdits])
    expect(text).toContain('+++')
    await runOk('cmp', [original('debian-ext4.qcow2'), image])
    await runOk('rm', [image])
  })

  /** Flavours of one disk; each is edited in place, beside the files that it refers to. */
  const flavours: Record<string, string[]> = {
    'zlib.qcow2': [],
    'zstd.qcow2': [],
    'v2.qcow2': [],
    'c512.qcow2': [],
    'c4k.qcow2': [],
    'c4k-zlib.qcow2': [],
    'c2m.qcow2': [],
    'c2m-zlib.qcow2': [],
    'extl2.qcow2': [],
    'extl2-zlib.qcow2': [],
    'rb1.qcow2': [],
    'rb64.qcow2': [],
    'prealloc-metadata.qcow2': [],
    'lazy.qcow2': [],
    'lazy-dirty.qcow2': [],
    'data-file.qcow2': ['data-file.bin'],
    'data-file-raw.qcow2': ['data-file-raw.bin'],
    'chain-2.qcow2': ['chain-1.qcow2', 'chain-0.qcow2'],
    'snapshot.qcow2': [],
    'bitmap.qcow2': [],
  }
  for (const [name, beside] of Object.entries(flavours))
    it(`edits the flavour ${name}`, async () => {
      const own = mkdtempSync(join(folder, 'flavour-'))
      // qemu-img looks for a data file from the current folder, drydisk beside the image.
      process.chdir(own)
      for (const file of [name, ...beside]) await copySparse(join(out, 'flavours', file), join(own, file))
      const image = join(own, name)
      // chain and snapshot differ from the raw image by patterns written over it: their own walk is the baseline.
      const changed = name.startsWith('chain') || name.startsWith('snapshot')
      let baseline = before
      if (changed) {
        const raw = await toRaw(image, join(folder, 'baseline.raw'))
        baseline = await kernelWalk(raw)
        await runOk('rm', [raw])
      }
      const untouched = name.startsWith('snapshot') ? await snapshotSum(image, 'first') : undefined
      await customize(image)
      await judge(image, baseline)
      if (untouched !== undefined) expect(await snapshotSum(image, 'first')).toBe(untouched)
      for (const file of beside)
        if (file.startsWith('chain')) await runOk('cmp', [join(out, 'flavours', file), join(own, file)])
      process.chdir(folder)
      await runOk('rm', ['-r', own])
    })

  async function snapshotSum(image: string, snapshot: string): Promise<string> {
    const raw = join(folder, 'snapshot.raw')
    await runOk('qemu-img', ['convert', '-l', `snapshot.name=${snapshot}`, '-O', 'raw', image, raw])
    const sum = (await runOk('sha256sum', [raw])).slice(0, 64)
    await runOk('rm', [raw])
    return sum
  }

  it.each([
    ['luks.qcow2', 'ERR_UNSUPPORTED', /LUKS/i],
    ['corrupt-bit.qcow2', 'ERR_CORRUPT', /corrupt/i],
  ])('refuses to write %s by name and leaves it alone', async (name, code, message) => {
    const image = await copySparse(join(out, 'flavours', name), join(folder, name))
    const result = await run(process.execPath, [main, 'customize', image, '--json', '--touch', '/etc/x'])
    expect(result.status).toBe(1)
    expect(result.stdout + result.stderr).toContain(code)
    expect(result.stdout + result.stderr).toMatch(message)
    await runOk('cmp', [join(out, 'flavours', name), image])
    await runOk('rm', [image])
  })
})
