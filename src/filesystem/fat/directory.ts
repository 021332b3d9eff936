import { byteKey } from '../../bytes/names.ts'
import { DrydiskError } from '../../errors.ts'
import type { InodeNumber } from '../filesystem.ts'
import { type ClusterChain, readChain } from './cluster-chain.ts'
import { ENTRY_SIZE } from './directory-entry.ts'
import { DirectoryIndex, DOT_NAMES } from './directory-index.ts'
import { ROOT_INODE } from './inode-numbers.ts'
import type { FatVolume } from './volume.ts'

/** Most bytes of a directory: 65536 entries (fatgen103; FAT_MAX_DIR_SIZE in Linux). */
const MOST_BYTES = 0x1_0000 * ENTRY_SIZE

/** One opened directory. What it shows is what its sectors hold; only its names are kept apart. */
export class FatDirectory {
  readonly ino: InodeNumber
  readonly index: DirectoryIndex
  readonly #volume: FatVolume
  /** `undefined`: the fixed root directory of FAT12 and FAT16. */
  readonly #chain: ClusterChain | undefined

  private constructor(volume: FatVolume, ino: InodeNumber, chain: ClusterChain | undefined) {
    this.#volume = volume
    this.ino = ino
    this.#chain = chain
    this.index = new DirectoryIndex(volume.codePage)
  }

  /** @param first cluster; 0 for the fixed root directory. */
  static async open(volume: FatVolume, ino: InodeNumber, first: number): Promise<FatDirectory> {
    const { geometry, table, numbers } = volume
    const what = ino === ROOT_INODE ? 'the root directory' : `directory ${ino}`
    if (first === 0 && (ino !== ROOT_INODE || geometry.bits === 32))
      throw new DrydiskError('ERR_CORRUPT', `FAT: ${what} has no clusters; run fsck.fat`, { inode: ino })
    const most = Math.max(1, Math.floor(MOST_BYTES / geometry.clusterSize))
    const chain = first === 0 ? undefined : await readChain(table, geometry, first, most, what)
    for (const run of chain?.slice(0, chain.length) ?? [])
      for (let index = 0; index < run.count; index++) numbers.claim(run.cluster + index, ino)
    const directory = new FatDirectory(volume, ino, chain)
    if (ino !== ROOT_INODE) await directory.#requireDots(what)
    await directory.#read(what)
    return directory
  }

  /** Anything can be what a damaged entry leads to. */
  async #requireDots(what: string): Promise<void> {
    for (const [index, name] of DOT_NAMES.entries()) {
      const { bytes } = await this.#volume.readEntry(this.placeOf(index))
      if (byteKey(bytes.subarray(0, 11)) !== name)
        throw new DrydiskError(
          'ERR_CORRUPT',
          `FAT: ${what} does not start with the entries '.' and '..': it is no directory; run fsck.fat`,
          { structure: 'directory', inode: this.ino },
        )
    }
  }

  async #read(what: string): Promise<void> {
    const { geometry, blocks } = this.#volume
    const runs =
      this.#chain === undefined
        ? [{ block: geometry.rootStart, count: geometry.rootSectors }]
        : [...this.#chain.slice(0, this.#chain.length)].map(run => ({
            block: geometry.sectorOf(run.cluster),
            count: run.count * geometry.sectorsPerCluster,
          }))
    for (const { block, count } of runs) {
      if (!blocks.holds(block)) await blocks.prefetch({ block, count })
      for (let index = 0; index < count; index++)
        if (!this.index.read(await blocks.read(block + index), what)) return
    }
  }

  /** Entries that there is room for. */
  get capacity(): number {
    return this.size / ENTRY_SIZE
  }

  /** Bytes. */
  get size(): number {
    const { geometry } = this.#volume
    return this.#chain === undefined
      ? geometry.rootSectors * geometry.sectorSize
      : this.#chain.length * geometry.clusterSize
  }

  /** 0 for the fixed root directory. */
  get firstCluster(): number {
    return this.#chain === undefined ? 0 : ([...this.#chain.slice(0, 1)][0]?.cluster ?? 0)
  }

  /** Bytes of an entry from the start of the volume / 32. */
  placeOf(entry: number): number {
    const { geometry } = this.#volume
    const at = entry * ENTRY_SIZE
    if (this.#chain === undefined) return (geometry.rootStart * geometry.sectorSize + at) / ENTRY_SIZE
    const index = Math.floor(at / geometry.clusterSize)
    const [run] = this.#chain.slice(index, index + 1)
    if (run === undefined)
      throw new DrydiskError('ERR_CORRUPT', `FAT: directory ${this.ino} has no entry ${entry}`, {
        inode: this.ino,
      })
    return (geometry.offsetOf(run.cluster) + (at % geometry.clusterSize)) / ENTRY_SIZE
  }

  /** Clusters to be added so that it has room for `entries`. `ENOSPC` where it cannot grow so far. */
  growthFor(entries: number): number {
    if (entries <= this.capacity) return 0
    if (this.#chain === undefined)
      throw new DrydiskError(
        'ENOSPC',
        `FAT: the root directory is full: it has ${this.capacity} entries and cannot grow`,
      )
    const { geometry } = this.#volume
    const growth = geometry.clustersFor(entries * ENTRY_SIZE) - this.#chain.length
    if ((this.#chain.length + growth) * geometry.clusterSize > Math.max(MOST_BYTES, geometry.clusterSize))
      throw new DrydiskError('ENOSPC', 'FAT: the directory is full: it has room for 65536 entries at most', {
        inode: this.ino,
      })
    return growth
  }

  /** Adds zeroed clusters. There have to be so many. */
  async grow(clusters: number): Promise<void> {
    if (clusters === 0 || this.#chain === undefined) return
    const runs = await this.#volume.extend(this.#chain, clusters)
    for (const run of runs) {
      this.#volume.zeroClusters(run)
      for (let index = 0; index < run.count; index++)
        this.#volume.numbers.claim(run.cluster + index, this.ino)
    }
  }
}
