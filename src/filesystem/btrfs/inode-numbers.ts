import type { InodeNumber } from '../filesystem.ts'
import { corrupt, unsupported } from './errors.ts'
import type { Subvolume } from './subvolumes.ts'

/** Inode numbers of one subvolume: btrfs counts them up and never takes one again, and none has come near it. */
const INODES = 2 ** 38
/** Subvolumes: what is left of 53 bits. */
const SLOTS = 2 ** 15

/** The inode number that Linux gives to what is left of a nested subvolume in a snapshot (BTRFS_EMPTY_SUBVOL_DIR_OBJECTID). */
const STUB_INODE = 2n

/** What an inode number stands for. */
export type Place =
  | { readonly kind: 'inode'; readonly subvolume: Subvolume; readonly objectid: bigint }
  /** An empty directory in place of a subvolume that is not there; in which directory. */
  | { readonly kind: 'stub'; readonly parent: InodeNumber }

type Slot = Subvolume | { readonly stubIn: InodeNumber }

/**
 * Every subvolume counts its inodes for itself, so a number says which one is meant in its upper bits: 0 is the mounted one, whose
 * inodes have the numbers that Linux shows; others get theirs when they are first met, and keep them until close.
 */
export class InodeNumbers {
  readonly #slots: Slot[]
  readonly #bySubvolume = new Map<bigint, number>()
  readonly #byStub = new Map<string, number>()

  constructor(mounted: Subvolume) {
    this.#slots = [mounted]
    this.#bySubvolume.set(mounted.id, 0)
  }

  numberOf(subvolume: Subvolume, objectid: bigint): InodeNumber {
    if (objectid >= BigInt(INODES))
      throw unsupported(
        `inode ${objectid} has a number of more than 38 bits, which drydisk does not keep apart`,
      )
    let slot = this.#bySubvolume.get(subvolume.id)
    if (slot === undefined) {
      slot = this.#newSlot(subvolume)
      this.#bySubvolume.set(subvolume.id, slot)
    }
    return slot * INODES + Number(objectid)
  }

  /** The empty directory that stands in a directory for the subvolume with that number. */
  stub(parent: InodeNumber, id: bigint): InodeNumber {
    const key = `${parent} ${id}`
    let slot = this.#byStub.get(key)
    if (slot === undefined) {
      slot = this.#newSlot({ stubIn: parent })
      this.#byStub.set(key, slot)
    }
    return slot * INODES + Number(STUB_INODE)
  }

  #newSlot(slot: Slot): number {
    if (this.#slots.length >= SLOTS)
      throw unsupported(
        `more than ${SLOTS} subvolumes were walked through one mount; mount them one by one (subvol=)`,
      )
    return this.#slots.push(slot) - 1
  }

  at(ino: InodeNumber): Place {
    const slot = this.#slots[Math.floor(ino / INODES)]
    if (slot === undefined) throw corrupt('inode', `there is no inode ${ino}`, { inode: ino })
    if ('stubIn' in slot) return { kind: 'stub', parent: slot.stubIn }
    return { kind: 'inode', subvolume: slot, objectid: BigInt(ino % INODES) }
  }
}
