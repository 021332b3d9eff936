import { LruCache } from '../../bytes/lru-cache.ts'
import { DrydiskError } from '../../errors.ts'
import type { FileType } from '../filesystem.ts'
import { type Dinode, parseDinode } from './dinode.ts'
import { corrupt } from './errors.ts'
import type { XfsVolume } from './volume.ts'

/** Inodes kept parsed. */
const KEPT = 1024
/** Inodes that are read at once, half a chunk: neighbours in a directory mostly lie side by side. */
const CLUSTER_INODES = 32

/** The inodes of a volume by number. */
export class Inodes {
  readonly #volume: XfsVolume
  readonly #kept = new LruCache<number, Dinode>(KEPT)

  constructor(volume: XfsVolume) {
    this.#volume = volume
  }

  /** `ERR_CORRUPT` where there is no inode in use. */
  async read(ino: number): Promise<Dinode> {
    const kept = this.#kept.get(ino)
    if (kept !== undefined) return kept
    const { geometry, blocks, superblock } = this.#volume
    const place = Number.isSafeInteger(ino) && ino >= 0 ? geometry.inodePlace(ino) : undefined
    if (place === undefined)
      throw corrupt('inode', `inode ${ino} is referred to and lies outside the volume`, { inode: ino })
    const block = geometry.inAg(place.agno, place.agbno)
    if (!blocks.holds(block)) {
      const count = Math.max(1, CLUSTER_INODES / superblock.sb_inopblock)
      await blocks.prefetch({ block: block - (place.agbno % count), count })
    }
    const bytes = await blocks.read(block)
    const at = place.index * superblock.sb_inodesize
    const inode = parseDinode(bytes.slice(at, at + superblock.sb_inodesize), ino, superblock)
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
}
