import type { ByteView } from '../../bytes/byte-view.ts'
import type { NamedInode } from './dir-name.ts'
import { corrupt } from './errors.ts'

/** A directory in its inode (struct xfs_dir2_sf_hdr and _sf_entry). */
export interface ShortDirectory {
  readonly parent: number
  /** Without `.` and `..`. */
  readonly entries: readonly NamedInode[]
}

/** Inode numbers are all of 4 bytes, or all of 8 where one needs them. */
export function parseShortDirectory(
  literal: ByteView,
  size: number,
  hasFtype: boolean,
  ino: number,
): ShortDirectory {
  const wrong = (what: string) =>
    corrupt('directory', `directory ${ino} in its inode ${what}`, { inode: ino })
  if (size > literal.length) throw wrong(`has ${size} bytes, and there is room for ${literal.length}`)
  const [count, wide] = [literal.u8(0), literal.u8(1) !== 0]
  const number = (at: number) => (wide ? literal.u64(at) : literal.u32(at))
  const width = wide ? 8 : 4
  const parent = number(2)
  const entries: NamedInode[] = []
  let at = 2 + width
  for (let index = 0; index < count; index++) {
    if (at >= size) throw wrong(`ends before entry ${index} of ${count}`)
    const namelen = literal.u8(at)
    const name = literal.slice(at + 3, namelen).slice()
    at += 3 + namelen
    const filetype = hasFtype ? literal.u8(at) : 0
    if (hasFtype) at++
    entries.push({ name, ino: number(at), filetype })
    at += width
  }
  if (at !== size) throw wrong(`has ${size} bytes, and its entries take ${at}`)
  return { parent, entries }
}
