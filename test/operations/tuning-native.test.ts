import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { expect, test } from 'vitest'
import { HostFolderGuest } from '../../src/guest/host-folder-guest.ts'
import { operations } from '../../src/operations/index.ts'
import { haveTool, runOk, temporaryFolder } from '../support/native.ts'

function folder(files: Readonly<Record<string, string>>): { root: string; guest: HostFolderGuest } {
  const root = temporaryFolder()
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true })
    writeFileSync(join(root, path), text)
  }
  return { root, guest: new HostFolderGuest(root) }
}

test.skipIf(!haveTool('modprobe'))('kmod reads the blacklist', async () => {
  const { guest, root } = folder({
    '/etc/modprobe.d/a.conf': 'blacklist snd-hda-intel\n',
    '/usr/lib/modprobe.d/b.conf': 'blacklist pcspkr\n',
  })
  const { unchanged } = await operations['modprobe-blacklist'].run(guest, {
    modules: ['pcspkr', 'snd_hda_intel', 'nouveau'],
  })
  expect(unchanged).toHaveLength(2)
  const configured = await runOk('modprobe', ['-c', '-C', join(root, 'etc/modprobe.d')])
  expect(configured.match(/^blacklist \w+$/gm)).toEqual(['blacklist snd_hda_intel', 'blacklist nouveau'])
})

test.skipIf(!haveTool('systemd-analyze'))('systemd reads sysctl.d in the same order', async () => {
  const key = 'vm.swappiness'
  const { guest, root } = folder({
    '/usr/lib/sysctl.d/10-a.conf': `${key}=1\n`,
    '/etc/sysctl.d/10-a.conf': `${key}=2\n`,
    '/usr/lib/sysctl.d/99-sysctl.conf': `${key}=3\n`,
    '/usr/local/lib/sysctl.d/50-b.conf': `${key}=4\n`,
  })
  await operations.sysctl.run(guest, { key, value: '10' })
  const shown = await runOk('systemd-analyze', ['cat-config', '--root', root, 'sysctl.d'])
  expect(shown.match(/^vm\.swappiness.*$/gm)?.map(line => line.replaceAll(' ', ''))).toEqual([
    `${key}=2`,
    `${key}=4`,
    `${key}=3`,
    `${key}=10`,
  ])
})

test.skipIf(!haveTool('systemd-analyze'))('systemd reads journald.conf and its drop-ins', async () => {
  const { guest, root } = folder({
    '/etc/systemd/journald.conf': '[Journal]\nForwardToConsole=no\n',
    '/usr/lib/systemd/journald.conf.d/80-x.conf': '[Journal]\nForwardToConsole=no\n',
  })
  await operations['journal-to-console'].run(guest, {})
  const shown = await runOk('systemd-analyze', ['cat-config', '--root', root, 'systemd/journald.conf'])
  expect(shown.match(/^ForwardToConsole=.*$/gm)?.at(-1)).toBe('ForwardToConsole=yes')
})

test.skipIf(!haveTool('systemctl'))('systemd has the unit of growroot enabled', async () => {
  const { guest, root } = folder({ '/usr/lib/systemd/system/multi-user.target': '[Unit]\nDescription=x\n' })
  await operations.growroot.run(guest, {})
  expect(await runOk('systemctl', ['--root', root, 'is-enabled', 'drydisk-growroot.service'])).toBe(
    'enabled\n',
  )
})
