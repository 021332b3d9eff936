import { DrydiskError } from '../../errors.ts'
import type { MetadataBlocks } from './context.ts'
import type { Geometry } from './geometry.ts'
import { type DescriptorChecksum, GroupDescriptor } from './group-descriptor.ts'
import type { Superblock } from './superblock.ts'

/** The descriptor table: each descriptor read when it is asked for, checked once, checksummed when written. */
export class GroupDescriptors {
  readonly #blocks: MetadataBlocks
  readonly #geometry: Geometry
  readonly #checksum: DescriptorChecksum
  /** A wrong checksum keeps from writing, as it keeps the kernel from a writable mount, but not from reading. */
  readonly #writable: boolean
  readonly #checked = new Set<number>()
  readonly #changed = new Set<number>()

  constructor(superblock: Superblock, geometry: Geometry, blocks: MetadataBlocks, writable: boolean) {
    this.#blocks = blocks
    this.#geometry = geometry
    this.#writable = writable
    this.#checksum = superblock.has('metadata_csum')
      ? { kind: 'crc32c', seed: superblock.checksumSeed }
      : superblock.has('uninit_bg')
        ? { kind: 'crc16', uuid: superblock.s_uuid.slice() }
        : { kind: 'none' }
  }

  /** Whether groups may have uninitialised bitmaps and inode tables: only with a checksum to trust the flags by. */
  get hasChecksums(): boolean {
    return this.#checksum.kind !== 'none'
  }

  /** For looking only; the object is a view on a block that may be dropped from memory. `ERR_CORRUPT` when damaged. */
  async read(group: number): Promise<GroupDescriptor> {
    const [block, offset] = this.#place(group)
    return this.#view(await this.#blocks.read(block), offset, group)
  }

  /** Whether a descriptor's checksum is right; true where descriptors have none. `ERR_CORRUPT` as `read`. */
  async checksumIsRight(group: number): Promise<boolean> {
    return (await this.read(group)).checksumIsRight(group, this.#checksum)
  }

  /** Changes a descriptor in place; its checksum follows with `seal`. */
  async change(group: number, how: (descriptor: GroupDescriptor) => void): Promise<void> {
    const [block, offset] = this.#place(group)
    const descriptor = this.#view(await this.#blocks.edit(block), offset, group)
    how(descriptor)
    this.#changed.add(group)
  }

  /** Sets the checksums of changed descriptors, before the blocks are written. */
  async seal(): Promise<void> {
    for (const group of this.#changed) {
      const [block, offset] = this.#place(group)
      const bytes = await this.#blocks.edit(block)
      this.#view(bytes, offset, group).updateChecksum(group, this.#checksum)
    }
    this.#changed.clear()
  }

  #place(group: number): [number, number] {
    const { descriptorsPerBlock, descriptorSize } = this.#geometry
    const index = Math.floor(group / descriptorsPerBlock)
    return [this.#geometry.descriptorBlock(index), (group % descriptorsPerBlock) * descriptorSize]
  }

  #view(block: Uint8Array, offset: number, group: number): GroupDescriptor {
    const descriptor = new GroupDescriptor(
      block.subarray(offset, offset + this.#geometry.descriptorSize),
      group,
    )
    if (!this.#checked.has(group)) {
      this.#check(descriptor, group)
      this.#checked.add(group)
    }
    return descriptor
  }

  /** As ext4_check_descriptors: the three places lie in the volume and on nothing that every reader trusts. */
  #check(descriptor: GroupDescriptor, group: number): void {
    const { blocksCount, firstDataBlock, superblockBlock, inodeTableBlocks } = this.#geometry
    const places = [
      ['block bitmap', descriptor.bg_block_bitmap, 1],
      ['inode bitmap', descriptor.bg_inode_bitmap, 1],
      ['inode table', descriptor.bg_inode_table, inodeTableBlocks],
    ] as const
    for (const [what, block, count] of places)
      if (block <= superblockBlock || block < firstDataBlock || block + count > blocksCount)
        throw new DrydiskError(
          'ERR_CORRUPT',
          `ext4 group ${group}: the ${what} lies at block ${block}, outside ${superblockBlock + 1} to ${blocksCount - count}; run e2fsck`,
          { structure: 'group descriptor', group, block },
        )
    if (this.#writable && !descriptor.checksumIsRight(group, this.#checksum))
      throw new DrydiskError(
        'ERR_CORRUPT',
        `ext4 group ${group}: the checksum of its descriptor is wrong; run e2fsck before writing`,
        { structure: 'group descriptor', group },
      )
  }
}
