import type { PasswordSelector } from '../password.ts'
import type { HostAccess } from './host-access.ts'
import { invalid, library } from './step.ts'

export const SELECTOR_HELP =
  'password:TEXT, file:NAME, env:VARIABLE, stdin (or -), random, disabled, locked, unlocked, deleted, hash:CRYPT, locked:SELECTOR'

/** A secret that is kept elsewhere: `file:NAME`, `env:NAME`, `stdin` or `-`; `undefined` for any other word. */
async function fromElsewhere(text: string, host: HostAccess): Promise<string | undefined> {
  if (text === 'stdin' || text === '-' || text === 'file:-') return host.inputLine()
  if (text.startsWith('file:')) return (await host.readText(text.slice(5))).split('\n')[0] ?? ''
  if (!text.startsWith('env:')) return undefined
  const name = text.slice(4)
  const value = host.environment(name)
  if (value === undefined) throw invalid(`the environment has no variable ${name}`)
  return value
}

/** A selector as text, with the secret fetched from where it is. Messages never hold the secret. */
export async function passwordSelector(text: string, host: HostAccess): Promise<PasswordSelector> {
  const locked = /^(locked|disabled):(.+)$/s.exec(text)
  const secret = await fromElsewhere(locked?.[2] ?? text, host)
  if (secret === undefined) return (await library()).parsePasswordSelector(text)
  if (secret === '') throw invalid('the password is empty: to allow a login without one, use "deleted"')
  return { kind: 'password', password: secret.replace(/\r$/, ''), ...(locked ? { locked: true } : {}) }
}

/** Keys for `USER`, `USER:string:KEY`, `USER:file:NAME`, `USER:env:VARIABLE` and `USER:stdin`. */
export async function sshKeys(text: string, host: HostAccess): Promise<{ user: string; keys: string }> {
  const colon = text.indexOf(':')
  const user = colon < 0 ? text : text.slice(0, colon)
  if (user === '') throw invalid('a user is needed: USER, USER:string:KEY or USER:file:NAME')
  if (colon < 0) return { user, keys: await host.publicKey() }
  const rest = text.slice(colon + 1)
  if (rest.startsWith('string:')) return { user, keys: rest.slice(7) }
  if (rest.startsWith('file:') && rest !== 'file:-') return { user, keys: await host.readText(rest.slice(5)) }
  const keys = await fromElsewhere(rest, host)
  if (keys === undefined) throw invalid('the selector is none of string:KEY, file:NAME, env:VARIABLE, stdin')
  return { user, keys }
}
