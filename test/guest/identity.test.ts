import { expect, test } from 'vitest'
import { parseFstab } from '../../src/guest/fstab.ts'
import { readIdentity } from '../../src/guest/identity.ts'
import { memoryGuest } from '../../src/guest/memory-guest.ts'
import { parseOsRelease } from '../../src/guest/os-release.ts'

test.each([
  [
    {
      '/usr/lib/os-release':
        'ID=debian\nVERSION_ID="12"\nNAME="Debian GNU/Linux"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
    },
    { id: 'debian', family: 'debian', version: '12', prettyName: 'Debian GNU/Linux 12 (bookworm)' },
  ],
  [
    {
      '/etc/os-release': 'ID=\'rocky\'\nID_LIKE="rhel centos fedora"\nVERSION_ID=9.4\n',
      '/usr/lib/os-release': 'ID=other\n',
    },
    { id: 'rocky', family: 'rhel', version: '9.4' },
  ],
  [{ '/etc/os-release': 'ID="opensuse-leap"\n' }, { id: 'opensuse-leap', family: 'suse' }],
  [{ '/etc/os-release': 'ID=mint\nID_LIKE="ubuntu debian"\n' }, { id: 'mint', family: 'debian' }],
  [
    { '/etc/redhat-release': 'CentOS release 6.10 (Final)\n' },
    { id: 'centos', family: 'rhel', version: '6.10' },
  ],
  [
    { '/etc/redhat-release': 'Red Hat Enterprise Linux Server release 6.9 (Santiago)\n' },
    { id: 'rhel', family: 'rhel', version: '6.9', name: 'Red Hat Enterprise Linux Server' },
  ],
  [{ '/etc/cirros/version': '0.6.2\n' }, { id: 'cirros', family: 'cirros', version: '0.6.2' }],
  [{ '/etc/debian_version': '7.11\n' }, { id: 'debian', version: '7.11' }],
  [{ '/etc/alpine-release': '3.19.1\n' }, { id: 'alpine', version: '3.19.1' }],
  [{ '/etc/hostname': '# comment\n\nbox\n' }, { id: 'unknown', family: 'unknown', hostname: 'box' }],
  [{ '/etc/sysconfig/network': 'NETWORKING=yes\nHOSTNAME=el6.example\n' }, { hostname: 'el6.example' }],
])('identity of %j', async (files, expected) => {
  expect(await readIdentity(await memoryGuest(files as Record<string, string>))).toMatchObject(expected)
})

test('the architecture is that of /bin/sh', async () => {
  const elf = (data: number, machine: number[]) =>
    new Uint8Array([0x7f, 0x45, 0x4c, 0x46, 2, data, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, ...machine, 0])
  for (const [header, arch] of [
    [elf(1, [62, 0]), 'x86_64'],
    [elf(1, [183, 0]), 'aarch64'],
    [elf(2, [0, 22]), 's390x'],
    [elf(2, [0, 21]), 'ppc64'],
    [elf(1, [21, 0]), 'ppc64le'],
    [new Uint8Array(4), ''],
  ] as const) {
    const guest = await memoryGuest({ '/usr/bin/dash': header })
    await guest.symlink('usr/bin', '/bin')
    await guest.symlink('dash', '/usr/bin/sh')
    expect((await readIdentity(guest)).arch).toBe(arch)
  }
})

test('os-release is shell syntax without expansion', () => {
  const values = parseOsRelease(
    'A="x \\"y\\" \\$z"\n#B=1\nC=\'single "q"\'\n D=plain \nA2=\nbroken line\nD=last\n',
  )
  expect(Object.fromEntries(values)).toEqual({ A: 'x "y" $z', C: 'single "q"', D: 'last', A2: '' })
})

test('fstab: comments, tabs, escapes, quoted tags, missing fields', () => {
  const entries = parseFstab(
    '# c\n\nUUID="ab-cd"  /\text4\terrors=remount-ro 0 1\n/dev/sda1 /with\\040space ext4\nLABEL=x none swap sw 0 0\nshort\n',
  )
  expect(entries).toEqual([
    { spec: 'UUID=ab-cd', file: '/', type: 'ext4', options: ['errors=remount-ro'], line: 3 },
    { spec: '/dev/sda1', file: '/with space', type: 'ext4', options: ['defaults'], line: 4 },
    { spec: 'LABEL=x', file: 'none', type: 'swap', options: ['sw'], line: 5 },
  ])
})

test('os-release: blanks without end take no time', () => {
  const blanks = ' '.repeat(500_000)
  expect(parseOsRelease(`ID=a${blanks}b\n${blanks}x\nNAME= c ${blanks}\n`)).toEqual(
    new Map([
      ['ID', `a${blanks}b`],
      ['NAME', ' c'],
    ]),
  )
})
