import type { ByteView } from '../../bytes/byte-view.ts'
import type { AttrEntry } from './attr-entry.ts'
import { corrupt } from './errors.ts'

const HEADER = 4
const ENTRY = 3

/** Attributes in the inode (struct xfs_attr_shortform). */
export function parseShortAttributes(literal: ByteView, ino: number): AttrEntry[] {
  const [totsize, count] = [literal.u16(0), literal.u8(2)]
  const wrong = (what: string) =>
    corrupt('attributes', `the attributes of inode ${ino} ${what}`, { inode: ino })
  if (totsize < HEADER || totsize > literal.length)
    throw wrong(`take ${totsize} bytes, and there is room for ${literal.length}`)
  const entries: AttrEntry[] = []
  let at = HEADER
  for (let index = 0; index < count; index++) {
    if (at + ENTRY > totsize) throw wrong(`end before entry ${index} of ${count}`)
    const [namelen, valuelen] = [literal.u8(at), literal.u8(at + 1)]
    if (namelen === 0 || at + ENTRY + namelen + valuelen > totsize)
      throw wrong(`have an entry that does not fit`)
    entries.push({
      flags: literal.u8(at + 2),
      name: literal.slice(at + ENTRY, namelen),
      value: literal.slice(at + ENTRY + namelen, valuelen),
    })
    at += ENTRY + namelen + valuelen
  }
  return entries
}
