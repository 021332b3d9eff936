import { createHash } from 'node:crypto'
import { createReadStream, existsSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { run, runOk } from '../support/native.ts'
import {
  build,
  copySparse,
  discard,
  haveScripts,
  kernelRead,
  kernelWalk,
  main,
  out,
  scratch,
  scripts,
  toRaw,
} from './real-images.ts'

const HOST_KEYS = ['ecdsa', 'ed25519', 'rsa'].map(kind => `/etc/ssh/ssh_host_${kind}_key.pub`)

async function sha(path: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer)
  return hash.digest('hex')
}

describe.runIf(haveScripts)('a machine that was in use becomes an image for OpenStack', () => {
  let folder = ''
  let image = ''
  /** What the machine was, which no clone of it may be. */
  const former = { machineId: '', hostKeys: [] as string[] }
  const booted = join(out, 'debian-ext4-booted.qcow2')
  const drydisk = (...args: string[]) => runOk(process.execPath, [main, ...args])

  const asRaw = async <T>(use: (raw: string) => Promise<T>): Promise<T> => {
    const raw = await toRaw(image, join(folder, 'judged.raw'))
    try {
      return await use(raw)
    } finally {
      await runOk('rm', [raw])
    }
  }

  beforeAll(async () => {
    if (!existsSync(booted)) await build()
    folder = scratch()
    image = await copySparse(booted, join(folder, 'openstack.qcow2'))
    await asRaw(async raw => {
      former.machineId = (await kernelRead(raw, '/etc/machine-id')).trim()
      for (const path of HOST_KEYS) former.hostKeys.push((await kernelRead(raw, path)).split(' ')[1] ?? '')
    })
    expect(former.machineId).toMatch(/^[0-9a-f]{32}$/)
    expect(former.hostKeys.every(key => key.startsWith('AAAA'))).toBe(true)
  })
  afterAll(() => discard(folder))

  it('doctor sees what is wrong, apply, doctor --fix and sysprep mend it, once and for all', async () => {
    const sick = await run(process.execPath, [main, 'doctor', '--json', image])
    expect(sick.status).toBe(1)
    // The edits of the recipe alone first, so that doctor and sysprep have something left to do.
    await drydisk('apply', 'openstack-ubuntu', '--var', 'SYSPREP=no', image)
    await drydisk('doctor', '--fix', image)
    await drydisk('sysprep', image)
    const ready = await run(process.execPath, [main, 'doctor', image])
    expect(ready.stdout).toMatch(/^ready for openstack: 0 fail/m)
    expect(ready.status).toBe(0)

    const prepared = await sha(image)
    expect(await drydisk('sysprep', image)).toBe('sysprep: nothing to change\n')
    const again = await drydisk('apply', 'openstack-ubuntu', image)
    expect(again).not.toContain('→')
    await drydisk('doctor', '--fix', image)
    expect(await sha(image)).toBe(prepared)
    expect(again).toContain('sysprep: nothing to change')

    await runOk('qemu-img', ['check', '-q', image])
    await asRaw(async raw => {
      // e2fsck -fn of the root, and its tree by the kernel.
      const tree = await kernelWalk(raw)
      expect(tree.get('/etc/machine-id')?.size).toBe(0)
      for (const path of HOST_KEYS) expect(tree.has(path), path).toBe(false)
      expect(tree.has('/var/lib/cloud/instance')).toBe(false)
      expect(tree.has('/etc/udev/rules.d/70-persistent-net.rules')).toBe(false)
      const settings = await kernelRead(raw, '/etc/cloud/cloud.cfg.d/99-zz-drydisk.cfg')
      expect(settings).toMatch(/^datasource_list: *\[ *"?ConfigDrive"?, *"?OpenStack"?/m)
    })
  })

  it('boots as a new machine, with what was asked for its first boot', async () => {
    await drydisk(
      ...['customize', image, '--user-add', 'deploy:groups=adm,shell=/bin/bash', '--sudo', 'deploy'],
      ...['--password', 'deploy:password:let me in', '--hostname', 'clone1'],
      ...['--disable-service', 'cron,fstrim.timer', '--enable-service', 'systemd-networkd'],
      ...['--firstboot-command', 'id -un > /var/tmp/first; cat /etc/machine-id >> /var/tmp/first'],
      ...['--firstboot-command', 'test -f /var/tmp/first && echo second >> /var/tmp/first'],
    )
    await runOk('qemu-img', ['check', '-q', image])
    await asRaw(kernelWalk)
    const said = await runOk('bash', [
      ...[join(scripts, 'boot.sh'), image, '--user', 'deploy', '--password', 'let me in'],
      ...['--timeout', '600', '--log', join(folder, 'console.txt')],
      // The last of the boot is the service of the first boot.
      ...['--cmd', 'sudo -n systemctl is-system-running --wait'],
      ...['--cmd', 'echo "is $(id -un) $(id -nG)"; echo "root $(sudo -n id -un)"; hostname'],
      ...['--cmd', 'systemctl is-enabled cron fstrim.timer systemd-networkd | paste -sd,'],
      ...['--cmd', 'systemctl is-active ssh qemu-guest-agent cron | paste -sd,'],
      ...['--cmd', 'cat /proc/cmdline; cat /etc/machine-id'],
      ...['--cmd', `awk '{print "key", $2}' ${HOST_KEYS.join(' ')}`],
      ...['--cmd', 'cat /var/tmp/first | paste -sd,; sudo cat /var/log/drydisk-firstboot.log'],
      ...[
        '--cmd',
        'ls -d /usr/libexec/drydisk-firstboot* /etc/systemd/system/*firstboot* 2>&1 | grep -c "No such"',
      ],
    ]).catch((error: unknown) => {
      throw new Error(`the boot failed: ${String(error)}`, { cause: error })
    })
    expect(said).toMatch(/^running\r?$/m)
    expect(said).toMatch(/^is deploy deploy adm\r?$/m)
    expect(said).toMatch(/^root root\r?$/m)
    expect(said).toMatch(/^clone1\r?$/m)
    expect(said).toMatch(/^disabled,disabled,enabled\r?$/m)
    expect(said).toMatch(/^BOOT_IMAGE=.*console=tty0 console=ttyS0,115200/m)
    const [, machineId = ''] = /^([0-9a-f]{32})\r?$/m.exec(said) ?? []
    expect(machineId).not.toBe('')
    expect(machineId).not.toBe(former.machineId)
    const keys = [...said.matchAll(/^key (\S+)/gm)].map(([, key = '']) => key)
    expect(keys.length).toBe(HOST_KEYS.length)
    expect(keys.filter(key => former.hostKeys.includes(key))).toEqual([])
    expect(said).toContain(`root,${machineId},second`)
  })
})
