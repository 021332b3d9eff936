import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'vitest'
import { FaultMedium, type PowerLoss } from '../../src/device/fault-medium.ts'
import type { Storage } from '../../src/device/storage.ts'
import { StorageDevice } from '../../src/device/storage-device.ts'
import { isDrydiskError } from '../../src/errors.ts'
import { openQcow2 } from '../../src/image/qcow2/open.ts'
import type { Qcow2Image } from '../../src/image/qcow2/qcow2-image.ts'
import { run, temporaryFolder } from './native.ts'
import { sha256Of } from './qcow2.ts'

export const LOSSES: readonly PowerLoss[] = [
  { unflushed: 'keep' },
  { unflushed: 'lose' },
  { unflushed: 'some', seed: 1 },
  { unflushed: 'some', seed: 2, torn: true },
  { unflushed: 'some', seed: 3, torn: true },
]

/** Each loss goes through our own check; every so many also through qemu's, which takes a process. */
const QEMU_EVERY = process.env.DRYDISK_RUNS === undefined ? 25 : 1

export async function fileOf(medium: FaultMedium, name: string, mode: 'read' | 'write'): Promise<Storage> {
  const storage = await medium.open(name, mode)
  if (storage === undefined) throw new Error(`${name} is gone`)
  return storage
}

/** Opens `t.qcow2` of the medium; its backing file, if any, is the raw file `base`. */
export async function openOn(medium: FaultMedium, writable: boolean): Promise<Qcow2Image> {
  const mode = writable ? 'write' : 'read'
  return openQcow2(await fileOf(medium, 't.qcow2', mode), {
    writable,
    openBacking: async () => new StorageDevice(await fileOf(medium, 'base', 'read')),
    openDataFile: () => fileOf(medium, 't.data', mode),
    redo: { folder: medium, imageName: 't.qcow2' },
  })
}

/** Everything that a user sees of an image: the disk, its size, its header's facts, its snapshots. */
export async function factsOf(image: Qcow2Image): Promise<string> {
  const snapshots = image.snapshots.map(({ id, name, diskSize }) => `${id} ${name} ${diskSize}`)
  const { backingFile, backingFormat } = image.header
  return JSON.stringify([
    image.size,
    await sha256Of(image),
    snapshots,
    image.info,
    backingFile,
    backingFormat,
  ])
}

async function qemuStatus(medium: FaultMedium, folder: string): Promise<{ status: number; text: string }> {
  for (const name of medium.names) writeFileSync(join(folder, name), medium.content(name) ?? new Uint8Array())
  // qemu looks for a data file in its own current folder.
  const image = medium.names.includes('t.data')
    ? [
        '--image-opts',
        `driver=qcow2,file.filename=${folder}/t.qcow2,data-file.driver=file,data-file.filename=${folder}/t.data`,
      ]
    : ['-f', 'qcow2', join(folder, 't.qcow2')]
  const { status, stdout, stderr } = await run('qemu-img', ['check', ...image])
  return { status, text: stdout + stderr }
}

/**
 * Makes a change of a qcow2 image with the power failing at each operation of it, in each way, and holds what is left against the
 * old and the new state: one of both, with leaks at most, by qemu's word too; none after the next open for writing.
 * Tools permitting; call inside `describe.skipIf(!haveTool('qemu-img'))`.
 * @param files durable content at first; the image is `t.qcow2`.
 * @param change fails with `EIO` where the medium does.
 * @param facts what is to be old or new; `factsOf` when left out.
 * @returns number of operations of the change.
 */
export async function everyPowerLoss(
  files: Record<string, Uint8Array>,
  change: (medium: FaultMedium) => Promise<void>,
  facts: (image: Qcow2Image) => Promise<string> = factsOf,
): Promise<number> {
  const folder = temporaryFolder()
  const see = async (medium: FaultMedium): Promise<string> => {
    const image = await openOn(medium, false)
    try {
      return await facts(image)
    } finally {
      await image.close()
    }
  }
  const old = await see(new FaultMedium(files))
  const whole = new FaultMedium(files)
  await change(whole)
  const next = await see(whole)
  const { operations } = whole
  expect(await qemuStatus(whole, folder)).toMatchObject({ status: 0 })
  let cases = 0
  for (let stopAt = 0; stopAt < operations; stopAt++) {
    const medium = new FaultMedium(files, { stopAt })
    await expect(change(medium)).rejects.toSatisfy(error => isDrydiskError(error, 'EIO'))
    for (const loss of LOSSES) {
      const after = medium.afterPowerLoss(loss)
      const where = `operation ${stopAt}, ${JSON.stringify(loss)}`
      if (cases++ % QEMU_EVERY === 0) {
        // 0: clean, 3: leaks and nothing else.
        const { status, text } = await qemuStatus(after, folder)
        expect([0, 3], `${where}: ${text}`).toContain(status)
      }
      const seen = await openOn(after, false)
      const found = await facts(seen)
      expect(await seen.check(), where).toMatchObject({ corruptions: 0 })
      await seen.close()
      expect([old, next], where).toContain(found)
      const reopened = await openOn(after, true)
      expect(await reopened.check(), where).toMatchObject({ corruptions: 0, leaks: 0 })
      expect(await facts(reopened), where).toBe(found)
      await reopened.close()
    }
  }
  return operations
}
