import { type AccountFile, findAccount } from '../../config/accounts.ts'
import type { DecodedText } from '../../config/text.ts'
import { DrydiskError } from '../../errors.ts'
import type { GuestFs } from '../../guest/guest-fs.ts'
import { readConfig, requireConfig, writeConfig } from '../guest-files.ts'

const PATHS = {
  passwd: '/etc/passwd',
  shadow: '/etc/shadow',
  group: '/etc/group',
  gshadow: '/etc/gshadow',
  subuid: '/etc/subuid',
  subgid: '/etc/subgid',
} as const

export type StagedName = keyof typeof PATHS

/**
 * The account files of a guest, changed in memory and then written one after the other, each in place: what turns out to be
 * impossible leaves none of them changed. Backups that end in `-` are the guest's own and stay.
 */
export class AccountFiles {
  readonly #guest: GuestFs
  readonly #before = new Map<StagedName, DecodedText>()
  readonly #texts = new Map<StagedName, string>()

  private constructor(guest: GuestFs) {
    this.#guest = guest
  }

  static async load(guest: GuestFs): Promise<AccountFiles> {
    const files = new AccountFiles(guest)
    for (const name of Object.keys(PATHS) as StagedName[]) {
      const needed = name === 'passwd' || name === 'group'
      const config = needed
        ? await requireConfig(guest, PATHS[name], 'to find accounts')
        : await readConfig(guest, PATHS[name])
      if (!config) continue
      files.#before.set(name, config)
      files.#texts.set(name, config.text)
    }
    return files
  }

  path(name: StagedName): string {
    return PATHS[name]
  }

  /** Whether the guest has that file: without shadow or gshadow, passwd and group hold all there is. */
  has(name: StagedName): boolean {
    return this.#texts.has(name)
  }

  /** The text as it will be; empty where the guest has no such file. */
  text(name: StagedName): string {
    return this.#texts.get(name) ?? ''
  }

  /** Changes a file; one that the guest has not stays absent. */
  edit(name: StagedName, change: (text: string) => string): void {
    const text = this.#texts.get(name)
    if (text !== undefined) this.#texts.set(name, change(text))
  }

  /** A field of the first entry of that name, counted from 0; `undefined` where there is none. */
  field(name: AccountFile, entry: string, index: number): string | undefined {
    return findAccount(this.text(name), entry)?.fields[index]
  }

  line(name: AccountFile, entry: string): number | undefined {
    return findAccount(this.text(name), entry)?.line
  }

  async save(): Promise<void> {
    for (const [name, text] of this.#texts)
      await writeConfig(this.#guest, PATHS[name], this.#before.get(name), text)
  }
}

/**
 * Names as shadow-utils takes them on the distributions that are most generous (useradd(8) of Red Hat): letters, digits, `_`, `.` and
 * `-` but not at the start, a `$` at the end, 32 characters at most; not a number, which chown would take for an id.
 */
export function checkAccountName(name: string, what: 'user' | 'group'): string {
  if (!/^[A-Za-z0-9_.][A-Za-z0-9_.-]{0,30}[A-Za-z0-9_.$-]?$/.test(name) || /^(\d+|\.\.?)$/.test(name))
    throw new DrydiskError(
      'ERR_INVALID_ARGUMENT',
      `${JSON.stringify(name)} is not a ${what} name: letters, digits, "_", "." and "-", not starting with "-", not a number, at most 32 characters`,
    )
  return name
}

/** Days since 1970, as shadow(5) counts. */
export function today(): number {
  return Math.floor(Date.now() / 86_400_000)
}
