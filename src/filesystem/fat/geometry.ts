import { DrydiskError } from '../../errors.ts'
import type { BootSector } from './boot-sector.ts'

/** Clusters are numbered from here on: the first two entries of a FAT hold the media byte and the clean bits. */
export const FIRST_CLUSTER = 2

/** Most clusters of FAT12 and FAT16 (fatgen103, "FAT Type Determination") and of FAT32 (28 bits without the marks). */
const MOST_CLUSTERS = { 12: 4084, 16: 65_524, 32: 0x0fff_fff4 } as const

/** What the values of a FAT's entries mean; 28 bits count with FAT32. */
const MARKS = {
  12: { bad: 0xff7, end: 0xff8, last: 0xfff },
  16: { bad: 0xfff7, end: 0xfff8, last: 0xffff },
  32: { bad: 0x0fff_fff7, end: 0x0fff_fff8, last: 0x0fff_ffff },
} as const

function corrupt(message: string, context: Record<string, number> = {}): DrydiskError {
  return new DrydiskError('ERR_CORRUPT', `FAT: ${message}`, { structure: 'boot sector', ...context })
}

/** Where everything lies, in sectors of `sectorSize` from the start of the volume. Refuses what contradicts itself. */
export class FatGeometry {
  readonly bits: 12 | 16 | 32
  /** Bytes: 512 to 4096. */
  readonly sectorSize: number
  readonly sectorsPerCluster: number
  readonly clusterSize: number
  /** Of the first FAT. */
  readonly fatStart: number
  /** Sectors of one FAT. */
  readonly fatSectors: number
  /** The FAT that counts, and all that are written. */
  readonly activeFat: number
  readonly writtenFats: readonly number[]
  /** The fixed root directory of FAT12 and FAT16; no sectors with FAT32. */
  readonly rootStart: number
  readonly rootSectors: number
  /** 0 with FAT12 and FAT16. */
  readonly rootCluster: number
  /** Of cluster 2. */
  readonly dataStart: number
  /** Number of clusters that exist: the highest is one more than this. */
  readonly clusters: number
  /** Of FSInfo, where there is one. */
  readonly fsInfoSector: number | undefined
  /** The boot sector claims more than the volume has. */
  readonly truncated: boolean
  readonly marks: { readonly bad: number; readonly end: number; readonly last: number }

  /** @param size of the volume in bytes. */
  constructor(boot: BootSector, size: number) {
    const { BPB_BytsPerSec: sectorSize, BPB_SecPerClus: perCluster } = boot
    if (![512, 1024, 2048, 4096].includes(sectorSize))
      throw corrupt(`BPB_BytsPerSec is ${sectorSize}, expected 512, 1024, 2048 or 4096`)
    if (perCluster === 0 || (perCluster & (perCluster - 1)) !== 0)
      throw corrupt(`BPB_SecPerClus is ${perCluster}, expected a power of 2`)
    if (boot.BPB_RsvdSecCnt === 0) throw corrupt('BPB_RsvdSecCnt is 0, expected at least the boot sector')
    if (boot.BPB_NumFATs === 0) throw corrupt('BPB_NumFATs is 0, expected at least 1')
    if (boot.BPB_Media !== 0xf0 && boot.BPB_Media < 0xf8)
      throw corrupt(`BPB_Media is 0x${boot.BPB_Media.toString(16)}, expected 0xf0 or 0xf8 and more`)
    if (boot.fatSectors === 0) throw corrupt('BPB_FATSz16 and BPB_FATSz32 are both 0')
    this.sectorSize = sectorSize
    this.sectorsPerCluster = perCluster
    this.clusterSize = sectorSize * perCluster
    this.fatStart = boot.BPB_RsvdSecCnt
    this.fatSectors = boot.fatSectors
    this.rootStart = this.fatStart + boot.BPB_NumFATs * boot.fatSectors
    // FAT32 has no fixed root directory, whatever the field says (fatgen103; Linux passes over it as well).
    this.rootSectors = boot.fat32 ? 0 : Math.ceil((boot.BPB_RootEntCnt * 32) / sectorSize)
    this.dataStart = this.rootStart + this.rootSectors
    const claimed = Math.floor((boot.totalSectors - this.dataStart) / perCluster)
    if (claimed < 1)
      throw corrupt(
        `${boot.totalSectors} sectors leave no room for clusters behind the FATs and the root directory, which end at ${this.dataStart}`,
      )
    if (!boot.fat32 && this.rootSectors === 0)
      throw corrupt('BPB_RootEntCnt is 0: there is no root directory')
    // By the number of clusters, as the specification demands. Where BPB_FATSz16 is 0 there is FAT32's BPB, and nothing else
    // that tells of FATs: small EFI system partitions made as FAT32 have too few clusters for one, and Linux reads them so.
    this.bits = boot.fat32 ? 32 : claimed <= MOST_CLUSTERS[12] ? 12 : 16
    this.marks = MARKS[this.bits]
    const entries = Math.floor((boot.fatSectors * sectorSize * 8) / this.bits)
    // What the FAT has no entries for is not used, as Linux has it.
    const clusters = Math.min(claimed, entries - FIRST_CLUSTER)
    if (clusters < 1 || clusters > MOST_CLUSTERS[this.bits])
      throw corrupt(
        `${claimed} clusters with FATs of ${entries} entries are not possible with FAT${this.bits}`,
      )
    const present = Math.floor(size / sectorSize) - this.dataStart
    if (present < perCluster)
      throw corrupt(`the FATs and the root directory end behind the volume of ${size} bytes`, { size })
    this.clusters = Math.min(clusters, Math.floor(present / perCluster))
    this.truncated = this.clusters < clusters

    const flags = boot.fat32?.BPB_ExtFlags ?? 0
    const single = (flags & 0x80) !== 0
    this.activeFat = single ? flags & 0x0f : 0
    if (this.activeFat >= boot.BPB_NumFATs)
      throw corrupt(`BPB_ExtFlags says that FAT ${this.activeFat} is active, of ${boot.BPB_NumFATs}`)
    this.writtenFats = single ? [this.activeFat] : Array.from({ length: boot.BPB_NumFATs }, (_, fat) => fat)
    this.rootCluster = boot.fat32?.BPB_RootClus ?? 0
    if (boot.fat32 && !this.isCluster(this.rootCluster))
      throw corrupt(`BPB_RootClus is ${this.rootCluster}, but there are ${this.clusters} clusters`)
    const info = boot.fat32?.BPB_FSInfo ?? 0
    this.fsInfoSector = info > 0 && info < boot.BPB_RsvdSecCnt ? info : undefined
  }

  isCluster(cluster: number): boolean {
    return cluster >= FIRST_CLUSTER && cluster < this.clusters + FIRST_CLUSTER
  }

  sectorOf(cluster: number): number {
    return this.dataStart + (cluster - FIRST_CLUSTER) * this.sectorsPerCluster
  }

  /** Byte offset in the volume. */
  offsetOf(cluster: number): number {
    return this.sectorOf(cluster) * this.sectorSize
  }

  /** The cluster that holds a sector; `undefined` for one before the clusters or behind them. */
  clusterOf(sector: number): number | undefined {
    const cluster = FIRST_CLUSTER + Math.floor((sector - this.dataStart) / this.sectorsPerCluster)
    return this.isCluster(cluster) ? cluster : undefined
  }

  /** Clusters that so many bytes need. */
  clustersFor(bytes: number): number {
    return Math.ceil(bytes / this.clusterSize)
  }
}
