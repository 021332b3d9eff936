import { statSync } from 'node:fs'
import { fileProblem } from '../device/file-error.ts'

/** Recipes, keys, passwords and lists of commands are far smaller. */
const MAX_TEXT = 16 << 20

/** Told before it is read: a disk image in the place of a text would fill the memory. */
export function refuseLarge(path: string): void {
  const stats = statSync(path)
  if (stats.isFile() && stats.size > MAX_TEXT)
    throw new Error(`has ${stats.size} bytes, too many for a file of text (is it a disk image?)`)
}

/** Why a file of the host could not be read, in a sentence: `what` names it. */
export function unreadable(what: string, error: unknown): string {
  return `${what} cannot be read: ${fileProblem(error)}`
}
