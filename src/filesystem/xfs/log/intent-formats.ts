import { type ByteView, littleEndian } from '../../../bytes/byte-view.ts'
import { ATTR } from '../attr-entry.ts'
import type { Geometry } from '../geometry.ts'
import type { Extent, Owner } from '../writer.ts'
import { corruptLog, unsupportedLog } from './errors.ts'
import type { OpenIntent } from './intents.ts'

/** A mapping that is to be added to a file, or taken from it, without a change of what the blocks are used for (xfs_map_extent). */
export interface MappingUpdate {
  readonly action: 'map' | 'unmap'
  readonly ino: number
  readonly attribute: boolean
  readonly logical: number
  readonly extent: Extent
  readonly unwritten: boolean
}

/** struct xfs_xmi_log_format. */
export interface MappingExchange {
  /** Inode, its generation, the first block, and the size that it gets. */
  readonly files: readonly [ExchangedFile, ExchangedFile]
  readonly count: number
  readonly flags: number
}

export interface ExchangedFile {
  readonly ino: number
  readonly generation: number
  readonly logical: number
  readonly size: number
}

/** XFS_EXCHMAPS_* */
export const EXCHANGE = {
  ATTR_FORK: 1,
  SET_SIZES: 2,
  INO1_WRITTEN: 4,
  CLEAR_INO1_REFLINK: 8,
  CLEAR_INO2_REFLINK: 16,
} as const
const EXCHANGE_FLAGS = 31

/** An attribute that is to be set (with its value) or removed. */
export interface AttributeUpdate {
  readonly ino: number
  readonly flags: number
  readonly name: Uint8Array
  readonly value: Uint8Array | undefined
}

export type ReverseMapAction = 'map' | 'unmap' | 'convert'
export type ReferenceAction = 'increase' | 'decrease' | 'stage' | 'unstage'

/** One step that is to be done. */
export type IntentStep =
  | { readonly kind: 'free'; readonly extent: Extent }
  | {
      readonly kind: 'reverse map'
      readonly action: ReverseMapAction
      readonly extent: Extent
      readonly owner: Owner
    }
  | { readonly kind: 'references'; readonly action: ReferenceAction; readonly extent: Extent }
  | { readonly kind: 'mapping'; readonly update: MappingUpdate }
  | { readonly kind: 'attribute'; readonly update: AttributeUpdate }
  | { readonly kind: 'exchange'; readonly exchange: MappingExchange }

const HEADER = 16
/** XFS_RMAP_EXTENT_*, XFS_REFCOUNT_* and XFS_BMAP_*: the lowest byte says what is to be done. */
const ACTION = 0xff
const FLAG_31 = 2 ** 31
const FLAG_30 = 2 ** 30
const FLAG_29 = 2 ** 29
const REVERSE_MAP_ACTIONS: readonly (ReverseMapAction | undefined)[] = [
  undefined,
  'map',
  // Where several files share blocks, the tree is searched in another way, and changed in the same.
  'map',
  'unmap',
  'unmap',
  'convert',
  'convert',
  'map',
  'unmap',
]
const REFERENCE_ACTIONS: readonly (ReferenceAction | undefined)[] = [
  undefined,
  'increase',
  'decrease',
  'stage',
  'unstage',
]
/** XFS_ATTRI_OP_FLAGS_*; from 4 on of parent pointers. */
const ATTRIBUTE_SET = 1
const ATTRIBUTE_REMOVE = 2
const ATTRIBUTE_REPLACE = 3
const ATTRIBUTE_LAST = 6
/** XATTR_NAME_MAX and XFS_XATTR_SIZE_MAX. */
const MOST_NAME = 255
const MOST_VALUE = 65_536

/** What an intent wants done (xfs_log_format.h), checked as far as it can be without looking at the filesystem's trees. */
export function parseIntent(intent: OpenIntent, geometry: Geometry): IntentStep[] {
  const [format] = intent.regions
  const view = littleEndian(format ?? new Uint8Array(), `XFS ${intent.name}`)
  switch (intent.name) {
    case 'EFI':
      return extentsToFree(intent, view, geometry)
    case 'RUI':
      return records(intent, view, 32).map(at => reverseMapUpdate(intent, view, at, geometry))
    case 'CUI':
      return records(intent, view, 16).map(at => referenceUpdate(intent, view, at, geometry))
    case 'BUI':
      return [mappingUpdate(intent, view, geometry)]
    case 'ATTRI':
      return attributeUpdate(intent, view, geometry)
    case 'XMI':
      return [mappingExchange(intent, view, geometry)]
  }
}

/** Where an intent's records are. */
function records(intent: OpenIntent, view: ByteView, size: number): number[] {
  const count = view.u32(4)
  if (count === 0 || view.length !== HEADER + count * size)
    throw corruptLog(`${intent.name} has ${count} extents in ${view.length} bytes`)
  return Array.from({ length: count }, (_, index) => HEADER + index * size)
}

/** A 32-bit Linux wrote extents without padding (xfs_efi_log_format_32). */
function extentsToFree(intent: OpenIntent, view: ByteView, geometry: Geometry): IntentStep[] {
  const size = view.length === HEADER + view.u32(4) * 12 ? 12 : 16
  return records(intent, view, size).map(at => ({
    kind: 'free',
    extent: extentOf(intent, view.u64(at), view.u32(at + 8), geometry),
  }))
}

function extentOf({ name }: OpenIntent, start: number, count: number, geometry: Geometry): Extent {
  // The headers of each group are nobody's to give away.
  if (!geometry.isRun(start, count) || geometry.agBlockOf(start) === 0)
    throw corruptLog(`${name} is about ${count} blocks from ${start}, which do not exist`)
  return { start, count }
}

function reverseMapUpdate(intent: OpenIntent, view: ByteView, at: number, geometry: Geometry): IntentStep {
  const flags = view.u32(at + 28)
  const action = REVERSE_MAP_ACTIONS[flags & ACTION]
  const known = ACTION + FLAG_31 + FLAG_30 + FLAG_29
  if (action === undefined || (flags & ~known) !== 0)
    throw unsupportedLog(`RUI has the flags 0x${flags.toString(16)}`)
  const unwritten = (flags & FLAG_29) !== 0
  const owner = {
    owner: view.big(at),
    offset: view.u64(at + 16),
    attribute: (flags & FLAG_31) !== 0,
    bmbt: (flags & FLAG_30) !== 0,
    // It says how the blocks are to be.
    unwritten: action === 'convert' ? !unwritten : unwritten,
  }
  const extent = extentOf(intent, view.u64(at + 8), view.u32(at + 24), geometry)
  return { kind: 'reverse map', action, extent, owner }
}

function referenceUpdate(intent: OpenIntent, view: ByteView, at: number, geometry: Geometry): IntentStep {
  const flags = view.u32(at + 12)
  const action = REFERENCE_ACTIONS[flags & ACTION]
  if (action === undefined || flags > ACTION)
    throw unsupportedLog(`CUI has the flags 0x${flags.toString(16)}`)
  return { kind: 'references', action, extent: extentOf(intent, view.u64(at), view.u32(at + 8), geometry) }
}

function inodeNumber({ name }: OpenIntent, ino: number, geometry: Geometry): number {
  if (geometry.inodePlace(ino) === undefined)
    throw corruptLog(`${name} is about inode ${ino}, which does not exist`, { inode: ino })
  return ino
}

/** Blocks of a file, which has 2^54 at most, of which drydisk counts 2^53. */
function fileBlocks({ name }: OpenIntent, logical: number, count: number): number {
  if (count === 0 || !Number.isSafeInteger(logical + count))
    throw corruptLog(`${name} is about ${count} blocks of a file from ${logical}, which no file has`)
  return logical
}

function mappingUpdate(intent: OpenIntent, view: ByteView, geometry: Geometry): IntentStep {
  const [at = 0, ...more] = records(intent, view, 32)
  const flags = view.u32(at + 28)
  const action = flags & ACTION
  const known = ACTION + FLAG_31 + FLAG_30
  if (more.length > 0 || (action !== 1 && action !== 2) || (flags & ~known) !== 0)
    throw unsupportedLog(`BUI has ${more.length + 1} extents and the flags 0x${flags.toString(16)}`)
  return {
    kind: 'mapping',
    update: {
      action: action === 1 ? 'map' : 'unmap',
      ino: inodeNumber(intent, view.u64(at), geometry),
      attribute: (flags & FLAG_31) !== 0,
      logical: fileBlocks(intent, view.u64(at + 16), view.u32(at + 24)),
      extent: extentOf(intent, view.u64(at + 8), view.u32(at + 24), geometry),
      unwritten: (flags & FLAG_30) !== 0,
    },
  }
}

/** Parent pointers are attributes that nobody sees, in filesystems that are not written. */
function attributeUpdate(intent: OpenIntent, view: ByteView, geometry: Geometry): IntentStep[] {
  const [, name = new Uint8Array(), value = new Uint8Array()] = intent.regions
  const operation = view.u32(24) & ACTION
  const filter = view.u32(36)
  const ino = inodeNumber(intent, view.u64(16), geometry)
  if (operation > ATTRIBUTE_REPLACE && operation <= ATTRIBUTE_LAST) return []
  if (operation < ATTRIBUTE_SET || operation > ATTRIBUTE_LAST || view.u32(24) > ACTION)
    throw unsupportedLog(`ATTRI has the flags 0x${view.u32(24).toString(16)}`)
  const allowed = ATTR.ROOT | ATTR.SECURE | ATTR.INCOMPLETE
  const namespace = filter & (ATTR.ROOT | ATTR.SECURE)
  if ((filter & ~allowed) !== 0 || namespace === (ATTR.ROOT | ATTR.SECURE))
    throw unsupportedLog(`ATTRI is of the namespace 0x${filter.toString(16)}`)
  // Regions are padded to 4 bytes.
  const [nameLength, valueLength] = [view.u32(28), view.u32(32)]
  const hasName = nameLength > 0 && nameLength <= MOST_NAME && nameLength <= name.length
  const hasValue = valueLength <= MOST_VALUE && valueLength <= value.length
  if (!hasName || (operation !== ATTRIBUTE_REMOVE && !hasValue))
    throw corruptLog(`ATTRI has a name of ${nameLength} bytes in ${name.length}`)
  return [
    {
      kind: 'attribute',
      update: {
        ino,
        flags: namespace,
        name: name.slice(0, nameLength),
        value: operation === ATTRIBUTE_REMOVE ? undefined : value.slice(0, valueLength),
      },
    },
  ]
}

function mappingExchange(intent: OpenIntent, view: ByteView, geometry: Geometry): IntentStep {
  const flags = view.u64(64)
  if (view.length < 88 || flags > EXCHANGE_FLAGS)
    throw unsupportedLog(`XMI has the flags 0x${flags.toString(16)} in ${view.length} bytes`)
  const count = view.u64(56)
  const file = (ino: number, generation: number, logical: number, size: number): ExchangedFile => ({
    ino: inodeNumber(intent, view.u64(ino), geometry),
    generation: view.u32(generation),
    // None may be left to exchange, and sizes or flags still be.
    logical: fileBlocks(intent, view.u64(logical), count || 1),
    size: (flags & EXCHANGE.SET_SIZES) === 0 ? 0 : view.u64(size),
  })
  const files = [file(16, 32, 40, 72), file(24, 36, 48, 80)] as const
  if (files[0].ino === files[1].ino && Math.abs(files[0].logical - files[1].logical) < count)
    throw corruptLog(`XMI exchanges blocks of inode ${files[0].ino} with themselves`)
  return { kind: 'exchange', exchange: { files, count, flags } }
}
