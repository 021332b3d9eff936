import type { BlockDevice } from '../../../device/block-device.ts'
import type { VolumeBlock } from '../geometry.ts'

/** A run that was just allocated is filled up to this size in one write, and in three (edges, middle) above it. */
const PADDED_BYTES = 128 << 10

/** What goes to the device when all of a transaction's metadata is decided, in order. */
export class DataWrites {
  readonly #device: BlockDevice
  readonly #blockSize: number
  readonly #steps: (() => Promise<void>)[] = []

  constructor(device: BlockDevice, blockSize: number) {
    this.#device = device
    this.#blockSize = blockSize
  }

  /** @param at byte of the volume. */
  bytes(at: number, bytes: Uint8Array): void {
    if (bytes.length > 0) this.#steps.push(() => this.#device.write(at, bytes))
  }

  /** Fills a run: what lies before `piece`, the piece, and what lies behind it, which together are all of the run. */
  run(block: VolumeBlock, head: Uint8Array, piece: Uint8Array, tail: Uint8Array): void {
    const at = block * this.#blockSize
    const length = head.length + piece.length + tail.length
    if (piece.length === length || length > PADDED_BYTES) {
      this.bytes(at, head)
      this.bytes(at + head.length, piece)
      this.bytes(at + head.length + piece.length, tail)
      return
    }
    const all = new Uint8Array(length)
    all.set(head)
    all.set(piece, head.length)
    all.set(tail, head.length + piece.length)
    this.bytes(at, all)
  }

  async write(): Promise<void> {
    for (const step of this.#steps) await step()
  }
}
