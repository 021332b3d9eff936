import { DrydiskError, isDrydiskError } from '../../errors.ts'
import type { GuestFs } from '../../guest/guest-fs.ts'
import { glob } from '../glob.ts'
import { displayPath, statOrUndefined } from '../guest-files.ts'
import { type JournalEntry, JournalFile } from './journal-file.ts'
import { SIGNATURE } from './journal-format.ts'

/** Where the journal is kept when it outlives a boot; files that were not closed well end in a tilde. */
const JOURNALS = ['/var/log/journal/*/*.journal', '/var/log/journal/*/*.journal~']

/** What most systems write everything to, by preference. */
const TEXT_LOGS = ['/var/log/syslog', '/var/log/messages']

/** Where the log of a guest is: files of systemd’s journal, or one of text. */
export type LogSource =
  | { readonly kind: 'journal'; readonly files: readonly Uint8Array[] }
  | { readonly kind: 'text'; readonly path: string }

/**
 * The log of a guest: the journal of systemd where there is one, else /var/log/syslog or /var/log/messages. A name stands for a file
 * below /var/log, `journal` for the journal. `ENOENT` says what was looked for.
 */
export async function findLog(guest: GuestFs, name?: string): Promise<LogSource> {
  if (name !== undefined && name !== 'journal') {
    const path = name.startsWith('/') ? name : `/var/log/${name}`
    if (path.endsWith('.journal') || path.endsWith('.journal~'))
      return { kind: 'journal', files: [new TextEncoder().encode(path)] }
    return { kind: 'text', path }
  }
  const files: Uint8Array[] = []
  for (const pattern of JOURNALS) files.push(...(await glob(guest, pattern)))
  // A journal that is none at all does not hide the other log, unless it was asked for.
  const readable: Uint8Array[] = []
  for (const file of files) if (name === 'journal' || (await isJournal(guest, file))) readable.push(file)
  if (readable.length > 0) return { kind: 'journal', files: readable }
  if (name === undefined)
    for (const path of TEXT_LOGS)
      if ((await statOrUndefined(guest, path))?.isFile()) return { kind: 'text', path }
  throw new DrydiskError(
    'ENOENT',
    name === 'journal'
      ? 'this guest keeps no journal in /var/log/journal'
      : 'this guest has no journal in /var/log/journal, no /var/log/syslog and no /var/log/messages; name a file below /var/log',
    { path: '/var/log' },
  )
}

async function isJournal(guest: GuestFs, path: Uint8Array): Promise<boolean> {
  const bytes = new Uint8Array(SIGNATURE.length)
  if (!(await statOrUndefined(guest, path))?.isFile()) return false
  await guest.readAt(path, 0, bytes)
  return SIGNATURE.every((byte, i) => bytes[i] === byte)
}

/** What `readJournal` takes. */
export interface ReadJournalOptions {
  /** Only that many entries, the last ones. */
  readonly last?: number
  /** Told of files and entries that cannot be read; the others are. */
  readonly warn?: (message: string) => void
}

/** The entries of several journal files in the order of their time. Damaged ones are passed over, and counted. */
export async function* readJournal(
  guest: GuestFs,
  files: readonly Uint8Array[],
  { last = Number.POSITIVE_INFINITY, warn = () => undefined }: ReadJournalOptions = {},
): AsyncGenerator<JournalEntry> {
  const cursors: Cursor[] = []
  for (const path of files)
    try {
      cursors.push(new Cursor(await JournalFile.open(guest, path), last))
    } catch (error) {
      if (!isDrydiskError(error, 'ERR_CORRUPT', 'ERR_UNSUPPORTED') || files.length === 1) throw error
      warn(error.message)
    }
  let left = 0
  for (const cursor of cursors) {
    await cursor.next()
    left += cursor.left
  }
  for (;;) {
    let first: Cursor | undefined
    for (const cursor of cursors)
      if (cursor.entry && (!first?.entry || before(cursor.entry, first.entry))) first = cursor
    if (!first?.entry) break
    if (left-- <= last) yield first.entry
    await first.next()
  }
  for (const { file, damaged } of cursors)
    if (damaged > 0)
      warn(`${file.path}: ${damaged} of ${file.entries.length} entries are damaged and were passed over`)
}

/** Within a file the sequence number decides, as clocks are set back; between files only time tells. */
function before(a: JournalEntry, b: JournalEntry): boolean {
  return a.realtime === b.realtime ? a.seqnum < b.seqnum : a.realtime < b.realtime
}

class Cursor {
  readonly file: JournalFile
  #at: number
  damaged = 0
  entry: JournalEntry | undefined

  constructor(file: JournalFile, last: number) {
    this.file = file
    this.#at = Math.max(0, file.entries.length - last)
  }

  /** How many there are from this entry on, at most. */
  get left(): number {
    return this.file.entries.length - this.#at + (this.entry ? 1 : 0)
  }

  async next(): Promise<void> {
    for (;;) {
      const offset = this.file.entries[this.#at]
      if (offset === undefined) {
        this.entry = undefined
        return
      }
      this.#at++
      try {
        this.entry = await this.file.entry(offset)
        return
      } catch (error) {
        if (!isDrydiskError(error)) throw error
        this.damaged++
      }
    }
  }
}

/** The zone of the guest's clock, as tzdata calls it; `undefined` for UTC and where /etc/localtime is no link. */
export async function guestZone(guest: GuestFs): Promise<string | undefined> {
  try {
    return /\/zoneinfo\/(?:posix\/|right\/)?(.+)$/.exec(
      displayPath(await guest.readlink('/etc/localtime')),
    )?.[1]
  } catch (error) {
    if (isDrydiskError(error)) return undefined
    throw error
  }
}
