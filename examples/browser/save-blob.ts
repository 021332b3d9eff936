/** What browsers with the File System Access API have, and TypeScript's DOM does not tell of. */
interface WithSavePicker {
  showSaveFilePicker?(options: { readonly suggestedName: string }): Promise<FileSystemFileHandle>
}

/** Where an image goes: a file that the person chose, or the folder for downloads. */
export type Target = FileSystemFileHandle | 'download'

/** Asks at once, because a browser shows its dialog only right after a click. `undefined` when the person thought better of it. */
export async function chooseTarget(suggestedName: string): Promise<Target | undefined> {
  const { showSaveFilePicker } = window as WithSavePicker
  if (showSaveFilePicker === undefined) return 'download'
  try {
    return await showSaveFilePicker.call(window, { suggestedName })
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') return undefined
    throw error
  }
}

/**
 * Writes a blob to a file, piece by piece. The file has its new content when all of it is written, and not before, so the image that the
 * blob refers to may be replaced by it.
 */
export async function writeBlob(
  blob: Blob,
  to: FileSystemFileHandle,
  signal: AbortSignal,
  onProgress: (done: number) => void,
): Promise<void> {
  const writable = await to.createWritable()
  let done = 0
  const counted = new TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>>({
    transform(chunk, controller) {
      done += chunk.length
      onProgress(done / blob.size)
      controller.enqueue(chunk)
    },
  })
  await blob.stream().pipeThrough(counted).pipeTo(writable, { signal })
}

/** Hands a blob to the browser's downloads. */
export function download(blob: Blob, name: string): void {
  const url = URL.createObjectURL(blob)
  const link = document.createElement('a')
  link.href = url
  link.download = name
  link.click()
  // The download holds the blob by then.
  setTimeout(() => URL.revokeObjectURL(url), 60_000)
}
