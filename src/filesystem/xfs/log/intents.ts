import { littleEndian } from '../../../bytes/byte-view.ts'
import { corruptLog } from './errors.ts'
import { LI } from './item-types.ts'
import type { LogItem } from './transactions.ts'

export type IntentName = 'EFI' | 'RUI' | 'CUI' | 'BUI' | 'ATTRI' | 'XMI'

interface IntentKind {
  readonly name: IntentName
  readonly intent: number
  readonly done: number
  /** What a file holds depends on it. Others only keep account of space. */
  readonly content: boolean
  /** What is left where it is not carried out. */
  readonly left: string
}

/** A step that a transaction promised, and a later one does (Linux, xfs_defer.c). */
const KINDS: readonly IntentKind[] = [
  { name: 'EFI', intent: LI.EFI, done: LI.EFD, content: false, left: 'extents to be freed' },
  {
    name: 'RUI',
    intent: LI.RUI,
    done: LI.RUD,
    content: false,
    left: 'reverse-mapping records to be changed',
  },
  { name: 'CUI', intent: LI.CUI, done: LI.CUD, content: false, left: 'reference counts to be changed' },
  { name: 'BUI', intent: LI.BUI, done: LI.BUD, content: true, left: 'file mappings to be changed' },
  {
    name: 'ATTRI',
    intent: LI.ATTRI,
    done: LI.ATTRD,
    content: true,
    left: 'extended attributes to be changed',
  },
  { name: 'XMI', intent: LI.XMI, done: LI.XMD, content: true, left: 'file mappings to be exchanged' },
]

export const INTENT_TYPES: ReadonlySet<number> = new Set(KINDS.flatMap(kind => [kind.intent, kind.done]))

/** An intent without its done item. */
export interface OpenIntent {
  readonly name: IntentName
  readonly id: bigint
  readonly tid: number
  readonly content: boolean
  readonly left: string
  /** Its format structure, and what goes with that. */
  readonly regions: readonly Uint8Array[]
}

/** Follows which intents are carried out. */
export class IntentList {
  readonly #open = new Map<string, OpenIntent>()

  add(item: LogItem, tid: number): void {
    const [format] = item.regions
    if (format === undefined || format.length < 16)
      throw corruptLog(`an intent of transaction 0x${tid.toString(16)} is cut off`, { transaction: tid })
    // Every intent and done format has its type, its size, 4 bytes and then the identifier of the intent.
    const id = littleEndian(format, 'XFS log intent').big(8)
    for (const { name, intent, done, content, left } of KINDS) {
      if (item.type === intent)
        this.#open.set(`${name} ${id}`, { name, id, tid, content, left, regions: item.regions })
      if (item.type === done) this.#open.delete(`${name} ${id}`)
    }
  }

  get open(): readonly OpenIntent[] {
    return [...this.#open.values()]
  }
}
