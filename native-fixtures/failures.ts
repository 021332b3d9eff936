import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { crc32c } from '../src/bytes/crc32c.ts'
import type { ErrorCode } from '../src/errors.ts'
import { runOk, temporaryFolder } from '../test/support/native.ts'

/**
 * An image that must be refused, named by the error that it must give. Each is a sound image of a native tool with one thing
 * wrong, so that this thing alone is what is met.
 */
export interface Failure {
  readonly code: ErrorCode
  /** What the message must say: what was found, in the format's own terms. */
  readonly says: RegExp
  /** Refused for writing only; reading is harmless. */
  readonly writable?: true
  damage(image: DataView): void
}

/** Fields by their offsets in the header: qcow2 specification, "Header". */
export const qcow2Failures: Readonly<Record<string, Failure>> = {
  'ERR_UNSUPPORTED: a version after 3': {
    code: 'ERR_UNSUPPORTED',
    says: /version 4/,
    damage: image => image.setUint32(4, 4),
  },
  'ERR_UNSUPPORTED: AES encryption': {
    code: 'ERR_UNSUPPORTED',
    says: /AES/,
    damage: image => image.setUint32(32, 1),
  },
  'ERR_UNSUPPORTED: LUKS encryption': {
    code: 'ERR_UNSUPPORTED',
    says: /LUKS/,
    damage: image => image.setUint32(32, 2),
  },
  'ERR_UNSUPPORTED: an incompatible feature that is not known': {
    code: 'ERR_UNSUPPORTED',
    says: /40/,
    damage: image => image.setUint32(72, 1 << 8),
  },
  'ERR_CORRUPT: clusters of 256 bytes': {
    code: 'ERR_CORRUPT',
    says: /cluster/,
    damage: image => image.setUint32(20, 8),
  },
  'ERR_CORRUPT: clusters of 4 MiB': {
    code: 'ERR_CORRUPT',
    says: /cluster/,
    damage: image => image.setUint32(20, 22),
  },
  'ERR_CORRUPT: refcounts of 128 bits': {
    code: 'ERR_CORRUPT',
    says: /refcount/,
    damage: image => image.setUint32(96, 7),
  },
  'ERR_CORRUPT: an L1 table between two clusters': {
    code: 'ERR_CORRUPT',
    says: /l1_table|L1/,
    damage: image => image.setUint32(44, image.getUint32(44) + 512),
  },
  'ERR_CORRUPT: an L1 table that is too short for the disk': {
    code: 'ERR_CORRUPT',
    says: /l1_size|L1/,
    damage: image => image.setUint32(36, 0),
  },
  'ERR_CORRUPT: an L1 table of 4 GiB': {
    code: 'ERR_CORRUPT',
    says: /l1_size|L1/,
    damage: image => image.setUint32(36, 0x2000_0000),
  },
  'ERR_CORRUPT: a refcount table of 256 TiB': {
    code: 'ERR_CORRUPT',
    says: /refcount/,
    damage: image => image.setUint32(56, 0xffff_ffff),
  },
  'ERR_CORRUPT: more snapshots than there may be': {
    code: 'ERR_CORRUPT',
    says: /snapshot/,
    damage: image => image.setUint32(60, 65_537),
  },
  'ERR_CORRUPT: the corrupt bit': {
    code: 'ERR_CORRUPT',
    says: /corrupt/,
    writable: true,
    damage: image => image.setUint32(76, image.getUint32(76) | 2),
  },
  'ERR_CORRUPT: a cluster in use whose refcount is 0': {
    code: 'ERR_CORRUPT',
    says: /refcount is 0/,
    writable: true,
    // The second entry of the first refcount block, which the second cluster's table names.
    damage: image => image.setUint16(image.getUint32(image.getUint32(52) + 4), 0),
  },
}

const SUPERBLOCK = 1024

/** The same superblock with a checksum that is right, so that the field and not the checksum is what is met. */
function resealed(change: (image: DataView) => void): (image: DataView) => void {
  return image => {
    change(image)
    const bytes = new Uint8Array(image.buffer, image.byteOffset + SUPERBLOCK, 0x3fc)
    image.setUint32(SUPERBLOCK + 0x3fc, crc32c(0xffff_ffff, bytes), true)
  }
}

/** Adds a bit to a 32-bit field of the superblock. */
function withBit(offset: number, bit: number): (image: DataView) => void {
  return resealed(image =>
    image.setUint32(SUPERBLOCK + offset, image.getUint32(SUPERBLOCK + offset, true) | bit, true),
  )
}

/** Fields by their offsets in struct ext4_super_block (fs/ext4/ext4.h). */
export const ext4Failures: Readonly<Record<string, Failure>> = {
  'ERR_UNSUPPORTED: compression': {
    code: 'ERR_UNSUPPORTED',
    says: /compression/,
    damage: withBit(0x60, 0x1),
  },
  'ERR_UNSUPPORTED: a journal device, which is no filesystem': {
    code: 'ERR_UNSUPPORTED',
    says: /journal_dev/,
    damage: withBit(0x60, 0x8),
  },
  'ERR_UNSUPPORTED: dirdata': { code: 'ERR_UNSUPPORTED', says: /dirdata/, damage: withBit(0x60, 0x1000) },
  'ERR_UNSUPPORTED: an incompatible feature that is not known': {
    code: 'ERR_UNSUPPORTED',
    says: /FEATURE_I30/,
    damage: withBit(0x60, 0x4000_0000),
  },
  'ERR_UNSUPPORTED: a read-only-compatible feature that is not known': {
    code: 'ERR_UNSUPPORTED',
    says: /FEATURE_R30/,
    writable: true,
    damage: withBit(0x64, 0x4000_0000),
  },
  'ERR_CORRUPT: a superblock whose checksum is wrong': {
    code: 'ERR_CORRUPT',
    says: /checksum/,
    damage: image => image.setUint32(SUPERBLOCK + 0x3fc, 0, true),
  },
  'ERR_CORRUPT: blocks of 2 MiB': {
    code: 'ERR_CORRUPT',
    says: /s_log_block_size|block size/,
    damage: resealed(image => image.setUint32(SUPERBLOCK + 0x18, 11, true)),
  },
  'ERR_CORRUPT: no inodes in a group': {
    code: 'ERR_CORRUPT',
    says: /s_inodes_per_group/,
    damage: resealed(image => image.setUint32(SUPERBLOCK + 0x28, 0, true)),
  },
  'ERR_CORRUPT: inodes of 100 bytes': {
    code: 'ERR_CORRUPT',
    says: /s_inode_size/,
    damage: resealed(image => image.setUint16(SUPERBLOCK + 0x58, 100, true)),
  },
  'ERR_CORRUPT: more blocks than the volume has': {
    code: 'ERR_CORRUPT',
    says: /blocks/,
    damage: resealed(image => image.setUint32(SUPERBLOCK + 0x4, 0x7fff_ffff, true)),
  },
}

/** A qcow2 image of 1 MiB by qemu-img, with one cluster of data. */
export async function soundQcow2(): Promise<Uint8Array> {
  const path = join(temporaryFolder(), 'sound.qcow2')
  await runOk('qemu-img', ['create', '-q', '-f', 'qcow2', path, '1M'])
  await runOk('qemu-io', ['-c', 'write -P 1 0 64k', path])
  return new Uint8Array(readFileSync(path))
}

/** An ext4 filesystem of 8 MiB by mke2fs. */
export async function soundExt4(): Promise<Uint8Array> {
  const path = join(temporaryFolder(), 'sound.ext4')
  await runOk('mke2fs', ['-q', '-F', '-t', 'ext4', '-O', 'metadata_csum', path, '8M'])
  return new Uint8Array(readFileSync(path))
}
