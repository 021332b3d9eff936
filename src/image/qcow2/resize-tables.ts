import { isZero } from '../../bytes/compare.ts'
import type { Storage } from '../../device/storage.ts'
import { unsupported } from './corruption.ts'
import { roundUp, TWO_32 } from './geometry.ts'
import { AUTOCLEAR } from './header.ts'
import { COPIED, L1Table, L2Table, ZERO } from './l2-table.ts'
import { readPadded } from './padded-read.ts'
import type { Qcow2Image } from './qcow2-image.ts'
import type { Restructure } from './restructure.ts'
import { countEntry, countReached, fixCopied, hasDataFile, readL1Table } from './table-references.ts'

const ALL = 0xffff_ffff

/**
 * Builds the mapping tables of a disk of another size. What lies beyond the smaller of both sizes is given up: clusters that a
 * smaller disk does not reach, the rest of its last cluster, and machine state that an applied snapshot left behind the disk.
 * What a larger disk gains reads as zeros, whatever the backing file holds there.
 */
export class ResizedTables {
  readonly #restructure: Restructure
  readonly #image: Qcow2Image
  readonly #dataFile: Storage | undefined
  readonly #size: number
  /** Bytes that both disks have. */
  readonly #kept: number
  readonly #l1: L1Table
  /** Clusters were given up that may be in use elsewhere: OFLAG_COPIED may have to change. */
  #given = false

  /** @param l1 of the new disk: empty, and as long as it is to be. */
  private constructor(
    restructure: Restructure,
    image: Qcow2Image,
    dataFile: Storage | undefined,
    size: number,
    l1: L1Table,
  ) {
    this.#restructure = restructure
    this.#image = image
    this.#dataFile = dataFile
    this.#size = size
    this.#kept = Math.min(size, image.size)
    this.#l1 = l1
  }

  /**
   * Writes the L2 tables and data clusters that the new disk needs, and sees to the refcounts.
   * @param image the old state, open for reading.
   * @param dataFile the external data file, open for writing, no longer than the old disk.
   * @returns the new L1 table, not yet written.
   * Errors: `ERR_UNSUPPORTED` for a version 2 image that would have to hide content of its backing file.
   */
  static async build(
    restructure: Restructure,
    image: Qcow2Image,
    dataFile: Storage | undefined,
    size: number,
  ): Promise<L1Table> {
    const { geometry } = restructure.header
    const l1 = new L1Table(new Uint8Array(Math.max(1, Math.ceil(size / geometry.l2Span)) * 8))
    const tables = new ResizedTables(restructure, image, dataFile, size, l1)
    await tables.#build()
    return l1
  }

  async #build(): Promise<void> {
    const { geometry } = this.#restructure.header
    const before = await readL1Table(this.#restructure, this.#restructure.header)
    const keptTables = Math.ceil(this.#kept / geometry.l2Span)
    this.#l1.bytes.set(before.bytes.subarray(0, keptTables * 8))
    const given = new L1Table(before.bytes.subarray(keptTables * 8))
    if (given.bytes.some(byte => byte !== 0)) {
      this.#given = true
      await countReached(this.#restructure, given, -1)
    }
    const hidden = this.#hiddenEnd()
    const last = Math.ceil(Math.max(this.#kept, hidden) / geometry.l2Span)
    for (let index = Math.max(0, keptTables - 1); index < last; index++) await this.#table(index, hidden)
    if (this.#given) await fixCopied(this.#restructure, [this.#l1])
  }

  /** End of the clusters behind the old disk that need an entry; 0 when none does. */
  #hiddenEnd(): number {
    const { header } = this.#restructure
    const old = this.#image.size
    if (this.#size <= old) return 0
    // Whoever reads the data file by itself reads what the tables must say too.
    if (this.#isRaw()) return this.#size
    const end = Math.min(this.#size, this.#image.backing?.size ?? 0)
    if (end <= roundUp(old, header.geometry.clusterSize)) return 0
    if (header.version === 2)
      throw unsupported(
        this.#restructure.storage.name,
        `the backing file has ${this.#image.backing?.size} bytes, and an image of version 2 cannot hide what the larger disk would ` +
          'show of it; make it version 3 first with "drydisk amend -o compat=1.1"',
        { feature: 'zero clusters' },
      )
    return end
  }

  #isRaw(): boolean {
    const { header } = this.#restructure
    return hasDataFile(header) && (header.autoclear_features & AUTOCLEAR.rawExternalData) !== 0n
  }

  /** Edits one L2 table: its rest behind the old disk, the cluster that the disk ended or ends in, and new clusters of zeros. */
  async #table(index: number, hidden: number): Promise<void> {
    const { header, storage, counts } = this.#restructure
    const { clusterSize, l2Entries, l2Span } = header.geometry
    const old = this.#l1.offset(index)
    const bytes = new Uint8Array(clusterSize)
    if (old !== 0) await readPadded(storage, old, bytes)
    const table = new L2Table(header.geometry, old, bytes)
    const first = index * l2Entries
    for (
      let cluster = Math.max(first, Math.ceil(this.#kept / clusterSize));
      cluster < first + l2Entries;
      cluster++
    ) {
      this.#give(table, cluster - first)
      if (cluster * clusterSize < hidden) this.#hide(table, cluster)
    }
    const within = this.#kept % clusterSize
    if (within !== 0 && Math.floor(this.#kept / l2Span) === index)
      await this.#endWithZeros(table, Math.floor(this.#kept / clusterSize), within)
    if (!table.dirty) return
    if (old !== 0) {
      counts.add(old / clusterSize, -1)
      // Whoever else has the table may now be alone with it.
      if (counts.get(old / clusterSize) > 0) this.#given = true
    }
    if (isZero(bytes)) {
      this.#l1.set(index, 0, false)
      return
    }
    const place = this.#restructure.allocate() * clusterSize
    await storage.write(place, bytes)
    this.#l1.set(index, place)
  }

  /** Makes the entry one of no cluster. */
  #give(table: L2Table, index: number): void {
    const { header, counts } = this.#restructure
    const { geometry } = header
    const high = table.high(index)
    const low = table.low(index)
    const extended = geometry.subclusters > 1
    if (high === 0 && low === 0 && !(extended && table.zeroBitmap(index) !== 0)) return
    if (!hasDataFile(header) && (high !== 0 || low !== 0)) {
      countEntry(counts, geometry, high, low, -1)
      this.#given = true
    }
    table.set(index, 0, 0)
    if (extended) table.setBitmaps(index, 0, 0)
  }

  /** Makes a cluster behind the old disk read as zeros where the backing file does not. */
  #hide(table: L2Table, cluster: number): void {
    const { clusterSize, l2Entries, subclusters } = this.#restructure.header.geometry
    const index = cluster % l2Entries
    if (this.#isRaw()) this.#point(table, index, cluster * clusterSize)
    else if (subclusters > 1) table.setBitmaps(index, ALL, 0)
    else table.set(index, 0, ZERO)
  }

  #point(table: L2Table, index: number, host: number): void {
    table.set(index, (Math.floor(host / TWO_32) | COPIED) >>> 0, host >>> 0)
    if (this.#restructure.header.geometry.subclusters > 1) table.setBitmaps(index, 0, ALL)
  }

  /** Sees to it that the cluster in which the smaller disk ends reads as zeros from there on. */
  async #endWithZeros(table: L2Table, cluster: number, within: number): Promise<void> {
    const { header, storage } = this.#restructure
    const { clusterSize, l2Entries } = header.geometry
    const index = cluster % l2Entries
    if (!(await this.#showsMore(table, index, cluster, within))) return
    const content = new Uint8Array(clusterSize)
    await this.#image.read(cluster * clusterSize, content.subarray(0, within))
    this.#give(table, index)
    const host =
      this.#dataFile === undefined ? this.#restructure.allocate() * clusterSize : cluster * clusterSize
    // The data file's own end is the disk's.
    if (this.#dataFile === undefined) await storage.write(host, content)
    else await this.#dataFile.write(host, content.subarray(0, within))
    this.#point(table, index, host)
  }

  /** Whether anything but zeros would appear behind the end of the disk if it were larger. */
  async #showsMore(table: L2Table, index: number, cluster: number, within: number): Promise<boolean> {
    const { header, storage } = this.#restructure
    const { clusterSize, subclusters } = header.geometry
    const entry = this.#image.parts.reader.map.decode(table, index)
    if (entry.kind === 'compressed') return true
    const backed = (this.#image.backing?.size ?? 0) > cluster * clusterSize + within
    // qemu, too, hides the backing file when a disk grows, not when it shrinks.
    if (entry.kind === 'hole') return backed && this.#size > this.#kept
    const tail = new Uint8Array(clusterSize - within)
    const part = Math.floor((within * subclusters) / clusterSize)
    const behind = subclusters === 1 ? ALL : (ALL << part) >>> 0
    if (((entry.zero | entry.allocated) & behind) >>> 0 !== behind && backed) return true
    if ((entry.allocated & behind) === 0 || this.#dataFile !== undefined) return false
    await readPadded(storage, entry.host + within, tail)
    return !isZero(tail)
  }
}
