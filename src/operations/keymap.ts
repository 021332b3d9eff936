import { getShellValue, setShellValue } from '../config/shell-assignments.ts'
import { DrydiskError } from '../errors.ts'
import type { GuestFs } from '../guest/guest-fs.ts'
import { CloudConfig } from './cloud-config-of-guest.ts'
import { glob } from './glob.ts'
import { displayPath, readConfig, writeConfig } from './guest-files.ts'
import type { Operation } from './operation.ts'
import { ReportBuilder } from './report.ts'

/** Arguments of the operation `keymap`. */
export interface KeymapArguments {
  /** As loadkeys(1) or, on Debian and Ubuntu, as XKB calls it: `de`, `us`, `de-latin1-nodeadkeys`. */
  readonly keymap: string
  /** Of an XKB layout (`nodeadkeys`); Debian and Ubuntu alone. */
  readonly variant?: string
}

const VCONSOLE = '/etc/vconsole.conf'
const DEBIAN = '/etc/default/keyboard'
const EL6 = '/etc/sysconfig/keyboard'

function checkKeymap({ keymap: name, variant }: KeymapArguments): void {
  for (const word of [name, variant ?? 'x'])
    if (!/^[A-Za-z0-9][A-Za-z0-9_+.-]{0,63}$/.test(word))
      throw new DrydiskError(
        'ERR_INVALID_ARGUMENT',
        `${JSON.stringify(word)} is not a keyboard layout; expected a name such as us or de`,
      )
}

export const keymap: Operation<KeymapArguments> = {
  name: 'keymap',
  summary: 'Set the keyboard layout of the console',
  check: checkKeymap,
  async run(guest, { keymap: name, variant }) {
    const report = new ReportBuilder('keymap')
    checkKeymap({ keymap: name, ...(variant === undefined ? {} : { variant }) })
    const isDebian = (await guest.exists(DEBIAN)) || (await guest.exists('/etc/debian_version'))
    if (isDebian) await setDebian(guest, name, variant, report)
    else {
      if (variant !== undefined)
        throw new DrydiskError(
          'ERR_INVALID_ARGUMENT',
          `console keymaps have no variants in this guest; name the keymap whole, such as ${name}-${variant}`,
        )
      await setConsole(guest, name, report)
    }
    const config = await CloudConfig.load(guest)
    const place = await config?.place(['keyboard'])
    if (place)
      report.warn(`${place.file}:${place.line}: cloud-init sets the keyboard at first boot; change that too`)
    return report.build()
  },
}

async function setDebian(
  guest: GuestFs,
  name: string,
  variant: string | undefined,
  report: ReportBuilder,
): Promise<void> {
  const symbols = '/usr/share/X11/xkb/symbols'
  if ((await guest.exists(symbols)) && !(await guest.exists(`${symbols}/${name}`)))
    throw new DrydiskError('ENOENT', `this guest has no keyboard layout ${name} in ${symbols}`, {
      path: symbols,
    })
  const before = await readConfig(guest, DEBIAN)
  const value = (text: string, key: string) => getShellValue(text, key)
  let text = setShellValue(before?.text ?? 'XKBMODEL="pc105"\n', 'XKBLAYOUT', name)
  // A variant belongs to its layout: that of the old one means nothing for the new one.
  if (variant !== undefined || value(text, 'XKBVARIANT') !== undefined)
    text = setShellValue(text, 'XKBVARIANT', variant ?? '')
  await writeConfig(guest, DEBIAN, before, text)
  for (const key of ['XKBLAYOUT', 'XKBVARIANT']) {
    const now = value(text, key)
    const old = before && value(before.text, key)
    if (now || old) report.change(key, old?.text ?? null, now?.text ?? null, DEBIAN, { line: now?.line })
  }
  if (!before && !(await guest.exists('/bin/setupcon')) && !(await guest.exists('/usr/bin/setupcon')))
    report.warn('console-setup is not installed in this guest, so nothing loads a keymap at boot')
  // console-setup keeps the keymap that it made of these settings, and takes it up again.
  if ((await glob(guest, '/etc/console-setup/cached_*.kmap.gz')).length > 0 && report.changed)
    report.warn('/etc/console-setup has a cached keymap; `setupcon -k --save-only` in the guest renews it')
}

async function setConsole(guest: GuestFs, name: string, report: ReportBuilder): Promise<void> {
  const systemd = (await guest.exists(VCONSOLE)) || (await guest.exists('/usr/lib/systemd/system'))
  const [path, key] = systemd ? [VCONSOLE, 'KEYMAP'] : [EL6, 'KEYTABLE']
  if (!systemd && !(await guest.exists(EL6)))
    throw new DrydiskError(
      'ERR_UNSUPPORTED',
      `this guest has none of ${VCONSOLE}, ${DEBIAN} and ${EL6}, from which a keymap is loaded at boot`,
    )
  if ((await keymapFiles(guest)).every(file => !isKeymap(file, name)))
    report.warn(`no keymap ${name} was found in this guest's kbd data; the console keeps the kernel's own`)
  const before = await readConfig(guest, path)
  const text = setShellValue(before?.text ?? '', key, name)
  await writeConfig(guest, path, before, text)
  const now = getShellValue(text, key)
  report.change(key, (before && getShellValue(before.text, key)?.text) ?? null, now?.text ?? null, path, {
    line: now?.line,
  })
}

/** Two levels of folders: keymaps/i386/qwertz/de.map.gz, keymaps/xkb/de.map.gz. */
async function keymapFiles(guest: GuestFs): Promise<string[]> {
  const files: string[] = []
  for (const root of [
    '/usr/lib/kbd/keymaps',
    '/lib/kbd/keymaps',
    '/usr/share/kbd/keymaps',
    '/usr/share/keymaps',
  ])
    for (const below of ['*', '*/*', '*/*/*'])
      files.push(...(await glob(guest, `${root}/${below}.map*`)).map(displayPath))
  return files
}

function isKeymap(path: string, name: string): boolean {
  return path.slice(path.lastIndexOf('/') + 1).replace(/\.map(\.gz|\.xz|\.zst)?$/, '') === name
}
