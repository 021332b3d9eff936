import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import * as phony from '../../native-fixtures/phony-guests.ts'
import { unifiedImage } from '../../native-fixtures/unified-image.ts'
import { readGrubConfig } from '../../src/config/grub-config.ts'
import { readPeHeaders } from '../../src/config/unified-kernel-image.ts'
import { compareVersions } from '../../src/config/version-compare.ts'
import { DrydiskError } from '../../src/errors.ts'
import type { GuestFs } from '../../src/guest/guest-fs.ts'
import { HostFolderGuest } from '../../src/guest/host-folder-guest.ts'
import { bootEntries } from '../../src/operations/boot-listing.ts'
import { kernelArg } from '../../src/operations/kernel-arg.ts'
import { serialConsole } from '../../src/operations/serial-console.ts'
import { haveTool, propertySettings, run, runOk, temporaryFolder } from '../support/native.ts'
import { memoryGuest, runTwice, text } from './support/operations.ts'

const NAMES = Object.keys(phony.phonyGuests) as phony.PhonyGuestName[]
const ID = 'abcdef0123456789abcdef0123456789'

/** grub-script-check has the last word about every grub.cfg, grub-editenv about every environment block. */
async function grubOracle(guest: GuestFs): Promise<void> {
  const folder = temporaryFolder()
  for (const path of [
    '/boot/grub/grub.cfg',
    '/boot/grub2/grub.cfg',
    '/boot/efi/EFI/centos/grub.cfg',
    '/boot/efi/EFI/rocky/grub.cfg',
  ]) {
    if (!(await guest.exists(path)) || !haveTool('grub-script-check')) continue
    const file = join(folder, 'grub.cfg')
    writeFileSync(file, await guest.readFile(path))
    await runOk('grub-script-check', [file])
  }
  for (const path of ['/boot/grub/grubenv', '/boot/grub2/grubenv']) {
    if (!(await guest.exists(path)) || !haveTool('grub-editenv')) continue
    const file = join(folder, 'grubenv')
    writeFileSync(file, await guest.readFile(path))
    expect(readFileSync(file).length).toBe(1024)
    await runOk('grub-editenv', [file, 'list'])
  }
}

describe('boot entries', () => {
  const expected: Partial<Record<phony.PhonyGuestName, [string, string, string, boolean][]>> = {
    el6: [
      [
        'CentOS (2.6.32-754.el6.x86_64)',
        '/vmlinuz-2.6.32-754.el6.x86_64',
        'ro root=/dev/mapper/vg-root rd_NO_LUKS rhgb quiet',
        true,
      ],
    ],
    el7: [
      [
        'CentOS Linux (3.10.0-1160.el7.x86_64) 7 (Core)',
        '/vmlinuz-3.10.0-1160.el7.x86_64',
        'root=/dev/mapper/centos-root ro crashkernel=auto rhgb quiet LANG=en_US.UTF-8',
        true,
      ],
      [
        'CentOS Linux (0-rescue-c0ffee) 7 (Core)',
        '/vmlinuz-0-rescue-c0ffee',
        'root=/dev/mapper/centos-root ro crashkernel=auto rhgb quiet',
        false,
      ],
    ],
    el8Efi: [
      [
        'Rocky Linux (4.18.0-513.el8.x86_64) 8.9 (Green Obsidian)',
        '/boot/vmlinuz-4.18.0-513.el8.x86_64',
        'root=/dev/sda2 ro crashkernel=auto rhgb quiet',
        true,
      ],
      [
        `Rocky Linux (0-rescue-${ID}) 8.9 (Green Obsidian)`,
        `/boot/vmlinuz-0-rescue-${ID}`,
        'root=/dev/sda2 ro crashkernel=auto rhgb quiet',
        false,
      ],
    ],
    el9: [
      [
        'AlmaLinux (5.14.0-427.el9.x86_64) 9.4 (Seafoam Ocelot)',
        '/vmlinuz-5.14.0-427.el9.x86_64',
        'root=UUID=3333 ro console=ttyS1,9600 no_timer_check',
        true,
      ],
      [
        `AlmaLinux (0-rescue-${ID}) 9.4 (Seafoam Ocelot)`,
        `/vmlinuz-0-rescue-${ID}`,
        'root=UUID=3333 ro console=ttyS1,9600 no_timer_check',
        false,
      ],
    ],
    ubuntu: [
      [
        'Ubuntu',
        '/vmlinuz-6.8.0-31-generic',
        'root=LABEL=cloudimg-rootfs ro console=tty1 console=ttyS0',
        true,
      ],
      [
        'Advanced options for Ubuntu > Ubuntu, with Linux 6.8.0-31-generic',
        '/vmlinuz-6.8.0-31-generic',
        'root=LABEL=cloudimg-rootfs ro console=tty1 console=ttyS0',
        false,
      ],
      [
        'Advanced options for Ubuntu > Ubuntu, with Linux 6.8.0-31-generic (recovery mode)',
        '/vmlinuz-6.8.0-31-generic',
        'root=LABEL=cloudimg-rootfs ro recovery nomodeset dis_ucode_ldr',
        false,
      ],
    ],
    tumbleweed: [
      [
        'openSUSE Tumbleweed',
        '/opensuse-tumbleweed/6.11.3-1-default/linux-0123456789abcdef',
        'root=UUID=9999 rootflags=subvol=@/.snapshots/1/snapshot splash=silent quiet systemd.machine_id=fedcba9876543210fedcba9876543210',
        true,
      ],
    ],
    alpine: [
      [
        'Linux virt',
        'vmlinuz-virt',
        'root=UUID=4444 modules=sd-mod,usb-storage,ext4 quiet rootfstype=ext4',
        true,
      ],
    ],
    cirros: [
      ['cirros 0.6.2', '/boot/vmlinuz', 'root=LABEL=cirros-rootfs ro console=tty1 console=ttyS0', true],
    ],
  }
  for (const name of NAMES)
    it(`of ${name}`, async () => {
      const guest = await phony.phonyGuest(name)
      const entries = await bootEntries(guest)
      expect(entries.filter(entry => entry.default)).toHaveLength(1)
      for (const { file, line, written } of entries)
        expect((await text(guest, file)).split('\n')[line - 1]).toContain(written)
      const wanted = expected[name]
      if (wanted) expect(entries.map(e => [e.title, e.kernel, e.arguments, e.default])).toEqual(wanted)
      await grubOracle(guest)
    })

  it('finds the default by number, title, id and submenu', async () => {
    const defaultOf = async (files: Record<string, string>) =>
      (await bootEntries(await memoryGuest({ ...phony.debian, ...files }))).find(entry => entry.default)
        ?.title
    const cfg = (value: string) => ({
      '/boot/grub/grub.cfg': phony.debian['/boot/grub/grub.cfg'].replace(
        'set default="0"',
        `set default="${value}"`,
      ),
    })
    const advanced = 'Advanced options for Debian GNU/Linux'
    const normal = `${advanced} > Debian GNU/Linux, with Linux 6.1.0-13-amd64`
    expect(await defaultOf(cfg('0'))).toBe('Debian GNU/Linux')
    expect(await defaultOf(cfg('1>1'))).toBe(`${normal} (recovery mode)`)
    expect(await defaultOf(cfg('gnulinux-advanced-1111>gnulinux-6.1.0-13-amd64-advanced-1111'))).toBe(normal)
    expect(await defaultOf(cfg(`${advanced}>0`))).toBe(normal)
    expect(await defaultOf(cfg('nonsense'))).toBe('Debian GNU/Linux')
    const saved = { ...cfg(`\${saved_entry}`), '/boot/grub/grubenv': phony.grubenv('saved_entry=1>0\n') }
    expect(await defaultOf(saved)).toBe(normal)
    expect(await defaultOf({ '/boot/grub/grubenv': phony.grubenv('next_entry=1>0\nsaved_entry=0\n') })).toBe(
      normal,
    )

    const el9 = async (files: Record<string, string>) =>
      (await bootEntries(await memoryGuest({ ...phony.el9, ...files }))).find(entry => entry.default)?.title
    expect(await el9({ '/boot/grub2/grubenv': phony.grubenv(`saved_entry=${ID}-0-rescue\n`) })).toContain(
      '0-rescue',
    )
    expect(await el9({ '/boot/grub2/grubenv': phony.grubenv('saved_entry=0\n') })).toContain('5.14.0')
    const older = `/boot/loader/entries/${ID}-5.14.0-70.el9.x86_64.conf`
    expect(
      await el9({ [older]: 'title Old\nlinux /o\noptions a\n', '/boot/grub2/grubenv': phony.grubenv('') }),
    ).toContain('5.14.0-427')

    const boot = async (conf: string) =>
      (
        await bootEntries(
          await memoryGuest({
            '/boot/efi/loader/loader.conf': conf,
            '/boot/efi/loader/entries/a.conf': 'title A\nsort-key x\nversion 1\nlinux /a\noptions q\n',
            '/boot/efi/loader/entries/b.conf': 'title B\nsort-key x\nversion 2\nlinux /b\noptions q\n',
            '/boot/efi/loader/entries/c.conf': 'title C\nversion 3\nlinux /c\noptions q\n',
          }),
        )
      ).map(entry => `${entry.default ? '*' : ''}${entry.title}`)
    expect(await boot('timeout 3\n')).toEqual(['*B', 'A', 'C'])
    expect(await boot('default a*\n')).toEqual(['B', '*A', 'C'])
    expect(await boot('default c.conf\n')).toEqual(['B', 'A', '*C'])

    const legacy = await memoryGuest({
      '/boot/grub/menu.lst': 'default saved\ntitle A\nkernel /a x\ntitle B\nkernel /b y\n',
      '/boot/grub/default': '1\n#\n',
    })
    expect((await bootEntries(legacy)).map(entry => entry.default)).toEqual([false, true])
  })

  it('follows the conditions that decide which of two kernel lines is taken', async () => {
    const files = {
      ...phony.ubuntu,
      '/boot/grub/grub.cfg': phony.forcePartuuidEntry(' console=tty1 console=ttyS0'),
    }
    expect((await bootEntries(await memoryGuest(files)))[0]?.arguments).toBe(
      'root=PARTUUID=8a3c2d5f-01 ro console=tty1 console=ttyS0 panic=-1',
    )
    const guest = await memoryGuest(files)
    await runTwice(guest, kernelArg, { changes: [{ action: 'set', argument: 'nosmt' }] })
    const lines = (await text(guest, '/boot/grub/grub.cfg'))
      .split('\n')
      .filter(line => /^\s*linux/.test(line))
    expect(lines.map(line => line.includes('nosmt'))).toEqual([true, true])
    expect(lines[1]).toMatch(/ panic=-1$/)
  })

  it('leaves a variable as it is written that only a function sets', async () => {
    const cfg = phony.ubuntuGrubCfg({ normal: ' quiet splash $vt_handoff', recovery: '' })
    const guest = await memoryGuest({ ...phony.ubuntu, '/boot/grub/grub.cfg': cfg })
    expect((await bootEntries(guest))[0]?.arguments).toBe(
      'root=LABEL=cloudimg-rootfs ro quiet splash $vt_handoff',
    )
    await runTwice(guest, kernelArg, { changes: [{ action: 'set', argument: 'nosmt' }] })
    expect((await bootEntries(guest))[0]?.arguments).toBe(
      'root=LABEL=cloudimg-rootfs ro quiet splash $vt_handoff nosmt',
    )
  })

  it('reads scripts in bounded time (property)', () => {
    const pieces = fc.constantFrom(
      ...[
        'menuentry "a" {\n',
        '}',
        '\n',
        'if [ ',
        ']; then\n',
        'fi\n',
        'else\n',
        "'",
        '"',
        '${',
        '$a',
        ';',
        '\\',
        '#',
      ],
      ...[
        'linux /v a\n',
        'set a=$a$a\n',
        'set a="',
        'submenu x {\n',
        'function f {\n',
        'load_env\n',
        'blscfg\n',
        'while ',
      ],
    )
    fc.assert(
      fc.property(fc.array(pieces, { maxLength: 60 }), parts => {
        const source = parts.join('')
        try {
          const config = readGrubConfig(source, new Map([['a', 'bb']]))
          for (const { start, end } of config.kernelLines)
            expect(start <= end && end <= source.length).toBe(true)
        } catch (error) {
          if (!(error instanceof DrydiskError)) throw error
        }
      }),
      propertySettings(2000),
    )
    for (const hostile of [
      '{',
      'a {',
      '${',
      "'",
      '"',
      '\\',
      'set a=$a$a\n',
      'linux /v a\n',
      'if [ a ]; then\n',
    ])
      try {
        readGrubConfig(hostile.repeat(200_000 / hostile.length), new Map([['a', 'b']]))
      } catch (error) {
        if (!(error instanceof DrydiskError)) throw error
      }
  })

  it('compares versions as rpm does', async () => {
    const pairs: [string, string, number][] = [
      ['5.14.0-427', '5.14.0-70', 1],
      ['1.0', '1.0.1', -1],
      ['1.0~rc1', '1.0', -1],
      ['1.0^git', '1.0', 1],
      ['a', '1', -1],
      ['1a', '1b', -1],
      ['007', '7', 0],
      [`${ID}-0-rescue`, `${ID}-5.14`, -1],
    ]
    for (const [a, b, sign] of pairs) {
      expect(Math.sign(compareVersions(a, b))).toBe(sign)
      expect(Math.sign(compareVersions(b, a))).toBe(-sign + 0)
      // rpm.vercmp takes what follows the last dash as a release.
      if (!haveTool('rpm') || a.startsWith(ID)) continue
      const said = await run('rpm', ['--eval', `%{lua: print(rpm.vercmp("${a}", "${b}"))}`])
      expect(Number(said.stdout)).toBe(sign)
    }
  })
})

describe('kernel-arg', () => {
  const changes = [
    { action: 'set', argument: 'nosmt=force' },
    { action: 'remove', argument: 'quiet' },
    { action: 'append', argument: 'module.option=1' },
  ] as const

  for (const name of NAMES)
    it(`is effective in every entry of ${name}, and leaves stubs on the ESP alone`, async () => {
      const guest = await phony.phonyGuest(name)
      const stubs = Object.keys(phony.phonyGuests[name].files).filter(
        path => path.startsWith('/boot/efi/EFI/') && path.endsWith('grub.cfg'),
      )
      const before = await Promise.all(stubs.map(path => text(guest, path)))
      const report = await runTwice(guest, kernelArg, { changes })
      const entries = await bootEntries(guest)
      for (const entry of entries) {
        const words = entry.arguments.split(' ')
        expect(words).toContain('nosmt=force')
        expect(words).toContain('module.option=1')
        expect(words).not.toContain('quiet')
        expect(report.changes).toContainEqual(
          expect.objectContaining({ setting: `kernel arguments of ${entry.title}`, after: entry.arguments }),
        )
      }
      for (const [i, path] of stubs.entries())
        if (!/linux/.test(before[i] ?? '') && !/blscfg/.test(before[i] ?? ''))
          expect(await text(guest, path)).toBe(before[i])
      await grubOracle(guest)
      if (await guest.exists('/etc/kernel/cmdline'))
        expect(await text(guest, '/etc/kernel/cmdline')).toContain('nosmt=force')
    })

  it('follows the link of grubenv onto the ESP', async () => {
    const guest = await phony.phonyGuest('el8Efi')
    const report = await runTwice(guest, kernelArg, { changes })
    expect(report.changes).toContainEqual(
      expect.objectContaining({ setting: 'kernelopts', file: '/boot/efi/EFI/rocky/grubenv' }),
    )
    expect((await guest.lstat('/boot/grub2/grubenv')).isSymbolicLink()).toBe(true)
    if (!haveTool('grub-editenv')) return
    const file = join(temporaryFolder(), 'grubenv')
    writeFileSync(file, await guest.readFile('/boot/efi/EFI/rocky/grubenv'))
    expect(await runOk('grub-editenv', [file, 'list'])).toContain(
      'kernelopts=root=/dev/sda2 ro crashkernel=auto rhgb nosmt=force module.option=1 \n',
    )
  })

  it('runs unchanged on a folder of the host', async () => {
    for (const name of ['el8Efi', 'ubuntu', 'tumbleweed'] as const) {
      const root = temporaryFolder()
      const { files, links } = phony.phonyGuests[name]
      for (const [path, data] of Object.entries(files)) {
        mkdirSync(dirname(join(root, path)), { recursive: true })
        writeFileSync(join(root, path), data)
      }
      mkdirSync(join(root, 'boot/grub2'), { recursive: true })
      if (name === 'el8Efi') symlinkSync(links['/boot/grub2/grubenv'] ?? '', join(root, 'boot/grub2/grubenv'))
      const image = unifiedImage({ commandLine: 'ro' })
      mkdirSync(join(root, 'boot/efi/EFI/Linux'), { recursive: true })
      writeFileSync(join(root, 'boot/efi/EFI/Linux/a.efi'), image)
      const folder = new HostFolderGuest(root, { writable: true })
      const memory = await phony.phonyGuest(name, { '/boot/efi/EFI/Linux/a.efi': image })
      // Longer than the section's place in the file.
      const long = [...changes, { action: 'set', argument: `x=${'y'.repeat(600)}` }] as const
      const report = await runTwice(folder, kernelArg, { changes: long })
      expect(report).toEqual(await kernelArg.run(memory, { changes: long }))
      for (const { file } of report.changes)
        expect(Buffer.compare(await folder.readFile(file), await memory.readFile(file))).toBe(0)
    }
  })

  it('says which variable still wins', async () => {
    const files = {
      ...phony.el9,
      '/boot/grub2/grubenv': phony.grubenv('tuned_params=skew_tick=1 isolcpus=1-3\n'),
    }
    // grub.cfg's own `set tuned_params=""` comes after load_env, so it must go for grubenv's to count.
    const cfg = files['/boot/grub2/grub.cfg'].replace(
      'set tuned_params=""',
      'set tuned_params="isolcpus=1-3"',
    )
    const guest = await memoryGuest({ ...files, '/boot/grub2/grub.cfg': cfg })
    expect((await bootEntries(guest))[0]?.arguments).toMatch(/ isolcpus=1-3$/)
    await expect(
      kernelArg.run(guest, { changes: [{ action: 'remove', argument: 'isolcpus' }] }),
    ).rejects.toMatchObject({
      code: 'ERR_NOT_EFFECTIVE',
      context: { path: `/boot/loader/entries/${ID}-5.14.0-427.el9.x86_64.conf` },
    })
    expect(await text(guest, '/etc/kernel/cmdline')).toBe(phony.el9['/etc/kernel/cmdline'])
  })

  it('gives arguments to entries that have none yet', async () => {
    const set = { changes: [{ action: 'set', argument: 'a=1' }] } as const
    const cases: [string, string, string][] = [
      [
        '/boot/grub/grub.cfg',
        "menuentry 'x' {\n\tlinux /vmlinuz\n}\n",
        "menuentry 'x' {\n\tlinux /vmlinuz a=1\n}\n",
      ],
      ['/boot/grub/menu.lst', 'title x\nkernel /vmlinuz\n', 'title x\nkernel /vmlinuz a=1\n'],
      [
        '/boot/loader/entries/x.conf',
        'title x\nlinux /v\ninitrd /i\ngrub_class x\n',
        'title x\nlinux /v\ninitrd /i\noptions a=1\ngrub_class x\n',
      ],
      ['/boot/loader/entries/x.conf', 'title x\nlinux /v\noptions\n', 'title x\nlinux /v\noptions a=1\n'],
      [
        '/boot/loader/entries/x.conf',
        'title x\noptions b\nlinux /v\noptions c\n',
        'title x\noptions b c a=1\nlinux /v\n',
      ],
      [
        '/boot/extlinux.conf',
        'LABEL x\n  LINUX v\n  INITRD i\nLABEL hd\n  COM32 chain.c32\n',
        'LABEL x\n  LINUX v\n  APPEND a=1\n  INITRD i\nLABEL hd\n  COM32 chain.c32\n',
      ],
      [
        '/boot/extlinux.conf',
        'APPEND q\nLABEL x\n LINUX v\nLABEL y\n LINUX w\nLABEL m\n KERNEL memtest.bin\n',
        'APPEND q a=1\nLABEL x\n LINUX v\nLABEL y\n LINUX w\nLABEL m\n KERNEL memtest.bin\n',
      ],
    ]
    for (const [path, before, after] of cases) {
      const guest = await memoryGuest({ [path]: before })
      await runTwice(guest, kernelArg, set)
      expect(await text(guest, path)).toBe(after)
    }
    const same = 'title x\noptions b\nlinux /v\noptions a=1\n'
    const guest = await memoryGuest({ '/boot/loader/entries/x.conf': same })
    await runTwice(guest, kernelArg, set)
    expect(await text(guest, '/boot/loader/entries/x.conf')).toContain('a=1')
  })

  it("changes a person's own entries, and not those of other systems or of Xen itself", async () => {
    const own = "#!/bin/sh\nexec tail -n +3 $0\nmenuentry 'Mine' {\n\tlinux /mine q\n}\n"
    const cfg = `### BEGIN /etc/grub.d/20_linux_xen ###
menuentry 'Xen' {
	multiboot2	/xen-4.17.gz placeholder
	module2	/vmlinuz-6 placeholder root=/dev/sda1 ro
	module2	--nounzip /initrd.img-6
}
### END /etc/grub.d/20_linux_xen ###
### BEGIN /etc/grub.d/30_os-prober ###
menuentry 'Other' {
	linux /other root=/dev/sdb1
}
### END /etc/grub.d/30_os-prober ###
### BEGIN /etc/grub.d/40_custom ###
menuentry 'Mine' {
	linux /mine q
}
### END /etc/grub.d/40_custom ###
`
    const guest = await memoryGuest({
      '/etc/grub.d/40_custom': own,
      '/etc/grub.d/10_linux': `#!/bin/sh\nlinux \${rel_dirname}/\${basename} root=x\n`,
      '/boot/grub/grub.cfg': cfg,
      '/boot/grub/custom.cfg': "menuentry 'More' {\n\tlinux /more\n}\n",
    })
    await runTwice(guest, kernelArg, { changes: [{ action: 'set', argument: 'nosmt' }] })
    expect(await text(guest, '/etc/grub.d/40_custom')).toBe(own.replace('/mine q', '/mine q nosmt'))
    expect(await text(guest, '/boot/grub/grub.cfg')).toBe(
      cfg.replace('/mine q', '/mine q nosmt').replace('root=/dev/sda1 ro', 'root=/dev/sda1 ro nosmt'),
    )
    expect(await text(guest, '/boot/grub/custom.cfg')).toContain('/more nosmt')
    expect(await text(guest, '/etc/grub.d/10_linux')).not.toContain('nosmt')
    expect((await bootEntries(guest)).map(entry => [entry.title, entry.foreign])).toEqual([
      ['Xen', false],
      ['Other', true],
      ['Mine', false],
    ])
  })

  it("overrides the vendor's command line in /etc", async () => {
    const guest = await memoryGuest({
      '/usr/lib/kernel/cmdline': 'root=x quiet\n',
      '/boot/loader/entries/x.conf': 'title x\nlinux /v\noptions root=x quiet\n',
    })
    await runTwice(guest, kernelArg, { changes: [{ action: 'remove', argument: 'quiet' }] })
    expect(await text(guest, '/etc/kernel/cmdline')).toBe('root=x\n')
    expect(await text(guest, '/usr/lib/kernel/cmdline')).toBe('root=x quiet\n')
  })
})

describe('serial-console', () => {
  for (const name of NAMES)
    it(`puts ${name} on the serial port: kernel, menu, login`, async () => {
      const guest = await phony.phonyGuest(name)
      await runTwice(guest, serialConsole, { device: 'ttyS0', speed: 115_200 })
      for (const entry of await bootEntries(guest)) {
        const consoles = entry.arguments.split(' ').filter(argument => argument.startsWith('console='))
        expect(consoles.slice(-2)).toEqual(['console=tty0', 'console=ttyS0,115200n8'])
      }
      for (const path of ['/boot/grub/grub.cfg', '/boot/grub2/grub.cfg', '/boot/efi/EFI/rocky/grub.cfg'])
        if ((await guest.exists(path)) && (await guest.exists('/etc/default/grub'))) {
          const lines = (await text(guest, path)).split('\n')
          expect(lines.filter(line => /^\s*terminal_output /.test(line))).toEqual([
            'terminal_output serial console',
          ])
        }
      for (const path of ['/etc/securetty', '/etc/inittab'])
        if (
          (await guest.exists(path)) &&
          (path === '/etc/securetty' || /^\S+:respawn:.*getty/m.test(await text(guest, path)))
        )
          expect((await text(guest, path)).split('\n').some(line => /^ttyS0/.test(line))).toBe(true)
      await grubOracle(guest)
    })

  it("leaves a person's own menu entries without terminal commands", async () => {
    const own = "#!/bin/sh\nexec tail -n +3 $0\nmenuentry 'Mine' {\n\tlinux /mine q\n}\n"
    const guest = await phony.phonyGuest('debian', { '/etc/grub.d/40_custom': own })
    await runTwice(guest, serialConsole, {})
    expect(await text(guest, '/etc/grub.d/40_custom')).toBe(
      own.replace('/mine q', '/mine q console=tty0 console=ttyS0,115200n8'),
    )
  })
})

describe('unified kernel images', () => {
  const path = '/boot/efi/EFI/Linux/fedora-6.11.4.efi'
  const set = (argument: string) => ({ changes: [{ action: 'set', argument }] }) as const

  /** objcopy's word for what the section holds. */
  async function sectionOf(image: Uint8Array, name: string): Promise<string | undefined> {
    if (!haveTool('objcopy')) return undefined
    const folder = temporaryFolder()
    writeFileSync(join(folder, 'in'), image)
    await runOk('objcopy', [
      '--dump-section',
      `${name}=${join(folder, 'out')}`,
      join(folder, 'in'),
      join(folder, 'copy'),
    ])
    return readFileSync(join(folder, 'out')).toString().replace(/\0+$/, '')
  }

  it('shows and changes the command line in place', async () => {
    const image = unifiedImage({ commandLine: 'root=UUID=1 ro quiet', checkSum: 5 })
    const guest = await memoryGuest({ [path]: image, '/etc/kernel/cmdline': 'root=UUID=1 ro quiet\n' })
    expect(await bootEntries(guest)).toMatchObject([
      {
        title: 'Fedora Linux 41 (Cloud Edition) (6.11.4-301.fc41.x86_64)',
        loader: 'uki',
        arguments: 'root=UUID=1 ro quiet',
        default: true,
      },
    ])
    const report = await runTwice(guest, kernelArg, set('console=ttyS0'))
    expect(report.changes).toContainEqual({
      setting: 'kernel arguments of Fedora Linux 41 (Cloud Edition) (6.11.4-301.fc41.x86_64)',
      before: 'root=UUID=1 ro quiet',
      after: 'root=UUID=1 ro quiet console=ttyS0',
      file: path,
    })
    const after = await guest.readFile(path)
    expect(after.length).toBe(image.length)
    expect((await sectionOf(after, '.cmdline')) ?? 'root=UUID=1 ro quiet console=ttyS0').toBe(
      'root=UUID=1 ro quiet console=ttyS0',
    )
    await runTwice(guest, kernelArg, {
      changes: ['quiet', 'console'].map(argument => ({ action: 'remove' as const, argument })),
    })
    expect((await bootEntries(guest))[0]?.arguments).toBe('root=UUID=1 ro')
    expect((await sectionOf(await guest.readFile(path), '.linux')) ?? 'kernel'.repeat(1000)).toBe(
      'kernel'.repeat(1000),
    )
  })

  it('grows past the room in the file, up to the next section in memory', async () => {
    const guest = await memoryGuest({ [path]: unifiedImage({ commandLine: 'root=UUID=1\n' }) })
    const long = `x=${'y'.repeat(3000)}`
    await runTwice(guest, kernelArg, set(long))
    expect((await bootEntries(guest))[0]?.arguments).toBe(`root=UUID=1 ${long}`)
    expect((await sectionOf(await guest.readFile(path), '.cmdline')) ?? `root=UUID=1 ${long}\n`).toBe(
      `root=UUID=1 ${long}\n`,
    )
    expect((await sectionOf(await guest.readFile(path), '.linux')) ?? 'kernel'.repeat(1000)).toBe(
      'kernel'.repeat(1000),
    )
    await expect(kernelArg.run(guest, set(`z=${'z'.repeat(2000)}`))).rejects.toMatchObject({ code: 'ENOSPC' })
  })

  it('refuses a signed one by its name, or says so where something else boots', async () => {
    for (const options of [{ signed: true }, { pcrSignature: true }]) {
      const image = unifiedImage({ commandLine: 'quiet', ...options })
      const only = await memoryGuest({ [path]: image })
      await expect(kernelArg.run(only, set('a=1'))).rejects.toMatchObject({
        code: 'ERR_NOT_EFFECTIVE',
        message: expect.stringContaining(path),
        context: { path },
      })
      expect(await only.readFile(path)).toEqual(image)
      expect(
        (await runTwice(only, kernelArg, { changes: [{ action: 'remove', argument: 'absent' }] })).changes,
      ).toEqual([])
      const both = await memoryGuest({ ...phony.el9, [path]: image })
      const { warnings } = await runTwice(both, kernelArg, set('a=1'))
      expect(warnings).toEqual([expect.stringContaining(path)])
      expect(await both.readFile(path)).toEqual(image)
    }
    const without = await memoryGuest({ ...phony.el9, [path]: unifiedImage({ commandLine: null }) })
    expect((await kernelArg.run(without, set('a=1'))).warnings).toEqual([
      expect.stringContaining('no .cmdline'),
    ])
  })

  it('changes every profile', async () => {
    const image = unifiedImage({
      commandLine: 'a',
      more: [
        ['.profile', 'ID=main'],
        ['.cmdline', 'a rescue'],
      ],
    })
    const guest = await memoryGuest({ [path]: image })
    await runTwice(guest, kernelArg, set('b=1'))
    expect((await bootEntries(guest)).map(entry => entry.arguments)).toEqual(['a b=1', 'a rescue b=1'])
  })

  it('counts addons, and says when one decides', async () => {
    const addon = `${path}.extra.d/serial.addon.efi`
    const guest = await memoryGuest({
      [path]: unifiedImage({ commandLine: 'ro' }),
      [addon]: unifiedImage({ commandLine: 'console=ttyS0\n' }),
      '/boot/efi/loader/addons/all.addon.efi': unifiedImage({ commandLine: 'nosmt' }),
    })
    expect((await bootEntries(guest))[0]?.arguments).toBe('ro nosmt console=ttyS0')
    expect((await runTwice(guest, kernelArg, set('nosmt'))).changes).toEqual([])
    await runTwice(guest, kernelArg, set('a=1'))
    expect((await bootEntries(guest))[0]?.arguments).toBe('ro a=1 nosmt console=ttyS0')
    await expect(
      kernelArg.run(guest, { changes: [{ action: 'remove', argument: 'console' }] }),
    ).rejects.toMatchObject({ code: 'ERR_NOT_EFFECTIVE', message: expect.stringContaining(addon) })
  })

  it('damage is a typed error or a file that is told of (property)', async () => {
    const image = unifiedImage({ commandLine: 'root=UUID=1 ro quiet' })
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat(0x240), fc.nat(255)), { minLength: 1, maxLength: 8 }),
        fc.option(fc.nat(image.length), { freq: 4 }),
        async (edits, cut) => {
          const damaged = image.slice(0, cut ?? image.length)
          for (const [at, value] of edits) if (at < damaged.length) damaged[at] = value
          try {
            readPeHeaders(damaged.subarray(0, 4096), damaged.length)
            const guest = await memoryGuest({ [path]: damaged })
            await kernelArg.run(guest, set('a=1'))
            expect((await guest.stat(path)).size).toBeLessThan(image.length + (2 << 20))
          } catch (error) {
            if (!(error instanceof DrydiskError)) throw error
          }
        },
      ),
      propertySettings(300),
    )
  })
})
