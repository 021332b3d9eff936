import type { DecodedText } from '../../config/text.ts'
import { type ErrorCode, isDrydiskError } from '../../errors.ts'
import type { GuestFs, GuestPath, GuestStats } from '../../guest/guest-fs.ts'
import { readConfig } from '../guest-files.ts'

/** There is nothing: symlinks that go round in circles lead nowhere too. */
const NOTHING = ['ENOENT', 'ENOTDIR', 'ELOOP'] as const

/** What a file of settings may turn out to be: none, or one that nobody can read. */
export const UNREADABLE = [
  ...NOTHING,
  'EFBIG',
  'EINVAL',
  'EISDIR',
  'ERR_CORRUPT',
  'ERR_INVALID_ARGUMENT',
  'ERR_UNSUPPORTED',
] as const

async function unless<T>(codes: readonly ErrorCode[], step: Promise<T>): Promise<T | undefined> {
  try {
    return await step
  } catch (error) {
    if (isDrydiskError(error, ...codes)) return undefined
    throw error
  }
}

export function lstatAt(guest: GuestFs, path: GuestPath): Promise<GuestStats | undefined> {
  return unless(NOTHING, guest.lstat(path))
}

export function statAt(guest: GuestFs, path: GuestPath): Promise<GuestStats | undefined> {
  return unless(NOTHING, guest.stat(path))
}

/** The text of a file of settings; `undefined` where there is none that could be read. */
export function textAt(guest: GuestFs, path: GuestPath): Promise<DecodedText | undefined> {
  return unless(UNREADABLE, readConfig(guest, path))
}
