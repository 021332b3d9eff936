import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import type { PasswordSelector } from '../operations/password.ts'
import { UsageError } from './errors.ts'

/** Lines of standard input that secrets take one after the other; read when the first is asked for. */
let inputLines: string[] | undefined

function nextInputLine(): string {
  inputLines ??= readFileSync(0, 'utf8').split('\n')
  const line = inputLines.shift()
  if (line === undefined || (line === '' && inputLines.length === 0))
    throw new UsageError(
      'standard input has no further line for a secret: give one line per secret, in order',
    )
  return line
}

function fileText(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    throw new UsageError(
      `the file ${path} of a secret cannot be read: ${error instanceof Error ? error.message : ''}`,
    )
  }
}

function environment(name: string): string {
  const value = process.env[name]
  if (value === undefined) throw new UsageError(`the environment has no variable ${name}`)
  return value
}

/** A secret that is kept elsewhere: `file:NAME`, `env:NAME`, `stdin` or `-`; `undefined` for any other word. */
function fromElsewhere(text: string): string | undefined {
  if (text === 'stdin' || text === '-' || text === 'file:-') return nextInputLine()
  if (text.startsWith('file:')) return fileText(text.slice(5)).split('\n')[0] ?? ''
  if (text.startsWith('env:')) return environment(text.slice(4))
  return undefined
}

export const SELECTOR_HELP =
  'password:TEXT, file:NAME, env:VARIABLE, stdin (or -), random, disabled, locked, unlocked, deleted, hash:CRYPT, locked:SELECTOR'

/** A selector as on the command line, with the secret fetched from where it is. Messages never hold the secret. */
export function passwordSelector(text: string, parse: (text: string) => PasswordSelector): PasswordSelector {
  const locked = /^(locked|disabled):(.+)$/s.exec(text)
  const secret = fromElsewhere(locked?.[2] ?? text)
  if (secret !== undefined) {
    if (secret === '')
      throw new UsageError('the password is empty: to allow a login without one, use "deleted"')
    return { kind: 'password', password: secret.replace(/\r$/, ''), ...(locked ? { locked: true } : {}) }
  }
  return parse(text)
}

/** Keys for `USER`, `USER:string:KEY`, `USER:file:NAME`, `USER:env:VARIABLE` and `USER:stdin`. */
export function sshKeys(text: string): { user: string; keys: string } {
  const colon = text.indexOf(':')
  const user = colon < 0 ? text : text.slice(0, colon)
  if (user === '') throw new UsageError('--ssh-inject needs a user: USER, USER:string:KEY or USER:file:NAME')
  if (colon < 0) return { user, keys: ownPublicKey() }
  const rest = text.slice(colon + 1)
  if (rest.startsWith('string:')) return { user, keys: rest.slice(7) }
  if (rest.startsWith('file:') && rest !== 'file:-') return { user, keys: fileText(rest.slice(5)) }
  const keys = fromElsewhere(rest)
  if (keys === undefined)
    throw new UsageError('the selector of --ssh-inject is none of string:KEY, file:NAME, env:VARIABLE, stdin')
  return { user, keys }
}

/** The newest ~/.ssh/id*.pub, as ssh-copy-id takes it. */
function ownPublicKey(): string {
  const folder = join(homedir(), '.ssh')
  const names = existsSync(folder) ? readdirSync(folder).filter(name => /^id.*\.pub$/.test(name)) : []
  const newest = names
    .map(name => join(folder, name))
    .sort((a, b) => statSync(b).mtimeMs - statSync(a).mtimeMs)[0]
  if (newest === undefined) throw new UsageError(`${folder} has no id*.pub: name a key with USER:file:NAME`)
  return fileText(newest)
}
