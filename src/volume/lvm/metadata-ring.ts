import { DrydiskError } from '../../errors.ts'
import { MDA_HEADER_SIZE, type RawLocn } from './mda-header.ts'
import type { DiskLocn } from './pv-header.ts'

/** MDA_ORIGINAL_ALIGNMENT of LVM2, lib/format_text/layout.h: a text begins with a sector. */
const ALIGNMENT = 512

/** The text's pieces in the area, in order: it is a ring that begins behind the header. */
export function textPieces(
  { offset, size }: Pick<RawLocn, 'offset' | 'size'>,
  area: DiskLocn,
): readonly DiskLocn[] {
  const first = Math.min(size, area.size - offset)
  const pieces = [{ offset: area.offset + offset, size: first }]
  if (size > first) pieces.push({ offset: area.offset + MDA_HEADER_SIZE, size: size - first })
  return pieces
}

/**
 * Where the next text goes: behind the old one, which stays whole until the header names the new one (vg_write_raw in
 * lib/format_text/format-text.c of LVM2).
 * @param old the text that is committed; `undefined` where there is none.
 * @returns bytes from the area's beginning.
 * @throws ENOSPC where LVM would not write it either.
 */
export function placeText(size: number, old: RawLocn | undefined, area: DiskLocn): number {
  const ring = area.size - MDA_HEADER_SIZE
  const offset = nextOffset(old, area)
  // Two of them have to fit, each beginning with a sector.
  const room = Math.floor(ring / 2) - ALIGNMENT
  const fits = size <= room && (old === undefined || !overlap({ offset, size }, old, area))
  if (fits) return offset
  throw new DrydiskError(
    'ENOSPC',
    `LVM metadata of ${size} bytes does not fit beside the old one in the metadata area of ${area.size} bytes at byte ${area.offset}`,
    { size, offset: area.offset },
  )
}

function nextOffset(old: RawLocn | undefined, area: DiskLocn): number {
  if (old === undefined || old.size === 0) return MDA_HEADER_SIZE
  const end = old.offset + old.size
  const behind = end > area.size ? end - area.size + MDA_HEADER_SIZE : end
  const next = Math.ceil(behind / ALIGNMENT) * ALIGNMENT
  return next > area.size - ALIGNMENT ? MDA_HEADER_SIZE : next
}

function overlap(
  one: Pick<RawLocn, 'offset' | 'size'>,
  other: Pick<RawLocn, 'offset' | 'size'>,
  area: DiskLocn,
): boolean {
  return textPieces(one, area).some(a =>
    textPieces(other, area).some(b => a.offset < b.offset + b.size && b.offset < a.offset + a.size),
  )
}
