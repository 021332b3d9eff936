import type { BlockDevice } from '../device/block-device.ts'
import type { Storage } from '../device/storage.ts'
import { partOf, type SourcePiece } from './source-pieces.ts'
import type { Segment, Task, TaskRun } from './task.ts'

export interface PlannerOptions {
  /** Bytes that the target maps at once: its cluster size, or 1. */
  readonly unit: number
  /** Bytes of the target. */
  readonly size: number
  /** Bytes of one task's buffer; a multiple of `unit`. */
  readonly taskBytes: number
  /** What becomes of zeros that may not be left out: an entry that says so, or bytes. */
  readonly zeros: 'entries' | 'bytes'
  /** Clusters that are compressed like this already go to the target as they are. */
  readonly keep: 'zlib' | 'zstd' | undefined
}

/** Where raw runs are cut, so that no block that is looked at for zeros is. */
const ALIGNMENT = 64 << 10
/** Runs and segments of one task. */
const MAX_PARTS = 8192

/** Cuts a target into tasks. Pieces come in order and gapless. */
export class Planner {
  /** What the segments of the tasks number. */
  readonly storages: Storage[] = []
  readonly devices: BlockDevice[] = []
  readonly #options: PlannerOptions
  readonly #tasks: Task[] = []
  readonly #numbers = new Map<object, number>()
  /** Pieces of a cluster that is not complete. */
  #pending: SourcePiece[] = []
  #runs: TaskRun[] = []
  #segments: Segment[] = []
  #length = 0
  #stored = 0
  #end = 0

  constructor(options: PlannerOptions) {
    this.#options = options
  }

  /** How far the target is planned. */
  get end(): number {
    return this.#end
  }

  /** Complete tasks. */
  take(): Task[] {
    return this.#tasks.splice(0)
  }

  add(piece: SourcePiece): void {
    const { unit, size } = this.#options
    const end = piece.offset + piece.length
    let at = piece.offset
    if (at % unit !== 0) {
      const stop = Math.min(end, Math.ceil(at / unit) * unit)
      this.#pending.push(partOf(piece, at, stop))
      at = stop
      if (at % unit === 0) this.#closeCluster()
    }
    const whole = Math.floor((end - at) / unit) * unit
    if (whole > 0) this.#addWhole(partOf(piece, at, at + whole))
    at += whole
    if (at < end) this.#pending.push(partOf(piece, at, end))
    if (end === size) this.#closeCluster()
    this.#end = end
  }

  /** Ends the last task. */
  finish(): void {
    this.#closeCluster()
    this.#closeTask()
  }

  #closeCluster(): void {
    const pieces = this.#pending
    const [first] = pieces
    if (first === undefined) return
    this.#pending = []
    if (pieces.every(piece => piece.leave)) return
    const { unit } = this.#options
    const offset = Math.floor(first.offset / unit) * unit
    if (pieces.length === 1 && first.kind === 'compressed' && this.#keeps(first)) {
      this.#addStored(first, offset)
      return
    }
    if (pieces.every(piece => piece.kind === 'zero')) {
      this.#addZeros(offset, unit)
      return
    }
    this.#makeRoom(unit, pieces.length)
    for (const piece of pieces) this.#addSegment(piece, this.#length + piece.offset - offset)
    this.#addBufferRun(offset, unit)
  }

  /** Whole clusters of one kind. */
  #addWhole(piece: SourcePiece): void {
    if (piece.leave) return
    const { taskBytes, unit } = this.#options
    if (piece.kind === 'zero') {
      this.#addZeros(piece.offset, piece.length)
      return
    }
    if (piece.kind === 'compressed' && this.#keeps(piece)) {
      this.#addStored(piece, piece.offset)
      return
    }
    const end = piece.offset + piece.length
    for (let at = piece.offset; at < end; ) {
      // A compressed cluster in two tasks would be decompressed twice.
      this.#makeRoom(piece.kind === 'compressed' ? Math.min(end - at, taskBytes) : unit, 1)
      let stop = Math.min(end, at + this.#room)
      if (unit === 1 && stop < end)
        stop = Math.max(Math.floor(stop / ALIGNMENT) * ALIGNMENT, Math.min(stop, at + ALIGNMENT))
      this.#addSegment(partOf(piece, at, stop), this.#length)
      this.#addBufferRun(at, stop - at)
      at = stop
      if (this.#room < (unit === 1 ? ALIGNMENT : unit)) this.#closeTask()
    }
  }

  /** Bytes that the task may still take; whole clusters of a buffer. */
  get #room(): number {
    const { taskBytes, unit } = this.#options
    const room = taskBytes - this.#length - this.#stored
    return room - (room % unit)
  }

  #keeps(piece: Extract<SourcePiece, { kind: 'compressed' }>): boolean {
    const { keep, unit, size } = this.#options
    return (
      piece.compression === keep &&
      piece.clusterSize === unit &&
      piece.within === 0 &&
      piece.exact < unit &&
      piece.offset % unit === 0 &&
      (piece.length === unit || piece.offset + piece.length === size)
    )
  }

  #addStored(piece: Extract<SourcePiece, { kind: 'compressed' }>, offset: number): void {
    const { unit } = this.#options
    this.#makeRoom(piece.exact, 1)
    const cluster = {
      file: this.#number(piece.storage, this.storages),
      host: piece.host,
      length: piece.exact,
    }
    const last = this.#runs.at(-1)
    if (last?.kind === 'stored' && last.offset + last.length === offset) {
      last.clusters.push(cluster)
      this.#runs[this.#runs.length - 1] = { ...last, length: last.length + unit }
    } else this.#runs.push({ kind: 'stored', offset, length: unit, clusters: [cluster] })
    this.#stored += piece.exact
  }

  #addZeros(offset: number, length: number): void {
    const { zeros, unit } = this.#options
    if (zeros === 'entries') {
      if (this.#runs.length >= MAX_PARTS) this.#closeTask()
      this.#runs.push({ kind: 'zero', offset, length })
      return
    }
    for (let at = offset; at < offset + length; ) {
      this.#makeRoom(unit, 0)
      const stop = Math.min(offset + length, at + this.#room)
      this.#addBufferRun(at, stop - at)
      at = stop
    }
  }

  #addBufferRun(offset: number, length: number): void {
    const last = this.#runs.at(-1)
    if (last?.kind === 'buffer' && last.offset + last.length === offset)
      this.#runs[this.#runs.length - 1] = { ...last, length: last.length + length }
    else this.#runs.push({ kind: 'buffer', offset, length })
    this.#length += length
  }

  #addSegment(piece: SourcePiece, at: number): void {
    const { length } = piece
    if (piece.kind === 'zero') return
    if (piece.kind === 'device') {
      const { kind, host, device } = piece
      this.#segments.push({ kind, at, length, host, file: this.#number(device, this.devices) })
      return
    }
    const file = this.#number(piece.storage, this.storages)
    if (piece.kind === 'data') {
      const { kind, host } = piece
      const last = this.#segments.at(-1)
      // Across a hole of the disk, one read does where the file goes on.
      if (
        last?.kind === 'data' &&
        last.file === file &&
        last.host + last.length === host &&
        last.at + last.length === at
      ) {
        this.#segments[this.#segments.length - 1] = { ...last, length: last.length + length }
        return
      }
      this.#segments.push({ kind, at, length, host, file })
      return
    }
    const { kind, host, stored, within, clusterSize, compression } = piece
    this.#segments.push({ kind, at, length, host, file, stored, within, clusterSize, compression })
  }

  #number<Item extends object>(item: Item, list: Item[]): number {
    let number = this.#numbers.get(item)
    if (number === undefined) {
      number = list.push(item) - 1
      this.#numbers.set(item, number)
    }
    return number
  }

  /** Ends the task when it has no room for so much more. */
  #makeRoom(length: number, parts: number): void {
    if (
      this.#length + this.#stored + length > this.#options.taskBytes ||
      this.#segments.length + this.#runs.length + parts > MAX_PARTS
    )
      this.#closeTask()
  }

  #closeTask(): void {
    if (this.#runs.length === 0) return
    const { offset, length } = this.#runs.at(-1) ?? { offset: 0, length: 0 }
    this.#tasks.push({
      runs: this.#runs,
      segments: this.#segments,
      length: this.#length,
      stored: this.#stored,
      end: Math.min(offset + length, this.#options.size),
    })
    this.#runs = []
    this.#segments = []
    this.#length = 0
    this.#stored = 0
  }
}
