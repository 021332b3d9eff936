import { bigEndian } from '../../../bytes/byte-view.ts'
import { moveForkRoot } from '../btree-fork.ts'
import type { BmbtRecord } from '../btree-kinds.ts'
import { type Dinode, FORMAT } from '../dinode.ts'
import type { XfsWriter } from '../writer.ts'
import { listedExtents, listRoom, storeExtentList } from './extent-list.ts'
import { forkOf, setExtentCount, setForkFormat, type WhichFork } from './fork-state.ts'
import { forkTree, nearInode } from './fork-tree.ts'

/** Bytes of the root of a tree in an inode: XFS_BMDR_SPACE_CALC of MINDBTPTRS and of MINABTPTRS. No fork is left smaller. */
const LEAST = { data: 4 + 3 * 16, attribute: 4 + 2 * 16 } as const
/** Bytes of a device number, rounded up: where the attributes of such an inode begin. */
const DEVICE = 8
/** struct xfs_attr_sf_hdr without any attribute. */
const NO_ATTRIBUTES = 4

/** What a fork holds, apart from its place in the inode. */
type Content =
  | { readonly kind: 'bytes'; readonly bytes: Uint8Array }
  | { readonly kind: 'root'; readonly bytes: Uint8Array }
  | { readonly kind: 'extents'; readonly records: readonly BmbtRecord[] }

/**
 * Moves the boundary between the forks; both keep what they hold. From 0 there is an attribute fork from now on, of extents and
 * empty; to 0 there is none any more, which an empty one alone may become.
 * @param forkoff in units of 8 bytes, as di_forkoff.
 * @returns `false`, with nothing changed, where one of them does not fit (xfs_attr_shortform_bytesfit, xfs_bmap_add_attrfork).
 */
export async function resizeForks(writer: XfsWriter, inode: Dinode, forkoff: number): Promise<boolean> {
  if (forkoff === inode.di_forkoff) return true
  if (!(Number.isInteger(forkoff) && forkoff >= 0 && forkoff * 8 < inode.literalSize)) return false
  const bytes = {
    data: forkoff === 0 ? inode.literalSize : forkoff * 8,
    attribute: forkoff === 0 ? 0 : inode.literalSize - forkoff * 8,
  }
  const before = inode.attributes
  if (!dataFits(inode, bytes.data) || !attributesFit(inode, bytes.attribute)) return false
  const data = await take(writer, inode, 'data', bytes.data)
  const attributes =
    before === undefined || forkoff === 0
      ? undefined
      : await take(writer, inode, 'attribute', bytes.attribute)
  inode.di_forkoff = forkoff
  inode.bytes.fill(0, inode.coreSize)
  await put(writer, inode, 'data', data)
  if (attributes !== undefined) await put(writer, inode, 'attribute', attributes)
  else {
    setForkFormat(inode, 'attribute', FORMAT.EXTENTS)
    setExtentCount(inode, 'attribute', 0)
  }
  return true
}

function dataFits(inode: Dinode, bytes: number): boolean {
  const { format } = inode.data
  if (format === FORMAT.DEV) return bytes === DEVICE || bytes === inode.literalSize
  if (bytes < LEAST.data) return false
  return format !== FORMAT.LOCAL || inode.di_size <= bytes
}

function attributesFit({ attributes }: Dinode, bytes: number): boolean {
  const isLocal = attributes?.format === FORMAT.LOCAL
  if (bytes === 0) {
    if (attributes === undefined) return true
    return isLocal ? shortSize(attributes.literal.bytes) <= NO_ATTRIBUTES : attributes.nextents === 0
  }
  if (bytes < LEAST.attribute) return false
  return attributes === undefined || !isLocal || shortSize(attributes.literal.bytes) <= bytes
}

/** xfs_attr_sf_hdr.totsize */
function shortSize(literal: Uint8Array): number {
  return bigEndian(literal, 'xfs attributes').u16(0)
}

/** @param bytes of the fork afterwards. */
async function take(writer: XfsWriter, inode: Dinode, which: WhichFork, bytes: number): Promise<Content> {
  const fork = forkOf(inode, which)
  const { format, nextents, literal } = fork
  if (format === FORMAT.EXTENTS) return { kind: 'extents', records: listedExtents(fork, inode.ino) }
  if (format !== FORMAT.BTREE) return { kind: 'bytes', bytes: literal.bytes.slice(0, bytes) }
  const tree = forkTree(writer, inode, which)
  if (nextents <= listRoom(bytes)) return { kind: 'extents', records: await tree.dissolve(nextents) }
  if (bytes < literal.length) await tree.fitRoot(bytes)
  return { kind: 'root', bytes: literal.bytes.slice() }
}

async function put(writer: XfsWriter, inode: Dinode, which: WhichFork, content: Content): Promise<void> {
  const fork = forkOf(inode, which)
  const { bytes } = fork.literal
  if (content.kind === 'bytes') {
    bytes.set(content.bytes.subarray(0, bytes.length))
    return
  }
  if (content.kind === 'root') {
    moveForkRoot(content.bytes, bytes)
    if (bytes.length > content.bytes.length) await forkTree(writer, inode, which).fitRoot(bytes.length)
    return
  }
  const { records } = content
  if (records.length <= listRoom(bytes.length)) {
    setForkFormat(inode, which, FORMAT.EXTENTS)
    storeExtentList(fork, records)
    return
  }
  const { geometry } = writer.volume
  await forkTree(writer, inode, which).build(
    records,
    records[0]?.br_startblock ?? nearInode(geometry, inode.ino),
  )
  setForkFormat(inode, which, FORMAT.BTREE)
}
