import { byteKey, bytesOfKey } from '../../bytes/names.ts'
import { DrydiskError } from '../../errors.ts'
import { isSection, type MetadataNode, type MetadataSection, parseMetadataText } from './metadata-text.ts'

/** Of LVM2, which counts in 32 bits. */
const LAST_SEQNO = 0xffff_ffff

const ID = /(?<![\w+.-])(id\s*=\s*")([^"\s]{38})"/g
const SEQNO = /(?<![\w+.-])(seqno\s*=\s*)(\d{1,10})(?!\d)/

/**
 * Metadata text with other ids of the volume group and its physical volumes, and the next sequence number; all else byte by byte as it was.
 * @param text that `parseVolumeGroup` takes; its NUL at the end stays too.
 * @param renamed every id to its new one, both as tools show them.
 * @throws ERR_UNSUPPORTED for text in which that would change something else.
 */
export function withNewIds(text: Uint8Array, renamed: ReadonlyMap<string, string>): Uint8Array {
  // One character a byte: text need not be UTF-8.
  const changed = byteKey(text)
    .replace(ID, (whole, key: string, id: string) => (renamed.has(id) ? `${key}${renamed.get(id)}"` : whole))
    .replace(SEQNO, (_, key: string, seqno: string) => `${key}${Number(seqno) + 1}`)
  const bytes = bytesOfKey(changed)
  const decoder = new TextDecoder()
  const expected = renamedSection(parseMetadataText(decoder.decode(text)), renamed)
  if (!sameNode(parseMetadataText(decoder.decode(bytes)), expected))
    throw new DrydiskError(
      'ERR_UNSUPPORTED',
      'LVM metadata: its ids cannot be told from what else is written there, so they stay',
    )
  return bytes
}

/** What the text has to mean then. */
function renamedSection(top: MetadataSection, renamed: ReadonlyMap<string, string>): MetadataSection {
  const withId = (section: MetadataSection) => {
    const id = section.get('id')
    return new Map(section).set('id', typeof id === 'string' ? (renamed.get(id) ?? id) : '')
  }
  let group: string | undefined
  return mapped(top, (name, node) => {
    if (group !== undefined || !isSection(node)) return node
    group = name
    const seqno = node.get('seqno')
    if (typeof seqno !== 'number' || seqno >= LAST_SEQNO)
      throw new DrydiskError(
        'ERR_UNSUPPORTED',
        `LVM metadata: seqno is ${String(seqno)}, behind which none comes`,
      )
    const next = new Map(withId(node)).set('seqno', seqno + 1)
    return mapped(next, (key, child) =>
      key === 'physical_volumes' && isSection(child)
        ? mapped(child, (_, pv) => (isSection(pv) ? withId(pv) : pv))
        : child,
    )
  })
}

function mapped(
  section: MetadataSection,
  change: (key: string, node: MetadataNode) => MetadataNode,
): MetadataSection {
  return new Map([...section].map(([key, node]) => [key, change(key, node)]))
}

function sameNode(one: MetadataNode | undefined, other: MetadataNode | undefined): boolean {
  if (isSection(one) && isSection(other))
    return one.size === other.size && [...one].every(([key, node]) => sameNode(node, other.get(key)))
  if (Array.isArray(one) && Array.isArray(other))
    return one.length === other.length && one.every((value, index) => value === other[index])
  return one === other
}
