import { LruCache } from '../../bytes/lru-cache.ts'
import { DrydiskError } from '../../errors.ts'
import type { FileType } from '../filesystem.ts'
import { checkDinode, checkDinodeIdentity, DINODE_CRC_OFFSET, Dinode } from './dinode.ts'
import { corrupt } from './errors.ts'
import type { XfsVolume } from './volume.ts'

/** Inodes kept by their number. */
const KEPT = 1024
/** Inodes that are read at once, half a chunk: neighbours in a directory mostly lie side by side. */
const CLUSTER_INODES = 32

/** The inodes of a volume by number. There is one object for each as long as it is in use: holding it is sharing it. */
export class Inodes {
  readonly #volume: XfsVolume
  readonly #kept = new LruCache<number, Dinode>(KEPT)

  constructor(volume: XfsVolume) {
    this.#volume = volume
  }

  /** `ERR_CORRUPT` where there is no inode in use. Not to be changed: see `edit`. */
  async read(ino: number): Promise<Dinode> {
    const kept = this.#kept.get(ino)
    if (kept !== undefined) return kept
    const { block, at } = this.#place(ino)
    const { buffers, geometry, superblock } = this.#volume
    if (!buffers.holds(block)) {
      const count = Math.max(1, CLUSTER_INODES / superblock.sb_inopblock)
      await buffers.prefetch({ block: block - ((block % geometry.agBlocks) % count), count })
    }
    const buffer = await buffers.read(block)
    const bytes = buffer.subarray(at, at + superblock.sb_inodesize)
    this.#volume.verifyOnce(buffer, () => checkDinode(bytes, ino, superblock), at)
    const inode = new Dinode(bytes, ino, superblock)
    // The buffer may have been found right while the inode was in use.
    if (inode.typeIfAny === undefined)
      throw corrupt('inode', `inode ${ino} is free, and something refers to it`, { inode: ino })
    this.#kept.set(ino, inode)
    return inode
  }

  /** `ENOTDIR` for a directory, `EISDIR` or `EINVAL` for others, when it is of another type. */
  async require(ino: number, type: FileType): Promise<Dinode> {
    const inode = await this.read(ino)
    if (inode.type === type) return inode
    const code =
      type === 'directory' ? 'ENOTDIR' : inode.type === 'directory' && type === 'file' ? 'EISDIR' : 'EINVAL'
    throw new DrydiskError(code, `inode ${ino} is a ${inode.type}, not a ${type}`, { inode: ino })
  }

  /** An inode in use, to be changed until the transaction ends. */
  async edit(ino: number): Promise<Dinode> {
    const inode = await this.read(ino)
    inode.rebind(await this.#editBytes(ino))
    inode.makeCurrent()
    return inode
  }

  /** A free inode of a chunk, to be made one in use: its identity is checked, its content is as the last file left it. */
  async claim(ino: number): Promise<Dinode> {
    const { block, at } = this.#place(ino)
    const { buffers, superblock } = this.#volume
    const buffer = await buffers.read(block)
    const bytes = buffer.subarray(at, at + superblock.sb_inodesize)
    this.#volume.verifyOnce(buffer, () => checkDinodeIdentity(bytes, ino, superblock), at + 1)
    const inode = new Dinode(await this.#editBytes(ino), ino, superblock)
    this.#kept.set(ino, inode)
    return inode
  }

  /** Forgets an inode that is no more; whoever asks for it again gets what is on the volume. */
  forget(ino: number): void {
    this.#kept.delete(ino)
  }

  /** After a rollback, which may have put other buffers in their place. */
  forgetAll(): void {
    this.#kept.clear()
  }

  async #editBytes(ino: number): Promise<Uint8Array> {
    const { block, at } = this.#place(ino)
    const { sb_inodesize } = this.#volume.superblock
    const seal = { at, length: sb_inodesize, crcAt: DINODE_CRC_OFFSET }
    const buffer = await this.#volume.buffers.edit([block], seal)
    // Checked before it came here; from now on its checksum is not stored until it is written.
    this.#volume.trust(buffer, at)
    this.#volume.trust(buffer, at + 1)
    return buffer.subarray(at, at + sb_inodesize)
  }

  #place(ino: number): { block: number; at: number } {
    const { geometry, superblock } = this.#volume
    const place = Number.isSafeInteger(ino) && ino >= 0 ? geometry.inodePlace(ino) : undefined
    if (place === undefined)
      throw corrupt('inode', `inode ${ino} is referred to and lies outside the volume`, { inode: ino })
    return { block: geometry.inAg(place.agno, place.agbno), at: place.index * superblock.sb_inodesize }
  }
}
