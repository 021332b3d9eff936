import { encodeText } from '../../config/text.ts'
import { DrydiskError } from '../../errors.ts'
import type { GuestFs } from '../../guest/guest-fs.ts'
import { copyInto, copyXattrs, guestNode } from '../copy-tree.ts'
import { displayPath, joinPath, lstatOrUndefined, splitPath, statOrUndefined } from '../guest-files.ts'
import type { SourceNode } from '../source-tree.ts'

/** Deeper folders than this are refused: a tree that comes from an image may be a loop. */
const MAX_DEPTH = 200

/** Homes are absolute and plain; a colon would end the field of passwd. */
export function checkHome(home: string): string {
  if (/^\/[^:\n\0]*$/.test(home) && !/(^|\/)\.\.(\/|$)/.test(home)) return home
  throw new DrydiskError(
    'ERR_INVALID_ARGUMENT',
    `${JSON.stringify(home)} is no home: an absolute path without ":"`,
  )
}

function ownedBy(node: SourceNode, uid: number, gid: number): SourceNode {
  const { content } = node
  if (content.type !== 'directory') return { ...node, uid, gid }
  return {
    ...node,
    uid,
    gid,
    content: {
      type: 'directory',
      async *children() {
        for await (const child of content.children()) yield ownedBy(child, uid, gid)
      },
    },
  }
}

/** Makes a home from the skeleton, all of it the user's. `false` where the folder is there already: that is left as it is. */
export async function makeHome(
  guest: GuestFs,
  home: string,
  skeleton: string,
  owner: { readonly uid: number; readonly gid: number; readonly mode: number },
): Promise<boolean> {
  if (await statOrUndefined(guest, home)) return false
  const { uid, gid, mode } = owner
  const { folder } = splitPath(home)
  await guest.mkdir(folder, { recursive: true })
  await guest.mkdir(home, { mode, uid, gid })
  if (!(await statOrUndefined(guest, skeleton))?.isDirectory()) return true
  const counts = { created: 0, changed: 0, firstNames: new Map<string, Uint8Array>() }
  for (const entry of await guest.readdir(skeleton)) {
    const source = joinPath(skeleton, entry.name)
    const target = joinPath(home, entry.name)
    await copyInto(guest, target, ownedBy(await guestNode(guest, source, entry.name), uid, gid), counts)
    await copyXattrs(guest, source, target)
  }
  return true
}

/** Where local mail goes: `undefined` on a guest that has no such folder. */
export async function mailSpoolOf(guest: GuestFs, user: string): Promise<string | undefined> {
  for (const folder of ['/var/spool/mail', '/var/mail'])
    if ((await statOrUndefined(guest, folder))?.isDirectory()) return `${folder}/${user}`
  return undefined
}

/** Gives what belongs to one owner to another, below a folder, as usermod does with a home; the number of files. */
export async function changeOwners(
  guest: GuestFs,
  path: string,
  from: { readonly uid: number; readonly gid: number },
  to: { readonly uid: number; readonly gid: number },
): Promise<number> {
  let count = 0
  const visit = async (at: Uint8Array, depth: number): Promise<void> => {
    if (depth > MAX_DEPTH)
      throw new DrydiskError('ELOOP', `${displayPath(at)}: more than ${MAX_DEPTH} folders deep`, {
        path: displayPath(at),
      })
    const stats = await guest.lstat(at)
    const uid = stats.uid === from.uid ? to.uid : stats.uid
    const gid = stats.gid === from.gid ? to.gid : stats.gid
    if (uid !== stats.uid || gid !== stats.gid) {
      await guest.lchown(at, uid, gid)
      count++
      // Linux takes setuid and setgid off when the owner changes; usermod gives them back.
      if (stats.isFile() && stats.mode & 0o6000) await guest.chmod(at, stats.mode & 0o7777)
    }
    if (!stats.isDirectory()) return
    for (const entry of await guest.readdir(at)) await visit(joinPath(at, entry.name), depth + 1)
  }
  if (await lstatOrUndefined(guest, path)) await visit(encodeText(path), 0)
  return count
}
