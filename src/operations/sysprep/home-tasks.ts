import { byteKey, bytesOfKey } from '../../bytes/names.ts'
import { accountEntries } from '../../config/accounts.ts'
import { encodeText } from '../../config/text.ts'
import { join } from './guest-tree.ts'
import { textAt } from './lenient.ts'
import { removePath } from './removal.ts'
import type { SysprepContext, SysprepTask } from './task.ts'

/** More users than a guest's own passwd file ever has; each is looked at. */
const MAX_HOMES = 100_000

/**
 * Where people and services are at home: what /etc/passwd says, /root, and the folders of /home (whose owners a directory service may
 * know). A home that passwd names may be a symlink.
 */
export async function homes({ guest, tree }: SysprepContext): Promise<string[]> {
  const found = new Set(['/root'])
  for (const path of await tree.glob('/home/*'))
    if ((await tree.typeOf(path)) === 'directory') found.add(path)
  const passwd = await textAt(guest, '/etc/passwd')
  for (const { fields } of accountEntries(passwd?.text ?? '', 'passwd')) {
    const home = fields[5]
    if (!home?.startsWith('/')) continue
    found.add(byteKey(encodeText(home, passwd?.encoding)).replace(/\/+$/, '') || '/')
    if (found.size >= MAX_HOMES) break
  }
  return [...found].sort()
}

function inHomes(name: string, summary: string, names: readonly string[], ours: boolean): SysprepTask {
  return {
    name,
    byDefault: true,
    ...(ours ? { ours } : {}),
    summary,
    async run(context) {
      for (const home of await homes(context)) {
        const entries = await context.tree.list(home)
        for (const one of names) if (entries.has(one)) await removePath(context, join(home, one))
      }
    },
  }
}

/** Histories that shells and common tools keep in a home; what was typed there may be a password. */
const HISTORIES = [
  '.ash_history',
  '.lesshst',
  '.mysql_history',
  '.node_repl_history',
  '.psql_history',
  '.python_history',
  '.rediscli_history',
  '.sh_history',
  '.sqlite_history',
  '.sudo_as_admin_successful',
  '.viminfo',
  '.wget-hsts',
]

/** The whitelist of virt-sysprep. */
const BACKUP_FOLDERS = ['/etc', '/root', '/srv', '/tmp', '/var']

export const homeTasks: readonly SysprepTask[] = [
  inHomes('bash-history', 'remove the bash history of every user', ['.bash_history'], false),
  inHomes(
    'zsh-history',
    'remove the zsh history of every user',
    ['.zsh_history', '.zhistory', '.histfile'],
    false,
  ),
  inHomes('home-history', 'remove the histories of other shells and tools of every user', HISTORIES, true),
  inHomes('ssh-userdir', 'remove the .ssh folder of every user', ['.ssh'], false),
  {
    name: 'backup-files',
    byDefault: true,
    summary: 'remove backups that editors made (*.bak, *~) in /etc, /root, /srv, /tmp and /var',
    async run(context) {
      for (const top of BACKUP_FOLDERS) {
        const found: string[] = []
        for await (const { folder, entries } of context.tree.walk(top))
          for (const [name, type] of entries)
            if (type === 'file' && (name.endsWith('~') || name.endsWith('.bak')))
              found.push(join(folder, name))
        for (const path of found.sort()) await removePath(context, path)
      }
    },
  },
  {
    name: 'blkid-tab',
    byDefault: true,
    summary: "remove blkid's cache of devices",
    async run(context) {
      for (const folder of ['/var/run', '/etc/blkid', '/etc', '/dev'])
        for (const name of ['blkid.tab', 'blkid.tab.old']) {
          const path = join(folder, folder === '/dev' ? `.${name}` : name)
          // A link leads into a tmpfs, and stays.
          if ((await context.tree.typeOf(path)) === 'file') await removePath(context, path)
        }
    },
  },
  {
    name: 'tmp-files',
    byDefault: true,
    summary: 'remove what is in /tmp and /var/tmp',
    async run(context) {
      for (const folder of ['/tmp', '/var/tmp'])
        for (const top of await context.tree.folders(folder))
          for (const name of [...(await context.tree.list(top)).keys()].sort())
            if (name !== 'lost+found') await removePath(context, join(top, name))
    },
  },
  {
    name: 'flag-reconfiguration',
    byDefault: false,
    summary: 'have the first boot ask for settings (/.unconfigured, of the RHEL family)',
    async run({ guest, report, tree }) {
      if ((await tree.typeOf('/.unconfigured')) !== undefined) return
      await guest.writeFile(bytesOfKey('/.unconfigured'), '')
      report.change('file', null, 'empty', '/.unconfigured')
    },
  },
]
