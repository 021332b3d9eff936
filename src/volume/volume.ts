import type { Range } from '../bytes/range-set.ts'
import type { BlockDevice } from '../device/block-device.ts'

/** A place on a disk where a filesystem can be: a partition, a logical volume, or the whole disk. */
export interface Volume {
  readonly kind: 'disk' | 'partition' | 'logical'
  /** A window of the disk. Closing it leaves the disk open. */
  readonly device: BlockDevice
  /**
   * As the guest's kernel names it on its first disk: `/dev/sda1`; `/dev/sda` for the whole disk; `/dev/mapper/group-volume` for a
   * logical volume, with the dashes of both names doubled.
   */
  readonly name: string
  /** Other names of a logical volume: `/dev/group/volume`, and its links below `/dev/disk/by-id`. */
  readonly aliases: readonly string[]
  /** Number of the partition, from 1; logical partitions of an MBR from 5; 0 for the whole disk; none for a logical volume. */
  readonly number: number | undefined
  /** GPT: a lower-case GUID. MBR: two hexadecimal digits. Else empty. */
  readonly type: string
  /** What fdisk(8) calls the type, `unknown` for one without a name; `LVM linear` or the like; empty for the whole disk. */
  readonly typeName: string
  /** GPT partition name; empty where there is none. */
  readonly label: string
  /** What `PARTUUID=` in an fstab names, lower-case; the id of a logical volume; empty for the whole disk. */
  readonly uuid: string
  /** Bytes from the beginning of the disk; none for a logical volume, which may lie in pieces. */
  readonly offset: number | undefined
  /** Bytes. */
  readonly length: number
  /** The ranges of the disk in which a range of the volume lies, in any order. */
  places(offset: number, length: number): Iterable<Range>
  /** Why the device cannot be read at all (its errors say the same), in words that follow the name. */
  readonly unreadable?: string
  /** Why the device is not written to whatever the disk allows, in words that follow the name. */
  readonly readOnly?: string
}

/** What `readVolumes` found on a disk. `sectorSize` is in bytes. */
export interface VolumeList {
  readonly table: 'gpt' | 'mbr' | 'none'
  /** Bytes; 512 where nothing tells. */
  readonly sectorSize: number
  /** GUID of a GPT, lower-case; eight hexadecimal digits of an MBR's signature; empty without a table. */
  readonly diskId: string
  /** In order of number, then the logical volumes. Without a table: the whole disk, and the logical volumes on it. */
  readonly volumes: readonly Volume[]
  readonly groups: readonly VolumeGroup[]
  /** What is wrong with the table or with LVM's metadata but can be lived with, as whole sentences. */
  readonly warnings: readonly string[]
}

/** An LVM2 volume group. */
export interface VolumeGroup {
  readonly name: string
  /** As LVM writes it. */
  readonly uuid: string
  /** Counts the changes of its metadata. */
  readonly seqno: number
  /** Bytes. */
  readonly extentSize: number
  readonly physicalVolumes: readonly PhysicalVolume[]
  /** Names of its visible logical volumes in the list of volumes. */
  readonly logicalVolumes: readonly string[]
}

/** A physical volume of a volume group. */
export interface PhysicalVolume {
  /** As LVM writes it. */
  readonly uuid: string
  /** Name of the volume that it is; `undefined` when it is not on this disk. */
  readonly name: string | undefined
  /** Number of extents. */
  readonly extents: number
  /** Extents that no logical volume has. */
  readonly freeExtents: number
  /** Bytes of the volume that are certainly nobody's; none where there is a doubt. */
  readonly free: readonly Range[]
}

/** The first disk of a guest, as virt tools and fstab know it. */
export const DISK_NAME = '/dev/sda'
