import { MemoryDevice } from '../../src/device/memory-device.ts'
import { isDrydiskError } from '../../src/errors.ts'
import { openFat } from '../../src/filesystem/fat/open.ts'
import type { InodeNumber } from '../../src/filesystem/filesystem.ts'

const b = (text: string) => new TextEncoder().encode(text)

/** Everything that can be read is, and every file gets a byte more; what is thrown has to be an error of ours. */
export async function tryEverything(bytes: Uint8Array): Promise<string[]> {
  const codes: string[] = []
  const attempt = async <T>(work: () => Promise<T>): Promise<T | undefined> => {
    try {
      return await work()
    } catch (error) {
      if (!isDrydiskError(error)) throw error
      codes.push(error.code)
      return undefined
    }
  }
  const fs = await attempt(() => openFat(new MemoryDevice(bytes), { writable: true }))
  if (fs === undefined) return codes
  let steps = 0
  const visit = async (ino: InodeNumber): Promise<void> => {
    const entries: { ino: InodeNumber; type: string }[] = []
    await attempt(async () => {
      for await (const entry of fs.readdir(ino)) entries.push(entry)
    })
    for (const entry of entries) {
      if (++steps > 2000) throw new Error('the tree does not end')
      const stat = await attempt(() => fs.stat(entry.ino))
      if (entry.type === 'directory') await visit(entry.ino)
      else if (stat) {
        await attempt(() => fs.read(entry.ino, 0, new Uint8Array(Math.min(stat.size, 1 << 20))))
        await attempt(async () => {
          for await (const _ of fs.fileExtents(entry.ino));
        })
        await attempt(() => fs.write(entry.ino, Math.min(stat.size, 1 << 20), b('x')))
      }
    }
  }
  await visit(fs.root)
  await attempt(() => fs.statfs())
  await attempt(async () => {
    for await (const _ of fs.freeRanges());
  })
  await attempt(() => fs.close())
  return codes
}
