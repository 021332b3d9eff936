import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { HostFolderGuest } from '../../src/guest/host-folder-guest.ts'
import { operations } from '../../src/operations/index.ts'
import { run, runOk } from '../support/native.ts'
import { build, haveScripts, out, withPartition } from './real-images.ts'

/** A writable overlay over the image's root filesystem, with what grub-mkconfig asks the kernel for put in by hand. */
async function inOverlay(use: (root: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'drydisk-overlay-'))
  const [lower, scratch, root] = ['lower', 'scratch', 'root'].map(name => join(folder, name)) as [
    string,
    string,
    string,
  ]
  for (const path of [lower, scratch, root]) mkdirSync(path)
  const mounted: string[] = []
  const mount = async (path: string, ...args: string[]) => {
    await runOk('mount', [...args, path])
    mounted.unshift(path)
  }
  try {
    await withPartition(join(out, 'debian-ext4.raw'), 1, async loop => {
      try {
        await mount(lower, '-o', 'ro,noload', loop)
        await mount(scratch, '-t', 'tmpfs', 'tmpfs')
        for (const name of ['upper', 'work']) mkdirSync(join(scratch, name))
        await mount(
          root,
          '-t',
          'overlay',
          '-o',
          `lowerdir=${lower},upperdir=${scratch}/upper,workdir=${scratch}/work`,
          'overlay',
        )
        await mount(join(root, 'proc'), '-t', 'proc', 'proc')
        const uuid = /root=UUID=(\S+)/.exec(readFileSync(join(root, 'boot/grub/grub.cfg'), 'utf8'))?.[1] ?? ''
        mkdirSync(join(root, 'dev/disk/by-uuid'), { recursive: true })
        writeFileSync(join(root, 'dev/disk/by-uuid', uuid), '')
        mkdirSync(join(root, 'run/sshd'), { recursive: true })
        // The overlay is no block device that grub-probe could find.
        const answers = `device) echo /dev/vda1;; fs) echo ext2;; fs_uuid) echo ${uuid};; partmap) echo gpt;;`
        writeFileSync(
          join(root, 'usr/sbin/grub-probe'),
          `#!/bin/bash\nt=device\nwhile [ $# -gt 0 ]; do case $1 in --target=*) t=\${1#*=};; -t) t=$2;; esac; shift; done\ncase $t in ${answers} esac\nexit 0\n`,
        )
        chmodSync(join(root, 'usr/sbin/grub-probe'), 0o755)
        await use(root)
      } finally {
        for (const path of mounted) await runOk('umount', [path])
      }
    })
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** What matters of a grub.cfg here: the kernels' arguments and GRUB's own terminals. */
const bootLines = (config: string) => config.match(/^\s*(linux|serial|terminal_\w+|menuentry)\s.*$/gm) ?? []

describe.runIf(haveScripts)("the guest's own tools agree with the edits", () => {
  beforeAll(build)

  it('grub-mkconfig gives the same entries again, sshd, cloud-init and crypt(3) see the new values', async () => {
    await inOverlay(async root => {
      const guest = new HostFolderGuest(root)
      const chroot = (...command: string[]) => runOk('chroot', [root, ...command])
      expect(bootLines(await chroot('grub-mkconfig'))).toEqual(
        bootLines(await guest.readText('/boot/grub/grub.cfg')),
      )

      await operations['serial-console'].run(guest, { device: 'ttyS1', speed: 57_600 })
      await operations['kernel-arg'].run(guest, {
        changes: [
          { action: 'set', argument: 'mitigations=off' },
          { action: 'remove', argument: 'biosdevname' },
        ],
      })
      const config = await guest.readText('/boot/grub/grub.cfg')
      expect(config).toMatch(/^\s*linux\s.* console=tty0 console=ttyS1,57600n8 mitigations=off\s*$/m)
      expect(config).not.toContain('biosdevname')
      expect(bootLines(await chroot('grub-mkconfig'))).toEqual(bootLines(config))

      await operations.sshd.run(guest, { keyword: 'PermitRootLogin', value: 'yes' })
      await operations.sshd.run(guest, { keyword: 'PasswordAuthentication', value: 'yes' })
      const settings = await chroot('sshd', '-T', '-C', 'user=root,host=h,addr=192.0.2.1')
      expect(settings).toMatch(/^permitrootlogin yes$/m)
      expect(settings).toMatch(/^passwordauthentication yes$/m)

      for (const setting of [
        'datasource_list=[OpenStack, None]',
        'cloud_init_modules-=growpart',
        'cloud_config_modules+=fan',
      ])
        await operations['cloud-init'].run(guest, { setting })
      const script =
        "import json; from cloudinit import util; print(json.dumps(util.read_conf_with_confd('/etc/cloud/cloud.cfg')))"
      const cloud: Record<string, unknown> = JSON.parse(await chroot('python3', '-c', script))
      expect(cloud).toMatchObject({
        datasource_list: ['OpenStack', 'None'],
        ssh_pwauth: true,
        disable_root: false,
      })
      expect(cloud.cloud_init_modules).not.toContain('growpart')
      expect(cloud.cloud_config_modules).toContain('fan')

      await operations['root-password'].run(guest, { selector: { kind: 'password', password: 'new secret' } })
      const check =
        "import crypt,spwd; h=spwd.getspnam('root').sp_pwdp; print(crypt.crypt('new secret',h)==h)"
      expect((await run('chroot', [root, 'python3', '-W', 'ignore', '-c', check])).stdout.trim()).toBe('True')
      expect(await chroot('passwd', '-S', 'root')).toMatch(/^root P /)
    })
  })
})
