import { LruCache } from '../../bytes/lru-cache.ts'
import type { BlockDevice } from '../../device/block-device.ts'
import { DrydiskError } from '../../errors.ts'
import { CachedBlocks } from '../cached-blocks.ts'
import type { InodeNumber, Timestamp } from '../filesystem.ts'
import { WatchedDevice } from '../watched-device.ts'
import type { BootSector } from './boot-sector.ts'
import { ClusterAllocator } from './cluster-allocator.ts'
import { type ClusterChain, type ClusterRun, readChain } from './cluster-chain.ts'
import { CodePage } from './code-page.ts'
import { FatDirectory } from './directory.ts'
import { ENTRY_SIZE, kindOf, ShortEntry } from './directory-entry.ts'
import { FatTable } from './fat-table.ts'
import { FsInfo } from './fs-info.ts'
import { FatGeometry } from './geometry.ts'
import { InodeNumbers, ROOT_INODE } from './inode-numbers.ts'
import type { FatMountOptions } from './mount-options.ts'
import { requireSound } from './verify.ts'

/** DIR_FileSize has 32 bits. */
export const MOST_FILE_BYTES = 0xffff_ffff

/** Bytes of changed sectors that make it worth writing between two operations, so that memory stays bounded. */
const WRITE_OUT_BYTES = 16 << 20
/** Entries of directories, and runs of files, that are kept in memory. */
const DIRECTORY_ENTRIES = 1 << 18
const CHAIN_RUNS = 1 << 20

/** A file or directory: its number, where its short entry is, and that entry as it was when asked for. */
export interface FatNode {
  readonly ino: InodeNumber
  /** Bytes from the start of the volume / 32. The root directory has no entry. */
  readonly place: number
  readonly entry: ShortEntry | undefined
  readonly isDirectory: boolean
}

/** One opened filesystem: what the parts of the FAT code share. */
export class FatVolume {
  readonly device: WatchedDevice
  readonly boot: BootSector
  readonly geometry: FatGeometry
  readonly writable: boolean
  readonly options: FatMountOptions
  readonly codePage: CodePage
  readonly blocks: CachedBlocks
  readonly table: FatTable
  readonly numbers: InodeNumbers
  readonly now: () => Timestamp
  readonly #directories = new LruCache<InodeNumber, FatDirectory>(DIRECTORY_ENTRIES)
  readonly #chains = new LruCache<number, ClusterChain>(CHAIN_RUNS)
  #allocator: ClusterAllocator | undefined
  #allocated = false
  /** Clusters that no file has and the FAT says are in use, where FSInfo counts them as free, as fsck.fat will once they are. */
  #lost = 0
  #free: number | undefined

  constructor(
    device: BlockDevice,
    boot: BootSector,
    options: FatMountOptions,
    writable: boolean,
    now: () => Timestamp,
  ) {
    this.device = new WatchedDevice(device, 0, device.size)
    this.boot = boot
    this.geometry = new FatGeometry(boot, device.size)
    this.options = options
    this.codePage = new CodePage(options.codePage)
    this.writable = writable
    const { sectorSize } = this.geometry
    this.blocks = new CachedBlocks(this.device, sectorSize, Math.floor(device.size / sectorSize), {
      filesystem: 'FAT',
      checker: 'fsck.fat',
    })
    this.table = new FatTable(this.device, this.geometry, this.blocks)
    this.numbers = new InodeNumbers(device.size)
    this.now = now
  }

  /** `ENOENT` where there is no such file: never, or not any more. */
  async node(ino: InodeNumber): Promise<FatNode> {
    if (ino === ROOT_INODE) return { ino, place: 0, entry: undefined, isDirectory: true }
    const place = this.numbers.placeOf(ino)
    const { geometry } = this
    const sector = Math.floor((place * ENTRY_SIZE) / geometry.sectorSize)
    const inRoot = sector >= geometry.rootStart && sector < geometry.dataStart
    if (Number.isInteger(place) && (inRoot || geometry.clusterOf(sector) !== undefined)) {
      const entry = await this.readEntry(place)
      if (kindOf(entry.bytes, 0) === 'short' && entry.bytes[0] !== 0x2e)
        return { ino, place, entry, isDirectory: entry.isDirectory }
    }
    throw new DrydiskError('ENOENT', `FAT: there is no file with the number ${ino}`, { inode: ino })
  }

  /** A copy. */
  async readEntry(place: number): Promise<ShortEntry> {
    const { sector, within } = this.#placed(place)
    return new ShortEntry((await this.blocks.read(sector)).slice(within, within + ENTRY_SIZE))
  }

  /** The entry's own bytes, to be changed before the next await. */
  async editEntry(place: number): Promise<ShortEntry> {
    const { sector, within } = this.#placed(place)
    return new ShortEntry((await this.blocks.edit(sector)).subarray(within, within + ENTRY_SIZE))
  }

  #placed(place: number): { sector: number; within: number } {
    const at = place * ENTRY_SIZE
    const { sectorSize } = this.geometry
    return { sector: Math.floor(at / sectorSize), within: at % sectorSize }
  }

  /** `ENOTDIR` when it is none, `ENOENT` when it is not there any more. */
  async directory(ino: InodeNumber): Promise<FatDirectory> {
    const held = this.#directories.get(ino)
    if (held !== undefined) return held
    const node = await this.node(ino)
    if (!node.isDirectory)
      throw new DrydiskError('ENOTDIR', `inode ${ino} is a file, not a directory`, { inode: ino })
    const first = node.entry?.cluster(this.geometry.bits) ?? this.geometry.rootCluster
    const directory = await FatDirectory.open(this, ino, first)
    this.#directories.set(ino, directory, Math.max(1, directory.capacity))
    return directory
  }

  /** The directory that holds a directory; looked for where nobody came through it yet. */
  async parentOf(ino: InodeNumber): Promise<InodeNumber> {
    const pending: InodeNumber[] = [ROOT_INODE]
    while (this.numbers.parentOf(ino) === undefined) {
      const next = pending.pop()
      if (next === undefined)
        throw new DrydiskError('ENOENT', `FAT: no directory holds the number ${ino}`, { inode: ino })
      const directory = await this.directory(next)
      for (const { short, isDirectory } of directory.index.entries())
        if (isDirectory) {
          const child = this.numbers.at(directory.placeOf(short))
          this.numbers.setParent(child, next)
          pending.push(child)
        }
    }
    return this.numbers.parentOf(ino) ?? ROOT_INODE
  }

  /** The clusters of a file; shared and changed by whoever changes the file. */
  async chain(first: number, ino: InodeNumber): Promise<ClusterChain> {
    const held = this.#chains.get(first)
    if (held !== undefined) return held
    const { table, geometry } = this
    const most = Math.min(geometry.clusters, geometry.clustersFor(MOST_FILE_BYTES + 1))
    const chain = await readChain(table, geometry, first, most, `file ${ino}`)
    if (first !== 0) this.#chains.set(first, chain, Math.max(1, chain.runs))
    return chain
  }

  /** Before the first change: the whole filesystem is looked through, and its free clusters are counted. */
  async prepareWriting(): Promise<void> {
    if (this.#allocator !== undefined) return
    const inUse = await requireSound(this)
    const info = await this.#fsInfo(false)
    const allocator = await ClusterAllocator.read(this.table, this.geometry, info?.FSI_Nxt_Free ?? 0)
    const lost = this.geometry.clusters - allocator.freeClusters - allocator.badClusters - inUse
    if (info?.FSI_Free_Count === allocator.freeClusters + lost) this.#lost = lost
    this.#allocator = allocator
  }

  get allocator(): ClusterAllocator {
    if (this.#allocator === undefined)
      throw new DrydiskError('EROFS', 'FAT: the filesystem is open for reading only')
    return this.#allocator
  }

  /** Clusters; counted, not believed. */
  async countFree(): Promise<number> {
    if (this.#allocator !== undefined) return this.#allocator.freeClusters
    if (this.#free === undefined) {
      let free = 0
      await this.table.scan(this.geometry.activeFat, (_, next) => {
        if (next === 0) free++
      })
      this.#free = free
    }
    return this.#free
  }

  /** Adds clusters to a chain. `ENOSPC` before anything changes. @returns what was added. */
  async extend(chain: ClusterChain, clusters: number): Promise<ClusterRun[]> {
    const { last } = chain
    const runs = this.allocator.allocate(clusters, last)
    this.#allocated = true
    for (const [index, { cluster, count }] of runs.entries())
      await this.table.setRun(cluster, count, runs[index + 1]?.cluster ?? this.geometry.marks.last)
    const [first] = runs
    if (last !== undefined && first !== undefined) await this.table.setRun(last, 1, first.cluster)
    const before = chain.runs
    for (const run of runs) chain.append(run)
    const [start] = chain.slice(0, 1)
    if (start !== undefined && (before === 0 || this.#chains.has(start.cluster)))
      this.#chains.set(start.cluster, chain, Math.max(1, chain.runs))
    return runs
  }

  /** Cuts a chain to its first `length` clusters and frees the others. */
  async cut(chain: ClusterChain, length: number): Promise<void> {
    const [start] = chain.slice(0, 1)
    const freed = chain.cut(length)
    if (freed.length === 0) return
    this.#allocated = true
    if (length === 0 && start !== undefined) this.#chains.delete(start.cluster)
    for (const run of freed) {
      await this.table.clearRun(run.cluster, run.count)
      this.allocator.release(run)
      const { sectorsPerCluster } = this.geometry
      this.blocks.forget({
        block: this.geometry.sectorOf(run.cluster),
        count: run.count * sectorsPerCluster,
      })
    }
    if (chain.last !== undefined) await this.table.setRun(chain.last, 1, this.geometry.marks.last)
  }

  /** For a directory: zeros in memory, which reach the volume with everything else. */
  zeroClusters({ cluster, count }: ClusterRun): void {
    const { geometry } = this
    const first = geometry.sectorOf(cluster)
    for (let index = 0; index < count * geometry.sectorsPerCluster; index++) this.blocks.fresh(first + index)
  }

  /** A directory is gone: its clusters are free and its number too. */
  async dropDirectory(directory: FatDirectory): Promise<void> {
    const { table, geometry } = this
    const chain = await readChain(
      table,
      geometry,
      directory.firstCluster,
      geometry.clusters,
      `directory ${directory.ino}`,
    )
    for (const { cluster, count } of chain.slice(0, chain.length))
      for (let index = 0; index < count; index++) this.numbers.disclaim(cluster + index)
    await this.cut(chain, 0)
    this.#directories.delete(directory.ino)
  }

  /** Writes changed sectors when there is much of them. */
  async relieve(): Promise<void> {
    if (this.blocks.changedBytes > WRITE_OUT_BYTES) await this.#writeOut()
  }

  async #writeOut(): Promise<void> {
    await this.table.seal()
    await this.blocks.flush()
  }

  /** Everything reaches the volume; nothing is written when nothing changed. */
  async sync(): Promise<void> {
    if (this.#allocator === undefined) return
    if (this.#allocated) {
      const info = await this.#fsInfo(true)
      if (info !== undefined) {
        info.FSI_Free_Count = this.allocator.freeClusters + this.#lost
        info.FSI_Nxt_Free = this.allocator.last
      }
      this.#allocated = false
    }
    if (this.blocks.changedBytes > 0) await this.#writeOut()
    await this.device.flush()
  }

  async #fsInfo(change: boolean): Promise<FsInfo | undefined> {
    const { fsInfoSector } = this.geometry
    if (fsInfoSector === undefined) return undefined
    if (!new FsInfo(await this.blocks.read(fsInfoSector)).isValid) return undefined
    return new FsInfo(await (change ? this.blocks.edit(fsInfoSector) : this.blocks.read(fsInfoSector)))
  }
}
