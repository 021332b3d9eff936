/** Flags of an attribute (XFS_ATTR_*); parent pointers came with Linux 6.10. */
export const ATTR = { LOCAL: 1, ROOT: 2, SECURE: 4, PARENT: 8, INCOMPLETE: 0x80 } as const

/** Bits that say whose an attribute is; a name may be there once for each. */
export const ATTR_NAMESPACE = ATTR.ROOT | ATTR.SECURE | ATTR.PARENT

/** An attribute as it is stored. */
export interface AttrEntry {
  /** XFS_ATTR_*, the namespace among them. */
  readonly flags: number
  readonly name: Uint8Array
  readonly value: Uint8Array | RemoteValue
}

/** A value in blocks of its own. */
export interface RemoteValue {
  /** The first of them, in the attribute fork. */
  readonly valueblk: number
  readonly valuelen: number
}
