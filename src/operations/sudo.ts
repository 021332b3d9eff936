import { accountEntries, findAccount, findPasswd, memberNames } from '../config/accounts.ts'
import {
  grantsEverything,
  isSudoersName,
  sudoersInclude,
  sudoersLines,
  userAliases,
  userSpecification,
} from '../config/sudoers.ts'
import { DrydiskError } from '../errors.ts'
import type { GuestFs } from '../guest/guest-fs.ts'
import { listFolder, readConfig, requireConfig } from './guest-files.ts'
import type { Operation } from './operation.ts'
import { octal, ReportBuilder } from './report.ts'

/** Arguments of the operation `sudo`. */
export interface SudoArguments {
  /** A user, or a group as `%wheel`. */
  readonly user: string
  /** Whether sudo asks for the user's password first; left out: it does not, as in cloud images. */
  readonly password?: boolean
}

const FOLDER = '/etc/sudoers.d'
/** Files included in files: sudo itself stops at 128. */
const MAX_INCLUDES = 128
/** Aliases that are looked into, so that a chain of them is no deeper than the stack. */
const MAX_ALIASES = 1000

/**
 * Lets a user or group run every command as root, by a file in /etc/sudoers.d. Of all rules that match, sudo takes the last:
 * `ERR_NOT_EFFECTIVE` names a later one that says otherwise.
 */
export const sudo: Operation<SudoArguments> = {
  name: 'sudo',
  summary: 'Let a user or a group (%NAME) run commands as root with sudo',
  async run(guest, { user, password = false }) {
    const report = new ReportBuilder('sudo')
    const subject = await subjectOf(guest, user)
    const main = await mainFile(guest)
    const before = await decidingRule(guest, main, subject)
    const setting = `sudo of ${user}`
    if (before?.grant && before.grant.password === password) {
      report.keep(setting, show(before), before.file, before.line)
      return report.build()
    }

    const text = `# Made by drydisk.\n${user} ALL=(ALL) ${password ? '' : 'NOPASSWD:'}ALL\n`
    const safe = user.replace('%', 'group-').replaceAll('.', '_').replaceAll('$', '_')
    const candidates = [`${FOLDER}/90-${safe}`, `${FOLDER}/99-zz-${safe}`]
    const rules = await readRules(guest, main)
    if (!rules.folders.includes(FOLDER))
      throw new DrydiskError(
        'ERR_NOT_EFFECTIVE',
        `${main} does not include ${FOLDER}; put "@includedir ${FOLDER}" at its end`,
        { path: main },
      )
    // Decided before anything is written: would the new file have the last word?
    const last = before?.file.startsWith(`${FOLDER}/`) ? before.file : ''
    const path = candidates.find(candidate => candidate >= last) ?? candidates[1] ?? ''
    const after = await decidingRule(guest, main, subject, { path, text })
    if (after?.grant?.password !== password)
      throw new DrydiskError(
        'ERR_NOT_EFFECTIVE',
        `${after?.file}:${after?.line} comes after ${path} and decides for ${user}: ${after?.text}; change that line`,
        { path: after?.file, line: after?.line },
      )
    await guest.mkdir(FOLDER, { recursive: true, mode: 0o750 })
    const existing = await readConfig(guest, path)
    if (existing?.text !== text) await guest.writeFile(path, text, { mode: 0o440 })
    // sudo refuses a file that others may write, and a wrong owner.
    const stats = await guest.stat(path)
    if ((stats.mode & 0o7777) !== 0o440) await guest.chmod(path, 0o440)
    if (stats.uid !== 0 || stats.gid !== 0) await guest.chown(path, 0, 0)
    report.always(setting, before ? show(before) : null, show(after), after.file, { line: after.line })
    for (const file of [main, FOLDER]) {
      const { mode, uid } = await guest.stat(file)
      if (mode & 0o002 || uid !== 0)
        report.warn(`${file} has mode ${octal(mode)} and owner ${uid}: sudo refuses what others may write`)
    }
    return report.build()
  },
}

async function mainFile(guest: GuestFs): Promise<string> {
  // SUSE's package brings /usr/etc/sudoers; a file in /etc stands in for it.
  for (const path of ['/etc/sudoers', '/usr/etc/sudoers']) if (await guest.exists(path)) return path
  throw new DrydiskError(
    'ENOENT',
    (await guest.exists('/etc/doas.conf')) || (await guest.exists('/etc/doas.d'))
      ? 'this guest has no sudo but doas, which has its own rules in /etc/doas.d'
      : 'this guest has no /etc/sudoers: sudo is not installed',
    { path: '/etc/sudoers' },
  )
}

interface Subject {
  /** What of a list of users stands for it. */
  readonly words: ReadonlySet<string>
}

async function subjectOf(guest: GuestFs, user: string): Promise<Subject> {
  const group = (await requireConfig(guest, '/etc/group', 'to find groups')).text
  if (user.startsWith('%')) {
    const entry = findAccount(group, user.slice(1))
    if (!entry) throw new DrydiskError('ENOENT', `this guest has no group "${user.slice(1)}" in /etc/group`)
    return { words: new Set([user, `%#${entry.fields[2] ?? ''}`, 'ALL']) }
  }
  const passwd = (await requireConfig(guest, '/etc/passwd', 'to find users')).text
  const entry = findPasswd(passwd, user)
  if (!entry)
    throw new DrydiskError('ENOENT', `this guest has no user "${user}" in /etc/passwd; add it first`, {
      user,
    })
  const groups = accountEntries(group, 'group')
    .map(({ fields }) => fields)
    .filter(fields => fields[2] === String(entry.gid) || memberNames(fields[3]).includes(user))
  return {
    words: new Set([
      user,
      `#${entry.uid}`,
      'ALL',
      ...groups.flatMap(fields => [`%${fields[0] ?? ''}`, `%#${fields[2] ?? ''}`]),
    ]),
  }
}

interface Rule {
  readonly file: string
  readonly line: number
  readonly text: string
}

interface DecidingRule extends Rule {
  readonly grant: { readonly password: boolean } | undefined
}

function show(rule: DecidingRule): string {
  if (!rule.grant) return rule.text
  return rule.grant.password ? 'every command, with a password' : 'every command, without a password'
}

/** A file that is not there yet, met where its name sorts. */
interface PlannedFile {
  readonly path: string
  readonly text: string
}

/** Every line in the order in which sudo reads them, and the folders that are included. */
async function readRules(
  guest: GuestFs,
  main: string,
  planned?: PlannedFile,
): Promise<{ rules: Rule[]; folders: string[] }> {
  const rules: Rule[] = []
  const folders: string[] = []
  let includes = 0
  const read = async (file: string): Promise<void> => {
    if (++includes > MAX_INCLUDES)
      throw new DrydiskError('ELOOP', `${file}: more than ${MAX_INCLUDES} files of sudoers`, { path: file })
    const text = planned?.path === file ? planned.text : ((await readConfig(guest, file))?.text ?? '')
    for (const line of sudoersLines(text)) {
      const include = sudoersInclude(line.text)
      if (!include) {
        rules.push({ file, line: line.line, text: line.text })
        continue
      }
      const path = include.path.startsWith('/')
        ? include.path
        : `${file.slice(0, file.lastIndexOf('/'))}/${include.path}`
      if (include.kind === 'file') await read(path)
      else {
        const folder = path.replace(/\/+$/, '')
        folders.push(folder)
        const names = new Set(await listFolder(guest, folder, /./))
        if (planned?.path.startsWith(`${folder}/`)) names.add(planned.path)
        for (const name of [...names].sort())
          if (isSudoersName(name.slice(folder.length + 1))) await read(name)
      }
    }
  }
  await read(main)
  return { rules, folders }
}

/** The last rule for the subject on any host that is about every command, or takes all commands away. */
async function decidingRule(
  guest: GuestFs,
  main: string,
  { words }: Subject,
  planned?: PlannedFile,
): Promise<DecidingRule | undefined> {
  const { rules } = await readRules(guest, main, planned)
  const aliases = new Map(rules.flatMap(rule => userAliases(rule.text)))
  // Each alias is worked out once: lists of aliases of aliases would take for ever. One within itself stands for nobody.
  const known = new Map<string, boolean | undefined>()
  const listedAlias = (name: string, users: readonly string[]): boolean | undefined => {
    if (known.has(name)) return known.get(name)
    known.set(name, undefined)
    const result = known.size <= MAX_ALIASES ? listed(users) : undefined
    known.set(name, result)
    return result
  }
  const listed = (users: readonly string[]): boolean | undefined => {
    // Of a list, too, the last item that matches decides.
    for (const item of users.toReversed()) {
      const negated = (/^[!\s]*/.exec(item)?.[0].match(/!/g)?.length ?? 0) % 2 === 1
      const word = item.replace(/^[!\s]*/, '').replaceAll('"', '')
      const alias = aliases.get(word)
      const match = words.has(word) || (alias ? listedAlias(word, alias) : undefined)
      if (match !== undefined && match !== false) return !negated
      if (match === false && alias) return negated
    }
    return undefined
  }
  let deciding: DecidingRule | undefined
  for (const rule of rules) {
    const specification = userSpecification(rule.text)
    if (!specification || !/(^|[\s,])ALL$/.test(specification.hosts)) continue
    if (!listed(specification.users)) continue
    const grant = grantsEverything(specification.commands)
    if (grant || /(^|[\s,])!\s*ALL$/.test(specification.commands)) deciding = { ...rule, grant }
  }
  return deciding
}
