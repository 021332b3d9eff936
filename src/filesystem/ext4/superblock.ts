import { type ByteView, littleEndian } from '../../bytes/byte-view.ts'
import { crc32c } from '../../bytes/crc32c.ts'
import { formatUuid } from '../../bytes/guid.ts'
import { FEATURES, type FeatureName, type FeatureSet, featureNames } from './features.ts'

/** The superblock lies at this byte of the volume, whatever the block size. */
export const SUPERBLOCK_OFFSET = 1024
export const SUPERBLOCK_SIZE = 1024
export const EXT_MAGIC = 0xef53

/** s_state (fs/ext4/ext4.h). */
export const STATE = { VALID: 0x1, ERROR: 0x2, ORPHAN: 0x4, FC_REPLAY: 0x20 } as const

/** s_flags. */
export const SUPERBLOCK_FLAG = { SIGNED_HASH: 0x1, UNSIGNED_HASH: 0x2 } as const

const TWO_32 = 0x1_0000_0000
const CHECKSUM_OFFSET = 0x3fc
const FEATURE_OFFSET: Readonly<Record<FeatureSet, number>> = { compat: 0x5c, incompat: 0x60, ro_compat: 0x64 }

/**
 * A view on the 1024 bytes of struct ext4_super_block (fs/ext4/ext4.h), with its field names. Getters give what is
 * stored; what the filesystem is shaped like is in `Geometry`, which checks it.
 */
export class Superblock {
  readonly bytes: Uint8Array
  readonly #view: ByteView

  constructor(bytes: Uint8Array) {
    this.bytes = bytes
    this.#view = littleEndian(bytes, 'superblock')
  }

  has(feature: FeatureName): boolean {
    const [set, bit] = FEATURES[feature]
    return (this.#view.u32(FEATURE_OFFSET[set]) & bit) !== 0
  }
  setFeature(feature: FeatureName, on: boolean): void {
    const [set, bit] = FEATURES[feature]
    const offset = FEATURE_OFFSET[set]
    const word = this.#view.u32(offset)
    this.#view.setU32(offset, (on ? word | bit : word & ~bit) >>> 0)
  }
  /** All features that are on, as `dumpe2fs -h` names them. */
  get features(): string[] {
    return [
      ...featureNames('compat', this.s_feature_compat),
      ...featureNames('incompat', this.s_feature_incompat),
      ...featureNames('ro_compat', this.s_feature_ro_compat),
    ]
  }

  get s_inodes_count(): number {
    return this.#view.u32(0x0)
  }
  set s_inodes_count(value: number) {
    this.#view.setU32(0x0, value)
  }
  get s_blocks_count(): number {
    return this.#wide(0x4, 0x150)
  }
  set s_blocks_count(value: number) {
    this.#setWide(0x4, 0x150, value)
  }
  get s_r_blocks_count(): number {
    return this.#wide(0x8, 0x154)
  }
  set s_r_blocks_count(value: number) {
    this.#setWide(0x8, 0x154, value)
  }
  /** Counts blocks also with bigalloc, where descriptors count clusters (EXT4_C2B in ext4_update_super). */
  get s_free_blocks_count(): number {
    return this.#wide(0xc, 0x158)
  }
  set s_free_blocks_count(value: number) {
    this.#setWide(0xc, 0x158, value)
  }
  get s_free_inodes_count(): number {
    return this.#view.u32(0x10)
  }
  set s_free_inodes_count(value: number) {
    this.#view.setU32(0x10, value)
  }
  get s_first_data_block(): number {
    return this.#view.u32(0x14)
  }
  set s_first_data_block(value: number) {
    this.#view.setU32(0x14, value)
  }
  get s_log_block_size(): number {
    return this.#view.u32(0x18)
  }
  set s_log_block_size(value: number) {
    this.#view.setU32(0x18, value)
  }
  get s_log_cluster_size(): number {
    return this.#view.u32(0x1c)
  }
  set s_log_cluster_size(value: number) {
    this.#view.setU32(0x1c, value)
  }
  get s_blocks_per_group(): number {
    return this.#view.u32(0x20)
  }
  set s_blocks_per_group(value: number) {
    this.#view.setU32(0x20, value)
  }
  get s_clusters_per_group(): number {
    return this.#view.u32(0x24)
  }
  set s_clusters_per_group(value: number) {
    this.#view.setU32(0x24, value)
  }
  get s_inodes_per_group(): number {
    return this.#view.u32(0x28)
  }
  set s_inodes_per_group(value: number) {
    this.#view.setU32(0x28, value)
  }
  /** Seconds since 1970. */
  set s_wtime(value: number) {
    this.#view.setU32(0x30, value >>> 0)
    this.#view.setU8(0x274, Math.floor(value / TWO_32) & 0xff)
  }
  set s_lastcheck(value: number) {
    this.#view.setU32(0x40, value >>> 0)
    this.#view.setU8(0x277, Math.floor(value / TWO_32) & 0xff)
  }
  set s_mkfs_time(value: number) {
    this.#view.setU32(0x108, value >>> 0)
    this.#view.setU8(0x276, Math.floor(value / TWO_32) & 0xff)
  }
  set s_max_mnt_count(value: number) {
    this.#view.setU16(0x36, value)
  }
  get s_magic(): number {
    return this.#view.u16(0x38)
  }
  set s_magic(value: number) {
    this.#view.setU16(0x38, value)
  }
  get s_state(): number {
    return this.#view.u16(0x3a)
  }
  set s_state(value: number) {
    this.#view.setU16(0x3a, value)
  }
  set s_errors(value: number) {
    this.#view.setU16(0x3c, value)
  }
  get s_creator_os(): number {
    return this.#view.u32(0x48)
  }
  get s_rev_level(): number {
    return this.#view.u32(0x4c)
  }
  set s_rev_level(value: number) {
    this.#view.setU32(0x4c, value)
  }
  get s_first_ino(): number {
    return this.#view.u32(0x54)
  }
  set s_first_ino(value: number) {
    this.#view.setU32(0x54, value)
  }
  get s_inode_size(): number {
    return this.#view.u16(0x58)
  }
  set s_inode_size(value: number) {
    this.#view.setU16(0x58, value)
  }
  set s_block_group_nr(value: number) {
    this.#view.setU16(0x5a, value)
  }
  get s_feature_compat(): number {
    return this.#view.u32(0x5c)
  }
  get s_feature_incompat(): number {
    return this.#view.u32(0x60)
  }
  get s_feature_ro_compat(): number {
    return this.#view.u32(0x64)
  }
  get s_uuid(): Uint8Array {
    return this.#view.slice(0x68, 16)
  }
  /** Lower-case with hyphens; the empty string when all bytes are 0. */
  get uuid(): string {
    return this.s_uuid.some(byte => byte !== 0) ? formatUuid(this.s_uuid) : ''
  }
  /** Up to 16 bytes, ended by a NUL where shorter. */
  get s_volume_name(): Uint8Array {
    const name = this.#view.slice(0x78, 16)
    const end = name.indexOf(0)
    return end < 0 ? name : name.subarray(0, end)
  }
  set s_volume_name(value: Uint8Array) {
    const field = this.#view.slice(0x78, 16)
    field.fill(0)
    field.set(value.subarray(0, 16))
  }
  get s_reserved_gdt_blocks(): number {
    return this.#view.u16(0xce)
  }
  set s_reserved_gdt_blocks(value: number) {
    this.#view.setU16(0xce, value)
  }
  get s_journal_uuid(): Uint8Array {
    return this.#view.slice(0xd0, 16)
  }
  get s_journal_inum(): number {
    return this.#view.u32(0xe0)
  }
  set s_journal_inum(value: number) {
    this.#view.setU32(0xe0, value)
  }
  get s_journal_dev(): number {
    return this.#view.u32(0xe4)
  }
  /** Head of the list of orphaned inodes, 0 when it is empty. */
  get s_last_orphan(): number {
    return this.#view.u32(0xe8)
  }
  set s_last_orphan(value: number) {
    this.#view.setU32(0xe8, value)
  }
  /** The seed of directory hashes: 16 bytes. */
  get s_hash_seed(): Uint8Array {
    return this.#view.slice(0xec, 16)
  }
  get s_def_hash_version(): number {
    return this.#view.u8(0xfc)
  }
  set s_def_hash_version(value: number) {
    this.#view.setU8(0xfc, value)
  }
  get s_jnl_backup_type(): number {
    return this.#view.u8(0xfd)
  }
  set s_jnl_backup_type(value: number) {
    this.#view.setU8(0xfd, value)
  }
  get s_desc_size(): number {
    return this.#view.u16(0xfe)
  }
  set s_desc_size(value: number) {
    this.#view.setU16(0xfe, value)
  }
  set s_default_mount_opts(value: number) {
    this.#view.setU32(0x100, value)
  }
  get s_first_meta_bg(): number {
    return this.#view.u32(0x104)
  }
  /** i_block of the journal's inode (60 bytes), i_size_high and i_size, where s_jnl_backup_type is 1. */
  get s_jnl_blocks(): Uint8Array {
    return this.#view.slice(0x10c, 68)
  }
  set s_min_extra_isize(value: number) {
    this.#view.setU16(0x15c, value)
  }
  get s_want_extra_isize(): number {
    return this.#view.u16(0x15e)
  }
  set s_want_extra_isize(value: number) {
    this.#view.setU16(0x15e, value)
  }
  get s_flags(): number {
    return this.#view.u32(0x160)
  }
  set s_flags(value: number) {
    this.#view.setU32(0x160, value)
  }
  get s_mmp_update_interval(): number {
    return this.#view.u16(0x166)
  }
  get s_mmp_block(): number {
    return this.#view.u64(0x168)
  }
  get s_log_groups_per_flex(): number {
    return this.#view.u8(0x174)
  }
  set s_log_groups_per_flex(value: number) {
    this.#view.setU8(0x174, value)
  }
  /** 1 for crc32c, the only type there is. */
  get s_checksum_type(): number {
    return this.#view.u8(0x175)
  }
  set s_checksum_type(value: number) {
    this.#view.setU8(0x175, value)
  }
  get s_error_count(): number {
    return this.#view.u32(0x194)
  }
  get s_overhead_clusters(): number {
    return this.#view.u32(0x248)
  }
  set s_overhead_clusters(value: number) {
    this.#view.setU32(0x248, value)
  }
  /** The two groups with backups under sparse_super2; 0 for none. */
  get s_backup_bgs(): readonly [number, number] {
    return [this.#view.u32(0x24c), this.#view.u32(0x250)]
  }
  get s_lpf_ino(): number {
    return this.#view.u32(0x268)
  }
  set s_lpf_ino(value: number) {
    this.#view.setU32(0x268, value)
  }
  get s_checksum_seed(): number {
    return this.#view.u32(0x270)
  }
  set s_checksum_seed(value: number) {
    this.#view.setU32(0x270, value)
  }
  get s_orphan_file_inum(): number {
    return this.#view.u32(0x280)
  }
  set s_orphan_file_inum(value: number) {
    this.#view.setU32(0x280, value)
  }

  /** crc32c(~0, superblock without the checksum); says nothing without metadata_csum. */
  get checksumIsRight(): boolean {
    return this.#view.u32(CHECKSUM_OFFSET) === this.#checksum()
  }
  /** To be called after the last change; does nothing without metadata_csum. */
  updateChecksum(): void {
    if (this.has('metadata_csum')) this.#view.setU32(CHECKSUM_OFFSET, this.#checksum())
  }
  #checksum(): number {
    return crc32c(0xffff_ffff, this.bytes.subarray(0, CHECKSUM_OFFSET))
  }

  /** What crc32c of filesystem-wide structures starts with (ext4_load_super: s_csum_seed). */
  get checksumSeed(): number {
    return this.has('metadata_csum_seed') ? this.s_checksum_seed : crc32c(0xffff_ffff, this.s_uuid)
  }

  /** The high half counts only with 64bit (ext4_blocks_count does not look, but mke2fs leaves 0 there otherwise). */
  #wide(low: number, high: number): number {
    return this.#view.u32(low) + (this.has('64bit') ? this.#view.u32(high) * TWO_32 : 0)
  }
  #setWide(low: number, high: number, value: number): void {
    this.#view.setU32(low, value >>> 0)
    if (this.has('64bit')) this.#view.setU32(high, Math.floor(value / TWO_32))
  }
}
