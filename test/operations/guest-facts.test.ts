import fc from 'fast-check'
import { expect, it } from 'vitest'
import * as phony from '../../native-fixtures/phony-guests.ts'
import { readIdentity } from '../../src/guest/identity.ts'
import { readGuestFacts } from '../../src/operations/guest-facts.ts'
import { propertySettings } from '../support/native.ts'
import { memoryGuest } from './support/operations.ts'

type Row = readonly [
  id: string,
  version: string,
  bootloader: string,
  firmware: string,
  init: string,
  selinux: string,
  kernel: string,
]

const GUESTS: Record<phony.PhonyGuestName, Row> = {
  el6: ['centos', '6.10', 'grub-legacy', 'bios', 'upstart', 'enforcing', '2.6.32-754.el6.x86_64'],
  el7: ['centos', '7', 'grub2', '', 'systemd', 'enforcing', '3.10.0-1160.el7.x86_64'],
  el7Efi: ['centos', '7', 'grub2', 'uefi', 'systemd', 'enforcing', '3.10.0-1160.el7.x86_64'],
  el8: ['rocky', '8.9', 'grub2', '', 'systemd', 'enforcing', '4.18.0-513.el8.x86_64'],
  el8Efi: ['rocky', '8.9', 'grub2', 'uefi', 'systemd', 'enforcing', '4.18.0-513.el8.x86_64'],
  el9: ['almalinux', '9.4', 'grub2', 'uefi', 'systemd', 'enforcing', '5.14.0-427.el9.x86_64'],
  el10: ['rhel', '10.0', 'grub2', 'uefi', 'systemd', 'enforcing', '5.14.0-427.el9.x86_64'],
  fedora: ['fedora', '41', 'grub2', 'uefi', 'systemd', 'enforcing', '6.11.4-301.fc41.x86_64'],
  debian: ['debian', '12', 'grub2', 'uefi', 'systemd', 'absent', '6.1.0-13-amd64'],
  ubuntu: ['ubuntu', '24.04', 'grub2', 'uefi', 'systemd', 'absent', '6.8.0-31-generic'],
  leap: ['opensuse-leap', '15.6', 'grub2', 'uefi', 'systemd', 'absent', '6.4.0-150600.21-default'],
  tumbleweed: [
    'opensuse-tumbleweed',
    '20241015',
    'systemd-boot',
    'uefi',
    'systemd',
    'enforcing',
    '6.11.3-1-default',
  ],
  sles12: ['sles', '12.5', 'grub2', '', 'systemd', 'absent', '4.12.14-122.183-default'],
  alpine: ['alpine', '3.19.0', 'extlinux', 'bios', 'openrc', 'absent', '6.6.7-0-virt'],
  cirros: ['cirros', '0.6.2', 'grub-legacy', 'bios', 'busybox', 'absent', '5.15.0-71-generic'],
}

for (const [name, row] of Object.entries(GUESTS) as [phony.PhonyGuestName, Row][])
  it(`tells what ${name} is`, async () => {
    const guest = await phony.phonyGuest(name)
    const identity = await readIdentity(guest)
    const facts = await readGuestFacts(guest)
    const kernel = facts.kernels.find(one => one.default)
    expect([
      identity.id,
      identity.version,
      facts.bootloader,
      facts.firmware.join(' '),
      facts.init,
      facts.selinux.mode,
      kernel?.release,
    ]).toEqual(row)
    expect(kernel).toMatchObject({ modules: true, image: expect.stringMatching(/^\/boot\//) })
    expect(identity.arch).toBe('x86_64')
    expect(facts.warnings).toEqual([])
  })

it('gives versions of agents by the package database, or says that they are not known', async () => {
  expect((await readGuestFacts(await phony.phonyGuest('debian'))).agents).toEqual({
    'cloud-init': '22.4.2-1+deb12u2',
    growpart: '0.33-1',
    'qemu-guest-agent': '1:7.2+dfsg-7+deb12u18+b3',
    acpid: '1:2.0.34-1',
  })
  const alpine = await readGuestFacts(await phony.phonyGuest('alpine'))
  expect(alpine.packages).toEqual({ database: 'apk', file: '/lib/apk/db/installed', count: 4 })
  expect(alpine.agents).toEqual({ 'cloud-init': '23.4.4-r0', 'qemu-guest-agent': '8.1.3-r0' })
  const el7 = await readGuestFacts(await phony.phonyGuest('el7', { '/var/lib/rpm/Packages': 'b1' }))
  expect(el7.agents).toEqual({ 'cloud-init': 'unknown' })
  expect(el7.warnings).toEqual([expect.stringContaining('Berkeley DB')])
})

it("counts the kernel's arguments for SELinux", async () => {
  const mode = async (options: string) => {
    const path = '/boot/loader/entries/abcdef0123456789abcdef0123456789-5.14.0-427.el9.x86_64.conf'
    const guest = await phony.phonyGuest('el9', { [path]: `title A\nlinux /v\noptions ${options}\n` })
    return (await readGuestFacts(guest)).selinux
  }
  expect(await mode('ro')).toEqual({ mode: 'enforcing', type: 'targeted' })
  expect(await mode('ro enforcing=0')).toEqual({ mode: 'permissive', type: 'targeted' })
  expect(await mode('selinux=0')).toEqual({ mode: 'disabled', type: 'targeted' })
})

it('tells what it can of an empty or a damaged guest', async () => {
  expect(await readGuestFacts(await memoryGuest())).toMatchObject({
    bootloader: 'unknown',
    kernels: [],
    bootEntries: [],
    packages: { database: 'none' },
  })
  const damaged = await memoryGuest({
    '/boot/grub/grub.cfg': `${'a {'.repeat(500)}\nlinux /v x\n`,
    '/usr/lib/sysimage/rpm/rpmdb.sqlite': 'SQLite format 3',
    '/boot/vmlinuz-6.1': '',
  })
  const facts = await readGuestFacts(damaged)
  expect(facts.warnings).toHaveLength(2)
  expect(facts.kernels).toEqual([
    { release: '6.1', modules: false, image: '/boot/vmlinuz-6.1', entries: 0, default: false },
  ])
})

it('never fails for a damaged guest (property)', async () => {
  const splinters = fc.constantFrom(
    ...['"', "'", '${', '{', '}', '\\', '\n', '\0', '#', '=', 'if [', ' ', 'é', '\xff', 'submenu {'],
  )
  const damage = fc.tuple(fc.nat(), fc.double({ min: 0, max: 1, noNaN: true }), fc.nat(30), splinters)
  const deciding = /^\/(boot|etc|lib|var)\/.*(grub|conf|release|status|installed|selinux|menu|bootloader)/
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...(Object.keys(GUESTS) as phony.PhonyGuestName[])),
      fc.array(damage, { minLength: 1, maxLength: 6 }),
      async (name, damages) => {
        const files: Record<string, string | Uint8Array> = { ...phony.phonyGuests[name].files }
        const paths = Object.keys(files).filter(path => deciding.test(path))
        for (const [pick, where, drop, put] of damages) {
          const path = paths[pick % paths.length] ?? ''
          const text = String(files[path])
          const at = Math.floor(where * text.length)
          files[path] = text.slice(0, at) + put + text.slice(at + drop)
        }
        const guest = await memoryGuest(files)
        await readIdentity(guest)
        await readGuestFacts(guest)
      },
    ),
    propertySettings(150),
  )
})
