import { constants } from 'node:fs'
import { type FileHandle, open, stat } from 'node:fs/promises'
import type { FileStorage } from '../device/file-storage.ts'
import { readPadded } from '../image/qcow2/padded-read.ts'
import { readsAsZero } from './zero-blocks.ts'

/** What direct input wants of offsets, lengths and memory; no device is known to want more. */
const ALIGNMENT = 4096
/** What is read at once, at first and within a hole: twice as much each time as it goes on. */
const FIRST_STEP = 128 << 10
const LAST_STEP = 1 << 20
/** Zeros at the end of a read that make a hole likely. */
const TAIL = 64 << 10
/** After so many bytes read directly it has to have been */
const TRIAL = 16 << 20
/** no slower than that, compared with reading through the cache: it is on a slow disk, or a network's. */
const MOST_TIMES = 2

/** Bytes, and milliseconds that they took. */
interface Pace {
  bytes: number
  spent: number
}

/**
 * Reads a sparse file of the host. Node.js cannot ask where its holes are (it has no lseek), and reading one through the page
 * cache fills the cache with zeros: 0.6 GB/s the first time and 5 GB/s again. Direct input clears the buffer, at 15 GB/s. So
 * what follows zeros is read directly until there is data, and data is read through the cache, where it may be already.
 */
export class HoleReader {
  readonly #storage: FileStorage
  readonly #file: FileHandle
  readonly #direct: Pace = { bytes: 0, spent: 0 }
  readonly #cached: Pace = { bytes: 0, spent: 0 }

  private constructor(storage: FileStorage, file: FileHandle) {
    this.#storage = storage
    this.#file = file
  }

  /** `undefined` where that is not possible, or the file has no holes. */
  static async open(storage: FileStorage): Promise<HoleReader | undefined> {
    if (constants.O_DIRECT === undefined || process.platform !== 'linux') return undefined
    try {
      // The file that is open, whatever its name means by now.
      const path = `/proc/self/fd/${storage.fd}`
      const { size, blocks } = await stat(path)
      if (blocks * 512 >= size) return undefined
      return new HoleReader(storage, await open(path, constants.O_RDONLY | constants.O_DIRECT))
    } catch {
      return undefined
    }
  }

  /** Fills all of `into`; past the end of the file with zeros. @returns true where it was seen to be nothing but zeros. */
  async read(offset: number, into: Uint8Array): Promise<boolean> {
    let zero = true
    let inHole = false
    let step = FIRST_STEP
    for (let at = 0; at < into.length; ) {
      const part = into.subarray(at, at + step)
      const start = performance.now()
      const direct =
        inHole && this.#mayPay(offset + at, part) && (await this.#readDirectly(offset + at, part))
      if (!direct) await readPadded(this.#storage, offset + at, part)
      const pace = direct ? this.#direct : this.#cached
      pace.spent += performance.now() - start
      pace.bytes += part.length
      const empty = readsAsZero(part)
      zero &&= empty
      // Where a hole begins within the read, its end tells.
      inHole = empty || readsAsZero(part.subarray(-TAIL))
      step = Math.min(LAST_STEP, empty ? 2 * step : inHole ? FIRST_STEP : LAST_STEP)
      at += part.length
    }
    return zero
  }

  #mayPay(offset: number, { length, byteOffset }: Uint8Array): boolean {
    if (offset % ALIGNMENT !== 0 || length % ALIGNMENT !== 0 || byteOffset % ALIGNMENT !== 0) return false
    if (this.#direct.bytes < TRIAL) return true
    return this.#direct.spent * this.#cached.bytes < MOST_TIMES * this.#cached.spent * this.#direct.bytes
  }

  /** @returns false: not all of it, and what is wrong shows when it is read through the cache. */
  async #readDirectly(offset: number, into: Uint8Array): Promise<boolean> {
    try {
      const { bytesRead } = await this.#file.read(into, 0, into.length, offset)
      return bytesRead === into.length
    } catch {
      return false
    }
  }

  async close(): Promise<void> {
    await this.#file.close()
  }
}

/** As far as it is needed here: Node.js's types leave it to the browser's. */
interface WebAssemblyHost {
  readonly WebAssembly?: { readonly Memory: new (size: { initial: number }) => { buffer: ArrayBuffer } }
}

/** Memory that begins on a page, which no ArrayBuffer promises. */
export function pageAligned(length: number): Uint8Array {
  const { WebAssembly } = globalThis as WebAssemblyHost
  try {
    if (WebAssembly !== undefined)
      return new Uint8Array(new WebAssembly.Memory({ initial: Math.ceil(length / 65_536) }).buffer, 0, length)
  } catch {
    // Such a memory reserves gigabytes of addresses, which a limit may forbid.
  }
  return new Uint8Array(length)
}
