import { printable } from '../../bytes/names.ts'

/**
 * Name of a logical volume below /dev/mapper: dashes in the names are doubled, so that the single one parts them
 * (dm_build_dm_name in libdm/libdm-string.c of LVM2).
 */
export function mapperName(group: string, volume: string): string {
  return `${group.replaceAll('-', '--')}-${volume.replaceAll('-', '--')}`
}

/**
 * The other paths that name it: udev's links (10-dm.rules, 11-dm-lvm.rules and 13-dm-disk.rules of LVM2). A device-mapper UUID is
 * made of the ids without their dashes.
 */
export function aliasesOf(group: string, volume: string, groupId: string, volumeId: string): string[] {
  return [
    `/dev/${group}/${volume}`,
    `/dev/disk/by-id/dm-name-${mapperName(group, volume)}`,
    `/dev/disk/by-id/dm-uuid-LVM-${`${groupId}${volumeId}`.replaceAll('-', '')}`,
  ]
}

/** A word of the metadata for a message: anything may be in it, and any length. */
export function shownWord(word: string): string {
  return printable(word.length > 80 ? `${word.slice(0, 80)}…` : word)
}
