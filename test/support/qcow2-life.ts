import { createHash } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { FaultMedium } from '../../src/device/fault-medium.ts'
import type { Storage } from '../../src/device/storage.ts'
import { bitmapClusters, readBitmapDirectory } from '../../src/image/qcow2/bitmap-directory.ts'
import { readPadded } from '../../src/image/qcow2/padded-read.ts'
import { type Qcow2Image, readHeader } from '../../src/image/qcow2/qcow2-image.ts'
import { snapshotDevice } from '../../src/image/qcow2/snapshot-device.ts'
import { runOk, temporaryFolder } from './native.ts'
import { factsOf, openOn } from './power-loss.ts'
import { sha256Of } from './qcow2.ts'

/** A step of an image's life. */
export type Step =
  | { readonly kind: 'write'; readonly at: number; readonly length: number; readonly fill: number }
  | { readonly kind: 'erase'; readonly at: number; readonly length: number }
  | { readonly kind: 'snapshot' }
  | { readonly kind: 'bitmap' }

export interface Flavour {
  readonly options: string
  readonly compressed?: boolean
  /** Bytes of the disk. */
  readonly size: number
  readonly snapshots?: boolean
  readonly bitmaps?: boolean
}

/** Bytes that compress to about a third, each sector its own. */
function content(size: number): Uint8Array {
  const bytes = new Uint8Array(size)
  let state = 1
  for (let at = 0; at < size; at++) {
    if (at % 3 === 0) state = (Math.imul(state, 1_103_515_245) + 12_345 + (at >>> 9)) | 0
    bytes[at] = state >>> 24
  }
  return bytes
}

export async function build(flavour: Flavour, steps: readonly Step[]): Promise<Uint8Array> {
  const folder = temporaryFolder()
  const image = join(folder, 't.qcow2')
  writeFileSync(join(folder, 'raw'), content(flavour.size))
  await runOk('qemu-img', [
    ...['convert', '-f', 'raw', '-O', 'qcow2', '-o', flavour.options],
    ...(flavour.compressed ? ['-c'] : []),
    ...[join(folder, 'raw'), image],
  ])
  let bytes = new Uint8Array(readFileSync(image))
  let snapshots = 0
  let bitmaps = 0
  for (const step of steps) {
    if (step.kind === 'snapshot') {
      if (flavour.snapshots !== true) continue
      writeFileSync(image, bytes)
      await runOk('qemu-img', ['snapshot', '-c', `s${snapshots++}`, image])
      bytes = new Uint8Array(readFileSync(image))
      continue
    }
    if (step.kind === 'bitmap') {
      if (flavour.bitmaps !== true) continue
      writeFileSync(image, bytes)
      await runOk('qemu-img', ['bitmap', '--add', '-g', '512', image, `b${bitmaps++}`])
      await runOk('qemu-io', ['-c', `write -P ${bitmaps} 0 ${Math.floor(flavour.size / 1024) * 512}`, image])
      bytes = new Uint8Array(readFileSync(image))
      continue
    }
    const medium = new FaultMedium({ 't.qcow2': bytes })
    const disk = await openOn(medium, true)
    const at = Math.floor(step.at * flavour.size)
    const length = Math.min(flavour.size - at, Math.ceil(step.length * flavour.size))
    if (step.kind === 'erase') await disk.erase(at, length)
    else await disk.write(at, new Uint8Array(length).fill(step.fill))
    await disk.commit()
    await disk.close()
    bytes = medium.content('t.qcow2') as Uint8Array<ArrayBuffer>
  }
  return bytes
}

/** The bits of all persistent bitmaps. */
export async function bitmapsOf(storage: Storage): Promise<string[]> {
  const { header } = await readHeader(storage)
  const found: string[] = []
  for (const bitmap of (await readBitmapDirectory(storage, header))?.bitmaps ?? []) {
    const table = new Uint8Array(bitmap.bitmap_table_size * 8)
    await readPadded(storage, bitmap.bitmap_table_offset, table)
    const hash = createHash('sha256')
    for (const [index, offset] of [...bitmapClusters(table)].entries()) {
      const bits = new Uint8Array(header.geometry.clusterSize)
      if (offset !== 0) await readPadded(storage, offset, bits)
      hash.update(bits).update(Uint8Array.of(table[index * 8 + 7] ?? 0))
    }
    found.push(`${bitmap.name} ${hash.digest('hex')}`)
  }
  return found
}

/** All that an image holds: its disk, its snapshots' disks, its bitmaps. */
export async function allFacts(image: Qcow2Image): Promise<string> {
  const facts = [await factsOf(image), ...(await bitmapsOf(image.parts.storage))]
  for (const { id } of image.snapshots) facts.push(await sha256Of(await snapshotDevice(image, { id })))
  return facts.join('\n')
}
