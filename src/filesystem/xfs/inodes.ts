import { LruCache } from '../../bytes/lru-cache.ts'
import { DrydiskError } from '../../errors.ts'
import type { FileType } from '../filesystem.ts'
import type { Seal } from './buffers.ts'
import { checkChangeable } from './changeable.ts'
import { checkDinode, checkDinodeIdentity, DINODE_CRC_OFFSET, Dinode } from './dinode.ts'
import { corrupt } from './errors.ts'
import type { VolumeBlock } from './geometry.ts'
import { after, type Soon } from './soon.ts'
import type { XfsVolume } from './volume.ts'

/**
 * Bytes of inodes kept by their number, beside the buffers that they lie in. Each is counted as what it takes itself and an eighth
 * of a block: neighbours share one, and one whose neighbours are not in use keeps a whole one in memory. To make the objects of an inode again
 * takes as long as half of what unlinking it takes, so there is room for as much as for blocks (CLEAN_BYTES).
 */
const KEPT_BYTES = 16 << 20
const INODE_BYTES = 1024
/** Inodes that are read at once, half a chunk: neighbours in a directory mostly lie side by side. */
const CLUSTER_INODES = 32

/** Where an inode lies: its block, and its bytes there. */
interface Place {
  readonly block: VolumeBlock
  readonly seal: Seal
}

interface Kept extends Place {
  readonly inode: Dinode
  /** In which it was open for change last. */
  buffer: Uint8Array | undefined
}

/** The inodes of a volume by number. There is one object for each as long as it is in use: holding it is sharing it. */
export class Inodes {
  readonly #volume: XfsVolume
  readonly #kept = new LruCache<number, Kept>(KEPT_BYTES)
  /** What each of them counts for. */
  readonly #weight: number

  constructor(volume: XfsVolume) {
    this.#volume = volume
    this.#weight = INODE_BYTES + volume.superblock.sb_blocksize / 8
  }

  /** `ERR_CORRUPT` where there is no inode in use. Not to be changed: see `edit`. */
  read(ino: number): Soon<Dinode> {
    return this.#kept.get(ino)?.inode ?? after(this.#load(ino), ({ inode }) => inode)
  }

  /** `ENOTDIR` for a directory, `EISDIR` or `EINVAL` for others, when it is of another type. */
  require(ino: number, type: FileType): Soon<Dinode> {
    return after(this.read(ino), inode => {
      if (inode.type === type) return inode
      const code =
        type === 'directory' ? 'ENOTDIR' : inode.type === 'directory' && type === 'file' ? 'EISDIR' : 'EINVAL'
      throw new DrydiskError(code, `inode ${ino} is a ${inode.type}, not a ${type}`, { inode: ino })
    })
  }

  /** An inode in use, to be changed until the transaction ends. */
  edit(ino: number): Soon<Dinode> {
    const { superblock } = this.#volume
    return after(this.#kept.get(ino) ?? this.#load(ino), kept =>
      after(this.#editBuffer(kept), buffer => {
        if (buffer !== kept.buffer) {
          kept.inode.rebind(this.#bytes(buffer, kept.seal))
          this.#volume.verifyOnce(buffer, () => checkChangeable(kept.inode, superblock), kept.seal.at + 2)
          // It was checked; from now on its checksum is not stored until it is written.
          this.#volume.trustWhole(buffer, kept.seal.at)
          kept.buffer = buffer
        }
        kept.inode.makeCurrent()
        return kept.inode
      }),
    )
  }

  /** A free inode of a chunk, to be made one in use: its identity is checked, its content is as the last file left it. */
  claim(ino: number): Soon<Dinode> {
    const place = this.#place(ino)
    const { buffers, superblock } = this.#volume
    return after(buffers.held(place.block) ?? buffers.read(place.block), before => {
      const { at } = place.seal
      const check = () => checkDinodeIdentity(this.#bytes(before, place.seal), ino, superblock)
      this.#volume.verifyOnce(before, check, at + 1)
      return after(this.#editBuffer(place), buffer => {
        // As above; and initUsedInode makes it what can be changed.
        this.#volume.trustWhole(buffer, at)
        const inode = new Dinode(this.#bytes(buffer, place.seal), ino, superblock)
        this.#kept.set(ino, { block: place.block, seal: place.seal, inode, buffer }, this.#weight)
        return inode
      })
    })
  }

  /** Forgets an inode that is no more; whoever asks for it again gets what is on the volume. */
  forget(ino: number): void {
    this.#kept.delete(ino)
  }

  /** After a rollback, which may have put other buffers in their place. */
  forgetAll(): void {
    this.#kept.clear()
  }

  #load(ino: number): Soon<Kept> {
    const place = this.#place(ino)
    return after(this.#buffer(place.block), buffer => this.#keep(ino, place, buffer))
  }

  #buffer(block: VolumeBlock): Soon<Uint8Array> {
    return this.#volume.buffers.held(block) ?? this.#readCluster(block)
  }

  async #readCluster(block: VolumeBlock): Promise<Uint8Array> {
    const { buffers, geometry, superblock } = this.#volume
    const count = Math.max(1, CLUSTER_INODES / superblock.sb_inopblock)
    await buffers.prefetch({ block: block - ((block % geometry.agBlocks) % count), count })
    return buffers.read(block)
  }

  #keep(ino: number, place: Place, buffer: Uint8Array): Kept {
    // Another caller may have asked for it meanwhile.
    const already = this.#kept.get(ino)
    if (already !== undefined) return already
    const { superblock } = this.#volume
    const bytes = this.#bytes(buffer, place.seal)
    this.#volume.verifyOnce(buffer, () => checkDinode(bytes, ino, superblock), place.seal.at)
    const inode = new Dinode(bytes, ino, superblock)
    // The buffer may have been found right while the inode was in use.
    if (inode.typeIfAny === undefined)
      throw corrupt('inode', `inode ${ino} is free, and something refers to it`, { inode: ino })
    const kept = { block: place.block, seal: place.seal, inode, buffer: undefined }
    this.#kept.set(ino, kept, this.#weight)
    return kept
  }

  #editBuffer({ block, seal }: Place): Soon<Uint8Array> {
    const { buffers } = this.#volume
    return buffers.editHeld(block, seal) ?? buffers.edit([block], seal)
  }

  #bytes(buffer: Uint8Array, { at, length }: Seal): Uint8Array {
    return buffer.subarray(at, at + length)
  }

  #place(ino: number): Place {
    const { geometry, superblock } = this.#volume
    const place = Number.isSafeInteger(ino) && ino >= 0 ? geometry.inodePlace(ino) : undefined
    if (place === undefined)
      throw corrupt('inode', `inode ${ino} is referred to and lies outside the volume`, { inode: ino })
    const length = superblock.sb_inodesize
    const seal = { at: place.index * length, length, crcAt: DINODE_CRC_OFFSET }
    return { block: geometry.inAg(place.agno, place.agbno), seal }
  }
}
