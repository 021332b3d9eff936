import { littleEndian } from '../../bytes/byte-view.ts'
import { DrydiskError } from '../../errors.ts'
import { type Acl, type AclEntry, hasId, NO_ID } from '../posix-acl.ts'

/** EXT4_ACL_VERSION: the form on disk (fs/ext4/acl.h). Entries without an id are 4 bytes long there. */
const STORED_VERSION = 1
const HEADER = 4
const SHORT = 4
const LONG = 8

/** The form on disk. `ERR_CORRUPT`. */
export function parseStoredAcl(bytes: Uint8Array, where: string): Acl {
  const view = littleEndian(bytes, where)
  const fail = (fault: string) => new DrydiskError('ERR_CORRUPT', `${where}: ${fault}`, { structure: 'acl' })
  if (bytes.length < HEADER || view.u32(0) !== STORED_VERSION) throw fail('not an ACL of version 1')
  const entries: AclEntry[] = []
  for (let at = HEADER; at < bytes.length; ) {
    if (at + SHORT > bytes.length) throw fail(`${bytes.length - at} bytes are left, less than an entry`)
    const tag = view.u16(at)
    entries.push({ tag, perm: view.u16(at + 2), id: hasId(tag) ? view.u32(at + SHORT) : NO_ID })
    at += hasId(tag) ? LONG : SHORT
  }
  return entries
}

export function storedAcl(acl: Acl): Uint8Array {
  const size = acl.reduce((sum, { tag }) => sum + (hasId(tag) ? LONG : SHORT), HEADER)
  const bytes = new Uint8Array(size)
  const view = littleEndian(bytes, 'acl')
  view.setU32(0, STORED_VERSION)
  let at = HEADER
  for (const { tag, perm, id } of acl) {
    view.setU16(at, tag)
    view.setU16(at + 2, perm)
    if (hasId(tag)) view.setU32(at + SHORT, id)
    at += hasId(tag) ? LONG : SHORT
  }
  return bytes
}
