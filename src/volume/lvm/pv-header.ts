import { littleEndian } from '../../bytes/byte-view.ts'
import { DrydiskError } from '../../errors.ts'
import { BARE_ID, formatLvmId } from './lvm-id.ts'

/** `struct disk_locn` of LVM2 (lib/format_text/layout.h): bytes from the beginning of the physical volume. */
export interface DiskLocn {
  readonly offset: number
  /** 0 for a data area: up to the end of the device. */
  readonly size: number
}

/** `struct pv_header` with `struct pv_header_extension`. */
export interface PvHeader {
  /** As in the metadata: 32 characters in groups of 6-4-4-4-4-4-6. */
  readonly pv_uuid: string
  /** Bytes. */
  readonly device_size: number
  readonly data_areas: readonly DiskLocn[]
  readonly metadata_areas: readonly DiskLocn[]
  /** 0 where there is no extension (written before LVM 2.02.99). */
  readonly extension_version: number
  /** Whether a volume group has it; `undefined` where the header does not tell (before version 2 of the extension). */
  readonly used: boolean | undefined
  /** Space that is kept for a boot loader. */
  readonly bootloader_areas: readonly DiskLocn[]
}

const ID_LEN = 32
const LOCN_SIZE = 16

/** PV_EXT_USED (lib/metadata/metadata-exported.h): a volume group has it. */
const PV_EXT_USED = 1

/**
 * Parses a physical volume's header.
 * @param bytes the label's sector from the header on.
 * Errors: `ERR_CORRUPT`.
 */
export function parsePvHeader(bytes: Uint8Array): PvHeader {
  const view = littleEndian(bytes, 'LVM physical volume header')
  const id = String.fromCharCode(...view.slice(0, ID_LEN))
  if (!BARE_ID.test(id))
    throw new DrydiskError(
      'ERR_CORRUPT',
      'LVM physical volume header: its id is not made of letters and digits',
      {
        structure: view.structure,
      },
    )
  let at = ID_LEN + 8
  // Each list ends with an entry of zeros; the sector bounds them all.
  const list = (): DiskLocn[] => {
    const areas: DiskLocn[] = []
    for (; view.big(at) !== 0n; at += LOCN_SIZE) areas.push({ offset: view.u64(at), size: view.u64(at + 8) })
    at += LOCN_SIZE
    return areas
  }
  const data_areas = list()
  const metadata_areas = list()
  const extension_version = at + 8 <= bytes.length ? view.u32(at) : 0
  const used = extension_version >= 2 ? (view.u32(at + 4) & PV_EXT_USED) !== 0 : undefined
  at += 8
  return {
    pv_uuid: formatLvmId(id),
    // A hint alone: the metadata says how much of the device is used.
    device_size: Number(view.big(ID_LEN)),
    data_areas,
    metadata_areas,
    extension_version,
    used,
    bootloader_areas: extension_version === 0 ? [] : list(),
  }
}
