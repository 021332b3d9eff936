import { bigEndian } from '../../bytes/byte-view.ts'
import { corrupt } from './corruption.ts'

/** Types of header extensions (qcow2 specification, "Header extensions"). */
export const EXTENSION = {
  end: 0,
  backingFormat: 0xe2792aca,
  featureNames: 0x6803f857,
  bitmaps: 0x23852875,
  encryption: 0x0537be77,
  dataFile: 0x44415441,
} as const

/** Bytes of one entry of the feature name table. */
export const FEATURE_NAME_ENTRY = 48

/** A header extension as it lies in the file; what is not known is kept. */
export interface HeaderExtension {
  readonly type: number
  /** Byte offset of the data in the file. */
  readonly offset: number
  readonly data: Uint8Array
}

/**
 * The header extensions between the header and the end of the area.
 * @param cluster the header cluster, or as much of it as the file holds.
 * @param end where the area ends at the latest: the backing file name, or the end of the first cluster.
 */
export function parseHeaderExtensions(
  name: string,
  cluster: Uint8Array,
  start: number,
  end: number,
): HeaderExtension[] {
  const view = bigEndian(cluster, 'header extensions')
  const extensions: HeaderExtension[] = []
  for (let at = start; at + 8 <= Math.min(end, cluster.length); ) {
    const type = view.u32(at)
    if (type === EXTENSION.end) break
    const length = view.u32(at + 4)
    if (length > end - at - 8 || length > cluster.length - at - 8)
      throw corrupt(
        name,
        `header extension 0x${type.toString(16)} at byte ${at} claims ${length} bytes; the header has ${end - at - 8} left`,
        { structure: 'header extensions', offset: at },
      )
    extensions.push({ type, offset: at + 8, data: cluster.slice(at + 8, at + 8 + length) })
    at += 8 + Math.ceil(length / 8) * 8
  }
  return extensions
}

/** Names of feature bits by `type:bit`, where type is 0 incompatible, 1 compatible, 2 autoclear. */
export function parseFeatureNames(data: Uint8Array): Map<string, string> {
  const names = new Map<string, string>()
  for (let at = 0; at + FEATURE_NAME_ENTRY <= data.length; at += FEATURE_NAME_ENTRY) {
    const field = data.subarray(at + 2, at + FEATURE_NAME_ENTRY)
    const zero = field.indexOf(0)
    names.set(
      `${data[at]}:${data[at + 1]}`,
      new TextDecoder().decode(zero < 0 ? field : field.subarray(0, zero)),
    )
  }
  return names
}

/** A feature name table. */
export function serializeFeatureNames(
  features: readonly { readonly type: 0 | 1 | 2; readonly bit: number; readonly name: string }[],
): Uint8Array {
  const data = new Uint8Array(features.length * FEATURE_NAME_ENTRY)
  features.forEach(({ type, bit, name }, index) => {
    const at = index * FEATURE_NAME_ENTRY
    data[at] = type
    data[at + 1] = bit
    data.set(new TextEncoder().encode(name).subarray(0, FEATURE_NAME_ENTRY - 2), at + 2)
  })
  return data
}

/** The extensions one after another and the end marker. */
export function serializeHeaderExtensions(
  extensions: readonly { readonly type: number; readonly data: Uint8Array }[],
): Uint8Array {
  const size = extensions.reduce((sum, { data }) => sum + 8 + Math.ceil(data.length / 8) * 8, 8)
  const bytes = new Uint8Array(size)
  const view = bigEndian(bytes, 'header extensions')
  let at = 0
  for (const { type, data } of extensions) {
    view.setU32(at, type)
    view.setU32(at + 4, data.length)
    bytes.set(data, at + 8)
    at += 8 + Math.ceil(data.length / 8) * 8
  }
  return bytes
}
