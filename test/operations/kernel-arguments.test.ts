import { describe, expect, it } from 'vitest'
import * as phony from '../../native-fixtures/phony-guests.ts'
import { readGrubEnvironment } from '../../src/config/grub-environment.ts'
import { kernelArg } from '../../src/operations/kernel-arg.ts'
import { serialConsole } from '../../src/operations/serial-console.ts'
import { changedLines, memoryGuest, runTwice, text, watched } from './support/operations.ts'

const CONSOLES = 'console=tty0 console=ttyS0,115200n8'

describe('serial-console', () => {
  for (const [name, files] of Object.entries(phony.families))
    it(`is effective on ${name} and changes nothing the second time`, async () => {
      const guest = await memoryGuest(files)
      const report = await runTwice(guest, serialConsole, {})
      const entries = report.changes.filter(c => c.setting.startsWith('kernel arguments of'))
      expect(entries.length).toBeGreaterThan(0)
      for (const entry of entries)
        expect(entry.after?.replace(/ (LANG=\S+|\$tuned_params)/, '').trim()).toMatch(
          /console=tty0 console=ttyS0,115200n8( +(splash|resume|quiet).*)?$/,
        )
    })

  it('leaves Debian as update-grub would make it', async () => {
    const guest = await memoryGuest(phony.debian)
    await serialConsole.run(guest, {})
    const grub = await text(guest, '/etc/default/grub')
    expect(changedLines(phony.debian['/etc/default/grub'], grub)).toEqual([
      '-GRUB_CMDLINE_LINUX=""',
      `+GRUB_CMDLINE_LINUX="${CONSOLES}"`,
      '+GRUB_TERMINAL="serial console"',
      '+GRUB_SERIAL_COMMAND="serial --unit=0 --speed=115200 --word=8 --parity=no --stop=1"',
    ])
    const expected = phony
      .debianGrubCfg({ normal: `${CONSOLES} quiet`, recovery: CONSOLES })
      .replace(
        'terminal_output gfxterm',
        'serial --unit=0 --speed=115200 --word=8 --parity=no --stop=1\nterminal_input serial console\nterminal_output serial console',
      )
    expect(await text(guest, '/boot/grub/grub.cfg')).toBe(expected)
  })

  it("wins over Ubuntu's grub.d, for recovery entries too", async () => {
    const guest = await memoryGuest(phony.ubuntu)
    await serialConsole.run(guest, {})
    expect(await text(guest, '/etc/default/grub.d/50-cloudimg-settings.cfg')).toContain(
      'GRUB_CMDLINE_LINUX_DEFAULT=""',
    )
    expect(await text(guest, '/etc/default/grub')).toContain(`GRUB_CMDLINE_LINUX="console=tty1 ${CONSOLES}"`)
    const cfg = await text(guest, '/boot/grub/grub.cfg')
    expect(cfg).toContain(`ro console=tty1 ${CONSOLES} \n`)
    expect(cfg).toContain(`dis_ucode_ldr console=tty1 ${CONSOLES}\n`)
    expect(await text(guest, '/boot/efi/EFI/ubuntu/grub.cfg')).toBe(
      phony.ubuntu['/boot/efi/EFI/ubuntu/grub.cfg'],
    )
  })

  it('leaves a console alone that works already, however it is written', async () => {
    const guest = await memoryGuest({
      '/etc/default/grub':
        'GRUB_CMDLINE_LINUX="console=tty0 console=ttyS0,115200 net.ifnames=0"\nGRUB_TERMINAL="console serial"\nGRUB_SERIAL_COMMAND="serial --speed=115200"\n',
      '/boot/grub/grub.cfg':
        "serial --speed=115200\nterminal_input console serial\nterminal_output console serial\nmenuentry 'Debian' {\n\tlinux\t/boot/vmlinuz root=/dev/sda1 ro console=tty0 console=ttyS0,115200 net.ifnames=0 \n}\n",
    })
    const { guest: watching, writes } = watched(guest)
    const report = await serialConsole.run(watching, {})
    expect(report.changes).toEqual([])
    expect(writes).toEqual([])
    expect(report.unchanged).toContainEqual({
      setting: 'GRUB_SERIAL_COMMAND',
      value: 'serial --speed=115200',
      file: '/etc/default/grub',
      line: 3,
    })
    const other = await serialConsole.run(guest, { speed: 9600 })
    expect(other.changes.map(change => change.after)).toContain(
      'net.ifnames=0 console=tty0 console=ttyS0,9600n8',
    )
  })

  it('writes what EL6 boots by', async () => {
    const guest = await memoryGuest(phony.el6)
    await serialConsole.run(guest, { device: 'ttyS1', speed: 9600 })
    expect(
      changedLines(phony.el6['/boot/grub/grub.conf'], await text(guest, '/boot/grub/grub.conf')),
    ).toEqual([
      '-\tkernel /vmlinuz-2.6.32-754.el6.x86_64 ro root=/dev/mapper/vg-root rd_NO_LUKS rhgb quiet',
      '+serial --unit=1 --speed=9600',
      '+terminal --timeout=5 serial console',
      '+\tkernel /vmlinuz-2.6.32-754.el6.x86_64 ro root=/dev/mapper/vg-root rd_NO_LUKS rhgb quiet console=tty0 console=ttyS1,9600n8',
    ])
    expect(await text(guest, '/etc/securetty')).toBe('console\nvc/1\ntty1\nttyS1\n')
  })

  it('writes what Alpine boots by', async () => {
    const guest = await memoryGuest(phony.alpine)
    await serialConsole.run(guest, {})
    expect(await text(guest, '/boot/extlinux.conf')).toMatch(
      /^# Generated.*\nSERIAL 0 115200\nDEFAULT menu\.c32\n/,
    )
    expect(await text(guest, '/boot/extlinux.conf')).toContain(`quiet rootfstype=ext4 ${CONSOLES}\n`)
    expect(await text(guest, '/etc/update-extlinux.conf')).toContain(
      `default_kernel_opts="quiet rootfstype=ext4 ${CONSOLES}"\n`,
    )
    expect(await text(guest, '/etc/update-extlinux.conf')).toContain('serial_port=0\n')
    expect(await text(guest, '/etc/inittab')).toContain('\nttyS0::respawn:')
  })
})

describe('kernel-arg', () => {
  it('changes kernelopts of EL8 in place, and its fallback', async () => {
    const guest = await memoryGuest(phony.el8)
    const report = await runTwice(guest, kernelArg, {
      changes: [
        { action: 'set', argument: 'crashkernel=256M' },
        { action: 'remove', argument: 'rhgb' },
        { action: 'set', argument: 'net.ifnames=0' },
      ],
    })
    const env = await guest.readFile('/boot/grub2/grubenv')
    expect(env.length).toBe(1024)
    expect(readGrubEnvironment(env).get('kernelopts')).toBe(
      'root=/dev/sda2 ro crashkernel=256M quiet net.ifnames=0 ',
    )
    expect(await text(guest, '/boot/grub2/grub.cfg')).toContain(
      'set kernelopts="root=/dev/sda2 ro crashkernel=256M quiet net.ifnames=0 "',
    )
    expect(await text(guest, '/etc/default/grub')).toContain(
      'GRUB_CMDLINE_LINUX="crashkernel=256M quiet net.ifnames=0"',
    )
    expect(
      await text(guest, '/boot/loader/entries/abcdef0123456789abcdef0123456789-4.18.0-513.el8.x86_64.conf'),
    ).toBe(phony.el8['/boot/loader/entries/abcdef0123456789abcdef0123456789-4.18.0-513.el8.x86_64.conf'])
    expect(report.changes).toContainEqual({
      setting: 'kernel arguments of Rocky Linux (4.18.0-513.el8.x86_64) 8.9 (Green Obsidian)',
      before: 'root=/dev/sda2 ro crashkernel=auto rhgb quiet',
      after: 'root=/dev/sda2 ro crashkernel=256M quiet net.ifnames=0',
      file: '/boot/grub2/grubenv',
    })
  })

  it('changes the entries and /etc/kernel/cmdline of EL9', async () => {
    const guest = await memoryGuest(phony.el9)
    await runTwice(guest, kernelArg, { changes: [{ action: 'remove', argument: 'console' }] })
    expect(await text(guest, '/etc/kernel/cmdline')).toBe('root=UUID=3333 ro no_timer_check\n')
    expect(
      await text(guest, '/boot/loader/entries/abcdef0123456789abcdef0123456789-5.14.0-427.el9.x86_64.conf'),
    ).toContain('options root=UUID=3333 ro no_timer_check $tuned_params\n')
  })

  it("keeps to the variable that holds an argument, so Debian's recovery entry stays out of it", async () => {
    const guest = await memoryGuest(phony.debian)
    await runTwice(guest, kernelArg, {
      changes: [
        { action: 'remove', argument: 'quiet' },
        { action: 'set', argument: 'nosmt' },
      ],
    })
    expect(await text(guest, '/boot/grub/grub.cfg')).toBe(
      phony.debianGrubCfg({ normal: 'nosmt ', recovery: 'nosmt' }),
    )
  })

  it('edits a variable that refers to itself, and one made by a command', async () => {
    const guest = await memoryGuest({
      ...phony.debian,
      '/etc/default/grub':
        'GRUB_CMDLINE_LINUX_DEFAULT="quiet splash"\nGRUB_CMDLINE_LINUX=`cat /proc/cmdline`\n',
      '/etc/default/grub.d/kdump.cfg':
        'GRUB_CMDLINE_LINUX_DEFAULT="$GRUB_CMDLINE_LINUX_DEFAULT crashkernel=384M-:128M"\n',
    })
    await runTwice(guest, kernelArg, {
      changes: [
        { action: 'remove', argument: 'splash' },
        { action: 'set', argument: 'crashkernel=1G' },
        { action: 'set', argument: 'nosmt' },
      ],
    })
    expect(await text(guest, '/etc/default/grub')).toBe(
      'GRUB_CMDLINE_LINUX_DEFAULT="quiet"\nGRUB_CMDLINE_LINUX=`cat /proc/cmdline`" nosmt"\n',
    )
    expect(await text(guest, '/etc/default/grub.d/kdump.cfg')).toBe(
      'GRUB_CMDLINE_LINUX_DEFAULT="$GRUB_CMDLINE_LINUX_DEFAULT crashkernel=1G"\n',
    )
  })

  it('writes a console once into the fallback of kernelopts, where it stands apart from the entries', async () => {
    for (const name of ['el8', 'el9', 'fedora'] as const) {
      const guest = await phony.phonyGuest(name)
      await kernelArg.run(guest, { changes: [{ action: 'set', argument: 'console=ttyS2,115200' }] })
      const cfg = await text(guest, '/boot/grub2/grub.cfg')
      const fallback = /set kernelopts="([^"]*)"/.exec(cfg)?.[1] ?? ''
      expect(fallback.split('console=ttyS2,115200').length, name).toBe(2)
    }
  })

  it('does not double what an entry had already and the defaults had not', async () => {
    const guest = await memoryGuest({
      ...phony.debian,
      '/boot/grub/grub.cfg': phony.debianGrubCfg({ normal: 'quiet console=ttyS0', recovery: '' }),
    })
    await kernelArg.run(guest, {
      changes: [
        { action: 'set', argument: 'console=ttyS0' },
        { action: 'append', argument: 'nosmt' },
      ],
    })
    const cfg = await text(guest, '/boot/grub/grub.cfg')
    expect(cfg.match(/linux\t.* ro quiet.*$/m)?.[0].match(/console=ttyS0/g)).toHaveLength(1)
    expect(await text(guest, '/etc/default/grub')).toContain('GRUB_CMDLINE_LINUX="console=ttyS0 nosmt"')
  })

  it('gives a console its options: the kernel takes those of the first', async () => {
    const guest = await memoryGuest(phony.ubuntu)
    await runTwice(guest, kernelArg, { changes: [{ action: 'set', argument: 'console=ttyS0,115200' }] })
    const cfg = await text(guest, '/boot/grub/grub.cfg')
    expect(cfg).toMatch(/ro +console=tty1 console=ttyS0,115200/)
    expect(cfg).not.toMatch(/console=ttyS0 /)
    await runTwice(guest, kernelArg, { changes: [{ action: 'append', argument: 'console=tty1,x' }] })
    expect(await text(guest, '/boot/grub/grub.cfg')).toMatch(/ro +console=ttyS0,115200 console=tty1,x/)
  })

  it('refuses an argument that a boot loader would take apart, and a guest without boot configuration', async () => {
    const guest = await memoryGuest({ '/etc/passwd': '' })
    await expect(kernelArg.run(guest, { changes: [{ action: 'set', argument: 'a b' }] })).rejects.toThrow(
      /kernel argument/,
    )
    await expect(kernelArg.run(guest, { changes: [{ action: 'set', argument: 'a' }] })).rejects.toThrow(
      /no boot configuration/,
    )
  })

  it('says that an image on the ESP is none that it knows', async () => {
    const guest = await memoryGuest({ ...phony.el9, '/boot/efi/EFI/Linux/a.efi': 'MZ' })
    const { warnings } = await kernelArg.run(guest, { changes: [{ action: 'set', argument: 'a' }] })
    expect(warnings).toEqual([expect.stringContaining('not a PE file')])
  })

  it('refuses a grubenv that cannot hold the arguments, before it writes', async () => {
    const guest = await memoryGuest({
      ...phony.el8,
      '/boot/grub2/grubenv': phony.grubenv(`kernelopts=${'x'.repeat(980)}\n`),
    })
    await expect(
      kernelArg.run(guest, { changes: [{ action: 'set', argument: 'longer=than-it-can-hold' }] }),
    ).rejects.toMatchObject({
      code: 'ENOSPC',
    })
  })
})
