import { byteKey } from '../../bytes/names.ts'
import { DrydiskError, isDrydiskError } from '../../errors.ts'
import type { GuestFs } from '../guest-fs.ts'
import { parseSelinuxConfig } from './config.ts'
import { parseFileContexts, parsePathAliases } from './file-contexts.ts'
import { LabelPolicy } from './policy.ts'

export const SELINUX_CONFIG = '/etc/selinux/config'

/** Those of EL and Fedora have half a megabyte. */
const MAX_POLICY_BYTES = 16 << 20

/** How SELinux stands in a guest, and its policy where there is one. */
export type GuestPolicy =
  /** No /etc/selinux/config: labels mean nothing to this guest. */
  | { readonly kind: 'none' }
  | { readonly kind: 'disabled' }
  /** SELinux is on, but the files that say which label goes where are not to be had. */
  | { readonly kind: 'unreadable'; readonly reason: string }
  | {
      readonly kind: 'policy'
      readonly policy: LabelPolicy
      readonly mode: 'enforcing' | 'permissive'
      /** Guest path of file_contexts. */
      readonly file: string
      /** `FILE:LINE` of what has no meaning there and was left out. */
      readonly badLines: readonly string[]
    }

type Reader = Pick<GuestFs, 'readFile' | 'stat'>

/**
 * The labelling rules of a guest: the text files of the policy that /etc/selinux/config names. The compiled .bin files beside them say the
 * same in a form that depends on a version of PCRE.
 */
export async function readPolicy(guest: Reader): Promise<GuestPolicy> {
  const config = await readBinary(guest, SELINUX_CONFIG)
  if (config === undefined) return { kind: 'none' }
  const { mode, type } = parseSelinuxConfig(config)
  if (mode === 'disabled') return { kind: 'disabled' }
  const file = `/etc/selinux/${type}/contexts/files/file_contexts`
  const badLines: string[] = []
  try {
    const main = await readBinary(guest, file)
    if (main === undefined) return { kind: 'unreadable', reason: `${file} does not exist` }
    const contexts = []
    for (const suffix of ['', '.homedirs', '.local']) {
      const text = suffix === '' ? main : await readBinary(guest, file + suffix)
      contexts.push(parseFileContexts(text ?? '', line => badLines.push(`${file}${suffix}:${line}`)))
    }
    const policy = new LabelPolicy({
      contexts,
      aliases: parsePathAliases((await readBinary(guest, `${file}.subs`)) ?? ''),
      distributionAliases: parsePathAliases((await readBinary(guest, `${file}.subs_dist`)) ?? ''),
    })
    return { kind: 'policy', policy, mode, file, badLines }
  } catch (error) {
    if (!isDrydiskError(error)) throw error
    return { kind: 'unreadable', reason: error.message }
  }
}

/** One character per byte; `undefined` where there is no such file. */
async function readBinary(guest: Reader, path: string): Promise<string | undefined> {
  try {
    const { size } = await guest.stat(path)
    if (size > MAX_POLICY_BYTES)
      throw new DrydiskError('EFBIG', `${path} has ${size} bytes, more than ${MAX_POLICY_BYTES}`)
    return byteKey(await guest.readFile(path))
  } catch (error) {
    if (isDrydiskError(error, 'ENOENT', 'ENOTDIR')) return undefined
    throw error
  }
}
