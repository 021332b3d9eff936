import { getShellValue, setShellValue, unsetShellValue } from '../config/shell-assignments.ts'
import { decodeText, encodeText } from '../config/text.ts'
import { DrydiskError } from '../errors.ts'
import type { GuestFs } from '../guest/guest-fs.ts'
import { CloudConfig, setCloudConfig } from './cloud-config-of-guest.ts'
import { displayPath, lstatOrUndefined, readConfig, statOrUndefined, writeConfig } from './guest-files.ts'
import type { Operation } from './operation.ts'
import { ReportBuilder } from './report.ts'

/** Arguments of the operation `locale`. */
export interface LocaleArguments {
  /** As setlocale(3) takes it: `de_DE.UTF-8`. */
  readonly locale: string
}

interface LocaleFile {
  readonly path: string
  readonly variable: 'LANG' | 'RC_LANG'
}

function checkLocale({ locale: name }: LocaleArguments): void {
  if (name.length > 100 || !/^(C|POSIX|[a-z]{2,3}(_[A-Z]{2})?)(\.[A-Za-z0-9-]+)?(@[A-Za-z0-9]+)?$/.test(name))
    throw new DrydiskError(
      'ERR_INVALID_ARGUMENT',
      `${JSON.stringify(name)} is not a locale; expected a name such as en_US.UTF-8`,
    )
}

export const locale: Operation<LocaleArguments> = {
  name: 'locale',
  summary: 'Set the language and character set of the system',
  check: checkLocale,
  async run(guest, { locale: name }) {
    const report = new ReportBuilder('locale')
    checkLocale({ locale: name })
    const files = await localeFiles(guest)
    if (files.length === 0)
      throw new DrydiskError(
        'ERR_UNSUPPORTED',
        'nothing in this guest reads a locale of the system at boot: it has neither systemd nor /etc/sysconfig/i18n nor /etc/default/locale (Alpine has its locale in /etc/profile.d)',
      )
    for (const { path, variable } of files) await setIn(guest, path, variable, name, report)
    if (!(await isCompiled(guest, name)))
      report.warn(
        `${name} is not compiled in this guest, so programs fall back to C; ${await howToCompile(guest, name)}`,
      )
    const config = await CloudConfig.load(guest)
    const told = await config?.effective(['locale'])
    // Without one cloud-init takes over what the system has; `false` switches its module off.
    if (typeof told === 'string') await setCloudConfig(guest, 'locale', name, report)
    return report.build()
  },
}

/** The files that decide at boot: /etc/locale.conf (locale.conf(5)), Debian's and Ubuntu's own, EL6's, SUSE's before 15. */
async function localeFiles(guest: GuestFs): Promise<LocaleFile[]> {
  const files: LocaleFile[] = []
  const seen = new Set<string>()
  const add = async (path: string, variable: LocaleFile['variable'] = 'LANG') => {
    const real = (await guest.exists(path)) ? displayPath(await guest.realpath(path)) : path
    if (!seen.has(real)) files.push({ path: real, variable })
    seen.add(real)
  }
  const release = (await readConfig(guest, '/etc/os-release'))?.text ?? ''
  const debian =
    /^ID(_LIKE)?=.*\b(debian|ubuntu)\b/m.test(release) || (await guest.exists('/etc/debian_version'))
  // Debian's systemd and PAM read /etc/default/locale; since trixie it is a link to ../locale.conf.
  if (debian && !(await lstatOrUndefined(guest, '/etc/locale.conf'))) await add('/etc/default/locale')
  if (debian && (await lstatOrUndefined(guest, '/etc/default/locale'))) await add('/etc/default/locale')
  if (await guest.exists('/etc/locale.conf')) await add('/etc/locale.conf')
  if ((await readConfig(guest, '/etc/sysconfig/language'))?.text.match(/^[ \t]*RC_LANG=/m))
    await add('/etc/sysconfig/language', 'RC_LANG')
  if (await guest.exists('/etc/sysconfig/i18n')) await add('/etc/sysconfig/i18n')
  if (files.length > 0) return files
  for (const systemd of ['/usr/lib/systemd/systemd', '/lib/systemd/systemd', '/usr/lib/systemd/system'])
    if (files.length === 0 && (await guest.exists(systemd))) await add('/etc/locale.conf')
  if (files.length === 0 && (await guest.exists('/etc/redhat-release'))) await add('/etc/sysconfig/i18n')
  return files
}

async function setIn(
  guest: GuestFs,
  path: string,
  variable: LocaleFile['variable'],
  name: string,
  report: ReportBuilder,
): Promise<void> {
  const before = await readConfig(guest, path)
  const all = variable === 'LANG' ? 'LC_ALL' : 'RC_LC_ALL'
  const old = before ? getShellValue(before.text, variable) : undefined
  let text = setShellValue(before?.text ?? '', variable, name)
  // LC_ALL comes before LANG (setlocale(3)).
  const override = getShellValue(text, all)
  if (override && override.text !== '' && override.text !== name) {
    text = unsetShellValue(text, all)
    report.change(all, override.text, null, path)
  }
  if (!before) await guest.mkdir(path.replace(/\/[^/]*$/, ''), { recursive: true })
  await writeConfig(guest, path, before, text)
  const now = getShellValue(text, variable)
  report.change(variable, old?.text ?? null, now?.text ?? null, path, { line: now?.line })
  const others = [...text.matchAll(/^[ \t]*((?:RC_)?(?:LC_\w+|LANGUAGE))=/gm)]
    .map(match => match[1] ?? '')
    .filter(other => (getShellValue(text, other)?.text ?? '') !== '')
  if (others.length > 0) report.warn(`${path} also sets ${others.join(', ')}; left as they are`)
}

/** glibc compares codesets without punctuation and case: `UTF-8` is `utf8` on disk. */
function normalName(name: string): string {
  const match = /^([^.@]*)(?:\.([^@]*))?(@.*)?$/.exec(name)
  const codeset = match?.[2]?.toLowerCase().replace(/[^a-z0-9]/g, '')
  return `${match?.[1] ?? ''}${codeset === undefined ? '' : `.${codeset}`}${match?.[3] ?? ''}`
}

const FOLDER = '/usr/lib/locale'

/** Whether a locale is there: built in, as a folder of its own, or in the archive of them all. */
async function isCompiled(guest: GuestFs, name: string): Promise<boolean> {
  // C.UTF-8 is built into glibc since 2.35, and a file of the libc package of Debian and EL8 before.
  if (/^(C|POSIX)$/.test(name) || /^C\.utf-?8$/i.test(name)) return true
  if (await guest.exists('/lib/ld-musl-x86_64.so.1')) return true
  for (const form of [name, normalName(name)])
    if ((await statOrUndefined(guest, `${FOLDER}/${form}`))?.isDirectory()) return true
  return inArchive(guest, normalName(name))
}

/** `struct locarhead` of glibc's locale/locarchive.h: 32-bit fields in the machine's byte order; names are in its string table. */
const ARCHIVE_MAGIC = 0xde020109
const MAX_STRINGS = 4 << 20

async function inArchive(guest: GuestFs, name: string): Promise<boolean> {
  const path = `${FOLDER}/locale-archive`
  const size = (await statOrUndefined(guest, path))?.size ?? 0
  const head = new Uint8Array(56)
  if (size < head.length || (await guest.readAt(path, 0, head)) < head.length) return false
  const view = new DataView(head.buffer)
  const little = view.getUint32(0, true) === ARCHIVE_MAGIC
  if (!little && view.getUint32(0, false) !== ARCHIVE_MAGIC) return false
  // magic, serial, namehash offset/used/size, string offset/used/size, …
  const offset = view.getUint32(20, little)
  const used = Math.min(view.getUint32(24, little), MAX_STRINGS, Math.max(0, size - offset))
  const strings = new Uint8Array(used)
  const read = used > 0 ? await guest.readAt(path, offset, strings) : 0
  const { text } = decodeText(strings.subarray(0, read), path)
  return `\0${text}\0`.includes(`\0${name}\0`) && encodeText(name).length > 0
}

async function howToCompile(guest: GuestFs, name: string): Promise<string> {
  const language = name.split(/[_.@]/, 1)[0] ?? name
  if (await guest.exists('/etc/debian_version'))
    return `run \`locale-gen ${name}\` at first boot (package locales)`
  if (await guest.exists('/etc/redhat-release'))
    return `install glibc-langpack-${language}, or on EL7 and older \`localedef\` it`
  return 'install the package that has it'
}
