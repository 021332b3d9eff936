import { byteKey, bytesOfKey } from '../bytes/names.ts'
import { isDrydiskError } from '../errors.ts'
import type { FileType } from '../filesystem/filesystem.ts'
import type { GuestFs, GuestStats } from './guest-fs.ts'

/** Content above this is compared by nothing but size and times, and shown as no diff. */
const CONTENT_MAX = 4 * 2 ** 20

/** What a path held. */
export interface Captured {
  readonly stats: GuestStats
  /** Of a file up to 4 MiB. */
  readonly content?: Uint8Array
  /** Of a symlink. */
  readonly target?: Uint8Array
  readonly xattrs: ReadonlyMap<string, Uint8Array>
}

/** In what a file differs from what it was. */
export type ChangedAspect = 'content' | 'mode' | 'owner' | 'times' | 'xattrs' | 'target' | 'type' | 'device'

/** One path that is not as it was. */
export interface GuestChange {
  readonly path: Uint8Array
  readonly kind: 'created' | 'removed' | 'renamed' | 'changed'
  readonly type: FileType
  /** Of `renamed`: where it was. */
  readonly from?: Uint8Array
  /** Of `changed` and `renamed`: what differs. Times that merely follow from a change of content are left out. */
  readonly aspects: readonly ChangedAspect[]
  readonly before?: Captured
  readonly after?: Captured
}

/** What is at a path (its last symlink not followed); `undefined` when there is nothing. */
export async function capture(
  guest: GuestFs,
  path: Uint8Array,
  content: boolean,
): Promise<Captured | undefined> {
  let stats: GuestStats
  try {
    stats = await guest.lstat(path)
  } catch (error) {
    if (isDrydiskError(error, 'ENOENT', 'ENOTDIR')) return undefined
    throw error
  }
  const xattrs = new Map<string, Uint8Array>()
  try {
    for (const name of await guest.listxattr(path)) {
      const value = await guest.getxattr(path, name)
      if (value) xattrs.set(name, value)
    }
  } catch (error) {
    if (!isDrydiskError(error, 'ENOTSUP')) throw error
  }
  return {
    stats,
    xattrs,
    ...(stats.isFile() && content && stats.size <= CONTENT_MAX
      ? { content: await guest.readFile(path) }
      : {}),
    ...(stats.isSymbolicLink() ? { target: await guest.readlink(path) } : {}),
  }
}

export async function listChanges(
  guest: GuestFs,
  originals: ReadonlyMap<string, Captured | undefined>,
  renames: ReadonlyMap<string, string>,
): Promise<GuestChange[]> {
  const out: GuestChange[] = []
  const moved = new Set<string>()
  for (const key of [...originals.keys()].sort()) {
    const path = bytesOfKey(key)
    const before = originals.get(key)
    const after = await capture(guest, path, true)
    const source = renames.get(key)
    const origin = source === undefined ? undefined : originals.get(source)
    if (
      source !== undefined &&
      origin &&
      after &&
      origin.stats.ino === after.stats.ino &&
      before?.stats.ino !== after.stats.ino
    ) {
      moved.add(source)
      const aspects = differences(origin, after)
      out.push({
        path,
        kind: 'renamed',
        type: after.stats.type,
        from: bytesOfKey(source),
        aspects,
        before: origin,
        after,
      })
    } else if (!before && after)
      out.push({ path, kind: 'created', type: after.stats.type, aspects: [], after })
    else if (before && !after)
      out.push({ path, kind: 'removed', type: before.stats.type, aspects: [], before })
    else if (before && after) {
      const aspects = differences(before, after)
      if (aspects.length > 0)
        out.push({ path, kind: 'changed', type: after.stats.type, aspects, before, after })
    }
  }
  return out.filter(change => change.kind !== 'removed' || !moved.has(byteKey(change.path)))
}

/** @param content whether the content differs, where that is known. */
export function differences(before: Captured, after: Captured, content?: boolean): ChangedAspect[] {
  const aspects: ChangedAspect[] = []
  if (before.stats.type !== after.stats.type) return ['type']
  const known = before.content !== undefined && after.content !== undefined
  const differs = known
    ? !same(before.content, after.content)
    : before.stats.isFile() &&
      (before.stats.size !== after.stats.size || before.stats.mtimeNs !== after.stats.mtimeNs)
  if (content ?? differs) aspects.push('content')
  if (before.target && !same(before.target, after.target)) aspects.push('target')
  if ((before.stats.mode & 0o7777) !== (after.stats.mode & 0o7777)) aspects.push('mode')
  if (before.stats.uid !== after.stats.uid || before.stats.gid !== after.stats.gid) aspects.push('owner')
  const names = new Set([...before.xattrs.keys(), ...after.xattrs.keys()])
  if ([...names].some(name => !same(before.xattrs.get(name), after.xattrs.get(name)))) aspects.push('xattrs')
  if (aspects.length === 0 && before.stats.isFile() && before.stats.mtimeNs !== after.stats.mtimeNs)
    aspects.push('times')
  return aspects
}

function same(a: Uint8Array | undefined, b: Uint8Array | undefined): boolean {
  if (!a || !b) return a === b
  return a.length === b.length && a.every((byte, index) => byte === b[index])
}
