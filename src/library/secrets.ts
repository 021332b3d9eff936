import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { DrydiskError } from '../errors.ts'

/** Lines of standard input that secrets take one after the other; read when the first is asked for. */
let inputLines: string[] | undefined

export function nextInputLine(): string {
  inputLines ??= readFileSync(0, 'utf8').split('\n')
  const line = inputLines.shift()
  if (line === undefined || (line === '' && inputLines.length === 0))
    throw new DrydiskError(
      'ERR_INVALID_ARGUMENT',
      'standard input has no further line for a secret: give one line per secret, in order',
    )
  return line
}

/** The path of the newest ~/.ssh/id*.pub, as ssh-copy-id takes it. */
export function ownPublicKey(): string {
  const folder = join(homedir(), '.ssh')
  const names = existsSync(folder) ? readdirSync(folder).filter(name => /^id.*\.pub$/.test(name)) : []
  const newest = names
    .map(name => join(folder, name))
    .sort((a, b) => statSync(b).mtimeMs - statSync(a).mtimeMs)[0]
  if (newest === undefined)
    throw new DrydiskError('ERR_INVALID_ARGUMENT', `${folder} has no id*.pub: name a key with USER:file:NAME`)
  return newest
}
