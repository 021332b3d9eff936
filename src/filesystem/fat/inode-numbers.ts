import { DrydiskError } from '../../errors.ts'
import type { InodeNumber } from '../filesystem.ts'
import { ENTRY_SIZE } from './directory-entry.ts'

/** The root directory has no entry anywhere. */
export const ROOT_INODE = 1

/**
 * FAT has no inodes. A file's number is the place of its short entry: bytes from the start of the volume / 32, which stays the
 * same from one opening to the next. A rename moves the entry; the number stays until the filesystem is closed. A name
 * made meanwhile at a place whose number is still in use gets a number behind all places.
 */
export class InodeNumbers {
  readonly #places: number
  /** Where the entries are whose number is not their place, and back. */
  readonly #placeOf = new Map<InodeNumber, number>()
  readonly #numberAt = new Map<number, InodeNumber>()
  readonly #parents = new Map<InodeNumber, InodeNumber>([[ROOT_INODE, ROOT_INODE]])
  /** Clusters of directories that were opened, and whose they are. */
  readonly #clusters = new Map<number, InodeNumber>()
  #extra = 0

  /** @param size of the volume in bytes. */
  constructor(size: number) {
    this.#places = Math.ceil(size / ENTRY_SIZE)
  }

  /** @param place of an entry / 32. */
  at(place: number): InodeNumber {
    const known = this.#numberAt.get(place)
    if (known !== undefined) return known
    if (!this.#placeOf.has(place)) return place
    const number = this.#places + this.#extra++
    this.#bind(number, place)
    return number
  }

  placeOf(ino: InodeNumber): number {
    return this.#placeOf.get(ino) ?? ino
  }

  /** The entry moved; what was at the new place is gone. */
  move(ino: InodeNumber, place: number): void {
    this.forget(this.at(place))
    this.#numberAt.delete(this.placeOf(ino))
    this.#placeOf.delete(ino)
    if (ino !== place) this.#bind(ino, place)
  }

  #bind(ino: InodeNumber, place: number): void {
    this.#placeOf.set(ino, place)
    this.#numberAt.set(place, ino)
  }

  /** The entry is gone. */
  forget(ino: InodeNumber): void {
    const place = this.#placeOf.get(ino)
    if (place !== undefined) this.#numberAt.delete(place)
    this.#placeOf.delete(ino)
    this.#parents.delete(ino)
  }

  /** The directory that holds a directory's entry; `undefined` where it was not met yet. */
  parentOf(directory: InodeNumber): InodeNumber | undefined {
    return this.#parents.get(directory)
  }

  setParent(directory: InodeNumber, parent: InodeNumber): void {
    this.#parents.set(directory, parent)
  }

  /**
   * A cluster belongs to one directory. Without this two entries that lead to the same clusters, or one that leads back up,
   * would make a tree that a walk never comes to the end of. `ERR_CORRUPT` where another has it.
   */
  claim(cluster: number, directory: InodeNumber): void {
    const owner = this.#clusters.get(cluster)
    if (owner !== undefined && owner !== directory)
      throw new DrydiskError(
        'ERR_CORRUPT',
        `FAT: cluster ${cluster} belongs to two directories (inodes ${owner} and ${directory}); run fsck.fat`,
        { structure: 'directory', cluster, inode: directory },
      )
    this.#clusters.set(cluster, directory)
  }

  disclaim(cluster: number): void {
    this.#clusters.delete(cluster)
  }
}
