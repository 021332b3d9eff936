import { DrydiskError, type ErrorCode } from '../errors.ts'
import { pastTheEnd } from './memory-storage.ts'
import { SparseBytes } from './sparse-bytes.ts'
import type { Storage, StorageFolder } from './storage.ts'
import { checkPlainName } from './storage-name.ts'

/** The unit that a disk writes whole or not at all. */
const SECTOR = 512

interface Content {
  bytes: SparseBytes
  size: number
}

interface FaultFile {
  /** What the running program sees. */
  live: Content
  /** What is certain to survive. */
  durable: Content
}

type Pending =
  | { readonly kind: 'write'; readonly file: FaultFile; readonly offset: number; readonly data: Uint8Array }
  | { readonly kind: 'truncate'; readonly file: FaultFile; readonly size: number }
  | { readonly kind: 'create'; readonly name: string; readonly file: FaultFile }
  | { readonly kind: 'remove'; readonly name: string }

export interface FaultOptions {
  /**
   * Operation (counted from 0 over writes, truncations, creations, removals and flushes) at which the power fails: it and
   * every later one throws `EIO`. Whether the operation itself got anywhere is `afterPowerLoss`'s to decide.
   */
  readonly stopAt?: number
  /** An operation that fails once, having done nothing, after which the medium works on. */
  readonly failAt?: { readonly operation: number; readonly code: ErrorCode }
}

export interface PowerLoss {
  /**
   * What becomes of the operations that no flush covers. `keep`: all are on the medium, as after the death of just the
   * process. `lose`: none is. `some`: a subset that `seed` picks, in effect reordering them.
   */
  readonly unflushed: 'keep' | 'lose' | 'some'
  readonly seed?: number
  /** With `some`: each 512-byte sector of a write is kept or lost by itself. */
  readonly torn?: boolean
}

/**
 * A folder of files on a medium that loses power, for crash tests. A file's flush makes its bytes durable but not its
 * name; the folder's flush makes names durable.
 */
export class FaultMedium implements StorageFolder {
  readonly #live = new Map<string, FaultFile>()
  readonly #durable = new Map<string, FaultFile>()
  #pending: Pending[] = []
  #operations = 0
  #options: FaultOptions = {}

  /** @param files durable content to begin with. */
  constructor(files: Readonly<Record<string, Uint8Array>> = {}, options: FaultOptions = {}) {
    for (const [name, bytes] of Object.entries(files)) {
      const content = { bytes: new SparseBytes(), size: bytes.length }
      content.bytes.write(0, bytes)
      this.#place(name, content)
    }
    this.#options = options
  }

  #place(name: string, content: Content): void {
    const file: FaultFile = { live: content, durable: cloneContent(content) }
    this.#live.set(name, file)
    this.#durable.set(name, file)
  }

  /** Operations so far. Run once without a fault to learn how many there are, then once for each. */
  get operations(): number {
    return this.#operations
  }

  /** Names that the running program sees. */
  get names(): string[] {
    return [...this.#live.keys()]
  }

  /** Arms (or with `{}` disarms) faults from now on; `operation` numbers still count from the very beginning. */
  arm(options: FaultOptions): void {
    this.#options = options
  }

  /** What the running program sees in a file; `undefined` when there is none. */
  content(name: string): Uint8Array | undefined {
    const file = this.#live.get(name)
    if (file === undefined) return undefined
    const bytes = new Uint8Array(file.live.size)
    file.live.bytes.read(0, bytes)
    return bytes
  }

  async open(name: string, mode: 'read' | 'write'): Promise<Storage | undefined> {
    checkPlainName(name)
    this.checkPower()
    const file = this.#live.get(name)
    return file === undefined ? undefined : new FaultStorage(this, name, file, mode === 'write')
  }

  async create(name: string): Promise<Storage> {
    checkPlainName(name)
    if (this.#live.has(name)) throw new DrydiskError('EEXIST', `${name} exists already`, { path: name })
    const file: FaultFile = {
      live: { bytes: new SparseBytes(), size: 0 },
      durable: { bytes: new SparseBytes(), size: 0 },
    }
    this.operate({ kind: 'create', name, file })
    return new FaultStorage(this, name, file, true)
  }

  async remove(name: string): Promise<void> {
    checkPlainName(name)
    if (this.#live.has(name)) this.operate({ kind: 'remove', name })
    else this.checkPower()
  }

  async flush(): Promise<void> {
    this.#step()
    this.#pending = this.#pending.filter(operation => {
      if (operation.kind === 'create') this.#durable.set(operation.name, operation.file)
      else if (operation.kind === 'remove') this.#durable.delete(operation.name)
      else return true
      return false
    })
  }

  /** Throws when the power has failed. */
  checkPower(): void {
    if (this.#options.stopAt !== undefined && this.#operations > this.#options.stopAt)
      throw new DrydiskError('EIO', 'the power has failed', { operation: this.#operations })
  }

  /** Counts an operation, and fails it where that was asked for. `issued` runs if the power fails just at it. */
  #step(issued?: () => void): void {
    this.checkPower()
    const operation = this.#operations++
    if (this.#options.failAt?.operation === operation)
      throw new DrydiskError(this.#options.failAt.code, 'a fault that the test asked for', { operation })
    if (this.#options.stopAt === operation) {
      issued?.()
      throw new DrydiskError('EIO', 'the power failed at this operation', { operation })
    }
  }

  /** For the medium's own files: does an operation, to be made durable by a later flush. */
  operate(operation: Pending): void {
    // At the operation that the power failure meets, the medium may have done it, or some sectors of it.
    this.#step(() => this.#pending.push(operation))
    this.#pending.push(operation)
    applyTo(operation, file => file.live, this.#live)
  }

  /** For the medium's own files: makes a file's bytes durable. */
  flushFile(file: FaultFile): void {
    this.#step()
    this.#pending = this.#pending.filter(operation => {
      if (!('file' in operation) || operation.file !== file || operation.kind === 'create') return true
      applyTo(operation, of => of.durable, this.#durable)
      return false
    })
  }

  /** What is found when the machine comes up again: a medium of its own, without faults. May be asked for repeatedly. */
  afterPowerLoss(loss: PowerLoss): FaultMedium {
    const copies = new Map<FaultFile, FaultFile>()
    const copyOf = (file: FaultFile): FaultFile => {
      let copy = copies.get(file)
      if (copy === undefined) {
        const content = cloneContent(file.durable)
        copy = { live: content, durable: content }
        copies.set(file, copy)
      }
      return copy
    }
    const names = new Map([...this.#durable].map(([name, file]) => [name, copyOf(file)] as const))
    const random = randomBits(loss.seed ?? 0)
    for (const operation of this.#pending) {
      const moved: Pending =
        'file' in operation ? { ...operation, file: copyOf(operation.file) } : { ...operation }
      if (loss.unflushed === 'lose') continue
      if (loss.unflushed === 'keep') applyTo(moved, file => file.live, names)
      else if (moved.kind !== 'write' || loss.torn !== true) {
        if (random()) applyTo(moved, file => file.live, names)
      } else
        for (const sector of sectorsOf(moved.offset, moved.data))
          if (random()) applyTo({ ...moved, ...sector }, file => file.live, names)
    }
    const after = new FaultMedium()
    for (const [name, file] of names) after.#place(name, file.live)
    return after
  }
}

class FaultStorage implements Storage {
  readonly name: string
  readonly writable: boolean
  readonly #medium: FaultMedium
  readonly #file: FaultFile

  constructor(medium: FaultMedium, name: string, file: FaultFile, writable: boolean) {
    this.#medium = medium
    this.name = name
    this.#file = file
    this.writable = writable
  }

  get size(): number {
    return this.#file.live.size
  }

  async read(offset: number, into: Uint8Array): Promise<void> {
    this.#medium.checkPower()
    if (!(offset >= 0 && offset + into.length <= this.size))
      throw pastTheEnd(this.name, offset, into.length, this.size)
    this.#file.live.bytes.read(offset, into)
  }

  async write(offset: number, from: Uint8Array): Promise<void> {
    this.#checkWritable()
    this.#medium.operate({ kind: 'write', file: this.#file, offset, data: from.slice() })
  }

  async truncate(size: number): Promise<void> {
    this.#checkWritable()
    this.#medium.operate({ kind: 'truncate', file: this.#file, size })
  }

  async flush(): Promise<void> {
    this.#medium.flushFile(this.#file)
  }

  async close(): Promise<void> {}

  #checkWritable(): void {
    if (!this.writable)
      throw new DrydiskError('EROFS', `${this.name} is open for reading only`, { path: this.name })
  }
}

function cloneContent(content: Content): Content {
  return { bytes: content.bytes.clone(), size: content.size }
}

function applyTo(
  operation: Pending,
  contentOf: (file: FaultFile) => Content,
  names: Map<string, FaultFile>,
): void {
  if (operation.kind === 'create') names.set(operation.name, operation.file)
  else if (operation.kind === 'remove') names.delete(operation.name)
  else {
    const content = contentOf(operation.file)
    if (operation.kind === 'write') {
      content.bytes.write(operation.offset, operation.data)
      content.size = Math.max(content.size, operation.offset + operation.data.length)
    } else {
      if (operation.size < content.size) content.bytes.erase(operation.size, content.size - operation.size)
      content.size = operation.size
    }
  }
}

function* sectorsOf(
  offset: number,
  data: Uint8Array,
): IterableIterator<{ readonly offset: number; readonly data: Uint8Array }> {
  for (let at = 0; at < data.length; ) {
    const length = Math.min(data.length - at, SECTOR - ((offset + at) % SECTOR))
    yield { offset: offset + at, data: data.subarray(at, at + length) }
    at += length
  }
}

/** A small generator of coin flips (mulberry32): the same seed gives the same loss again. */
function randomBits(seed: number): () => boolean {
  let state = seed | 0
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) & 1) === 1
  }
}
