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
