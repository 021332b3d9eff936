import type { BlockDevice } from '../device/block-device.ts'

/** A place on a disk where a filesystem can be: a partition, or the whole disk. */
export interface Volume {
  /** A window of the disk. Closing it leaves the disk open. */
  readonly device: BlockDevice
  /** As the guest's kernel names it on its first disk: `/dev/sda1`; `/dev/sda` for the whole disk. */
  readonly name: string
  /** Number of the partition, from 1; logical partitions of an MBR from 5; 0 for the whole disk. */
  readonly number: number
  /** GPT: a lower-case GUID. MBR: two hexadecimal digits. Whole disk: empty. */
  readonly type: string
  /** What fdisk(8) calls the type; `unknown` for one without a name; empty for the whole disk. */
  readonly typeName: string
  /** GPT partition name; empty where there is none. */
  readonly label: string
  /** What `PARTUUID=` in an fstab names, lower-case; empty for the whole disk. */
  readonly uuid: string
  /** Bytes from the beginning of the disk. */
  readonly offset: number
  /** Bytes. */
  readonly length: number
}

export interface VolumeList {
  readonly table: 'gpt' | 'mbr' | 'none'
  /** Bytes; 512 where nothing tells. */
  readonly sectorSize: number
  /** GUID of a GPT, lower-case; eight hexadecimal digits of an MBR's signature; empty without a table. */
  readonly diskId: string
  /** In order of number. Without a table: the whole disk. */
  readonly volumes: readonly Volume[]
  /** What is wrong with the table but can be lived with, as whole sentences. */
  readonly warnings: readonly string[]
}

/** The first disk of a guest, as virt tools and fstab know it. */
export const DISK_NAME = '/dev/sda'
