import { setGrubLegacyTerminal, setGrubTerminal } from '../config/grub-terminal.ts'
import { getShellValue, setShellValue } from '../config/shell-assignments.ts'
import { appendLine, insertLines, joinLines, splitLines } from '../config/text.ts'
import { DrydiskError } from '../errors.ts'
import type { GuestFs } from '../guest/guest-fs.ts'
import { findBootSources } from './boot-sources.ts'
import { GrubDefaults } from './grub-defaults.ts'
import { readConfig, writeConfig } from './guest-files.ts'
import { changeKernelCommandLines } from './kernel-command-line.ts'
import type { Operation } from './operation.ts'
import { ReportBuilder } from './report.ts'

/** Arguments of the operation `serial-console`. */
export interface SerialConsoleArguments {
  /** `ttyS0` when left out. */
  readonly device?: string
  /** Bits per second; 115200 when left out. */
  readonly speed?: number
}

/** Console, then serial: the last `console=` becomes /dev/console, and messages go to both. */
/** The number of the serial port. */
function serialUnit({ device = 'ttyS0', speed = 115_200 }: SerialConsoleArguments): string {
  const unit = /^tty(?:S|AMA)(\d{1,2})$/.exec(device)?.[1]
  if (unit === undefined || !Number.isInteger(speed) || speed < 300 || speed > 4_000_000)
    throw new DrydiskError(
      'ERR_INVALID_ARGUMENT',
      `${device} at ${speed} is not a serial console; expected a device such as ttyS0 and a speed such as 115200`,
    )
  return unit
}

export const serialConsole: Operation<SerialConsoleArguments> = {
  name: 'serial-console',
  summary: 'Put the kernel, the boot menu and a login on the serial console, besides the screen',
  check(args) {
    serialUnit(args)
  },
  async run(guest, { device = 'ttyS0', speed = 115_200 }) {
    const unit = serialUnit({ device, speed })
    const report = new ReportBuilder('serial-console')
    await changeKernelCommandLines(
      guest,
      [{ action: 'last', arguments: ['console=tty0', `console=${device},${speed}n8`] }],
      report,
    )
    await setGrubDefaults(guest, Number(unit), speed, report)
    await setBootMenus(guest, Number(unit), speed, report)
    await setUpdateExtlinux(guest, Number(unit), speed, report)
    await allowLogin(guest, device, speed, report)
    return report.build()
  },
}

function serialCommand(unit: number, speed: number): string {
  return `serial --unit=${unit} --speed=${speed} --word=8 --parity=no --stop=1`
}

async function setGrubDefaults(
  guest: GuestFs,
  unit: number,
  speed: number,
  report: ReportBuilder,
): Promise<void> {
  const defaults = await GrubDefaults.load(guest)
  if (!defaults) return
  const names = ['GRUB_TERMINAL', 'GRUB_SERIAL_COMMAND'] as const
  const old = names.map(name => defaults.value(name)?.text ?? null)
  // GRUB_TERMINAL, where it is set, stands for both GRUB_TERMINAL_INPUT and GRUB_TERMINAL_OUTPUT.
  if (!isBoth(old[0])) defaults.set('GRUB_TERMINAL', 'serial console')
  if (!isSameSerial(old[1], unit, speed)) defaults.set('GRUB_SERIAL_COMMAND', serialCommand(unit, speed))
  await defaults.save()
  names.forEach((name, i) => {
    const now = defaults.value(name)
    if (now) report.change(name, old[i] ?? null, now.text, now.file, { line: now.line })
  })
}

/** GRUB's `serial` takes unit 0, 9600 bits per second, 8N1 where nothing else is said. */
function isSameSerial(command: string | null | undefined, unit: number, speed: number): boolean {
  const option = (name: string, standard: string) =>
    new RegExp(`--${name}=(\\S+)`).exec(command ?? '')?.[1] ?? standard
  return (
    /^serial\s+(--(unit|speed|word|parity|stop)=\S+\s+)*$/.test(`${command ?? ''} `) &&
    Number(option('unit', '0')) === unit &&
    Number(option('speed', '9600')) === speed &&
    option('word', '8') === '8' &&
    option('parity', 'no') === 'no' &&
    option('stop', '1') === '1'
  )
}

function isBoth(terminals: string | null | undefined): boolean {
  const words = (terminals ?? '').split(/\s+/)
  return words.includes('serial') && words.includes('console')
}

async function setBootMenus(
  guest: GuestFs,
  unit: number,
  speed: number,
  report: ReportBuilder,
): Promise<void> {
  const defaults = await GrubDefaults.load(guest)
  const terminal = {
    serialCommand: defaults?.value('GRUB_SERIAL_COMMAND')?.text ?? serialCommand(unit, speed),
    terminals: defaults?.value('GRUB_TERMINAL')?.text ?? 'serial console',
  }
  const change = async (path: string, edit: (text: string) => string) => {
    const config = await readConfig(guest, path)
    if (!config) return
    const text = edit(config.text)
    if (!(await writeConfig(guest, path, config, text))) return
    const line = splitLines(text).findIndex(l => /^\s*(serial\b)/i.test(l.text)) + 1
    const shown = (t: string) => /^[ \t]*serial\b.*$/im.exec(t)?.[0].trim() ?? null
    report.always('boot menu on the serial console', shown(config.text), shown(text), path, { line })
  }
  for (const { kind, path, template } of (await findBootSources(guest)).files) {
    if (template) continue
    if (kind === 'grub') await change(path, text => setGrubTerminal(text, terminal))
    if (kind === 'grub-legacy') await change(path, text => setGrubLegacyTerminal(text, unit, speed))
    if (kind === 'extlinux') await change(path, text => setExtlinuxSerial(text, unit, speed))
  }
  // EL8 and later: grub.cfg has no kernel lines of its own (blscfg reads the entries), but the menu all the same.
  for (const path of ['/boot/grub2/grub.cfg', '/boot/grub/grub.cfg'])
    await change(path, text =>
      /^[ \t]*(blscfg|menuentry)\b/m.test(text) || /^### BEGIN \/etc\/grub\.d\/00_header/m.test(text)
        ? setGrubTerminal(text, terminal)
        : text,
    )
}

/** SYSLINUX wants its SERIAL line before every other command (its own documentation says so). */
function setExtlinuxSerial(text: string, unit: number, speed: number): string {
  const wanted = `SERIAL ${unit} ${speed}`
  const lines = splitLines(text)
  const present = lines.find(line => /^\s*serial\s/i.test(line.text))
  if (present) {
    if (present.text.trim().toUpperCase() !== wanted) present.text = wanted
  } else {
    const first = lines.findIndex(line => !/^\s*(#|$)/.test(line.text))
    insertLines(lines, Math.max(first, 0), [wanted])
  }
  return joinLines(lines)
}

async function setUpdateExtlinux(
  guest: GuestFs,
  unit: number,
  speed: number,
  report: ReportBuilder,
): Promise<void> {
  const path = '/etc/update-extlinux.conf'
  const config = await readConfig(guest, path)
  if (!config) return
  let text = config.text
  for (const [name, value] of [
    ['serial_port', String(unit)],
    ['serial_baud', String(speed)],
  ] as const) {
    const old = getShellValue(text, name)?.text ?? null
    text = setShellValue(text, name, value)
    report.change(name, old, value, path, { line: getShellValue(text, name)?.line })
  }
  await writeConfig(guest, path, config, text)
}

/**
 * systemd starts a login on the kernel's console by itself (systemd-getty-generator), and EL6's upstart does so by udev; a
 * busybox or sysvinit inittab names each line, and securetty names where root may log in.
 */
async function allowLogin(
  guest: GuestFs,
  device: string,
  speed: number,
  report: ReportBuilder,
): Promise<void> {
  const securetty = await readConfig(guest, '/etc/securetty')
  // An empty securetty shuts root out on purpose.
  if (
    securetty &&
    securetty.text.trim() !== '' &&
    !splitLines(securetty.text).some(l => l.text.trim() === device)
  ) {
    await writeConfig(guest, '/etc/securetty', securetty, appendLine(securetty.text, device))
    report.change('root login terminal', null, device, '/etc/securetty', {
      line: splitLines(securetty.text).length + 1,
    })
  }

  const inittab = await readConfig(guest, '/etc/inittab')
  if (!inittab || !/^[^#\n]*:respawn:[^\n]*getty/m.test(inittab.text)) return
  const lines = splitLines(inittab.text)
  const mine = new RegExp(`^\\s*[^#\\n]*\\bgetty\\b.*\\b${device}\\b|^\\s*${device}:`)
  if (lines.some(line => mine.test(line.text))) return
  const commented = lines.findIndex(line => new RegExp(`^\\s*#\\s*${device}:.*getty`).test(line.text))
  const busybox = !/^\w+:\d+:respawn:/m.test(inittab.text)
  const login = busybox
    ? `${device}::respawn:/sbin/getty -L ${speed} ${device} vt100`
    : `S${device.replace(/\D/g, '')}:2345:respawn:/sbin/getty -L ${device} ${speed} vt100`
  const target = lines[commented]
  if (target) target.text = login
  else insertLines(lines, lines.length, [login])
  await writeConfig(guest, '/etc/inittab', inittab, joinLines(lines))
  report.change('login on the serial console', null, login, '/etc/inittab', {
    line: (commented < 0 ? lines.length - 1 : commented) + 1,
  })
}
