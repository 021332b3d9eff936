import { beforeAll, describe, expect, test } from 'vitest'
import {
  ext4Failures,
  type Failure,
  qcow2Failures,
  soundExt4,
  soundQcow2,
} from '../native-fixtures/failures.ts'
import { MemoryDevice } from '../src/device/memory-device.ts'
import { MemoryStorage } from '../src/device/memory-storage.ts'
import { isDrydiskError } from '../src/errors.ts'
import { openExt4 } from '../src/filesystem/ext4/open.ts'
import { haveTool } from './support/native.ts'
import { openAlone } from './support/qcow2.ts'

interface Format {
  readonly tools: readonly string[]
  readonly failures: Readonly<Record<string, Failure>>
  sound(): Promise<Uint8Array>
  /** A medium that holds the bytes, and how to open what is on it. */
  medium(bytes: Uint8Array): {
    readonly size: number
    read(offset: number, into: Uint8Array): Promise<void>
    open(writable: boolean): Promise<{ close(): Promise<void> }>
  }
}

const formats: Readonly<Record<string, Format>> = {
  qcow2: {
    tools: ['qemu-img', 'qemu-io'],
    failures: qcow2Failures,
    sound: soundQcow2,
    medium: bytes => {
      const storage = new MemoryStorage(bytes)
      return {
        size: bytes.length,
        read: (offset, into) => storage.read(offset, into),
        open: writable => openAlone(storage, writable),
      }
    },
  },
  ext4: {
    tools: ['mke2fs'],
    failures: ext4Failures,
    sound: soundExt4,
    medium: bytes => {
      const device = new MemoryDevice(bytes)
      return {
        size: bytes.length,
        read: (offset, into) => device.read(offset, into),
        open: writable => openExt4(device, { writable }),
      }
    },
  },
}

for (const [format, { tools, failures, sound, medium }] of Object.entries(formats))
  describe.skipIf(!tools.every(haveTool))(`${format} images that must be refused`, () => {
    let original = new Uint8Array()
    beforeAll(async () => {
      original = new Uint8Array(await sound())
    })

    test('the image without the damage opens', async () => {
      await (await medium(original.slice()).open(true)).close()
    })

    for (const [name, { code, says, writable, damage }] of Object.entries(failures))
      test(name, async () => {
        const damaged = original.slice()
        damage(new DataView(damaged.buffer))
        const image = medium(damaged.slice())
        const error = await image.open(true).then(
          () => undefined,
          (reason: unknown) => reason,
        )
        expect(isDrydiskError(error, code) ? error.message : error).toMatch(says)
        const after = new Uint8Array(image.size)
        await image.read(0, after)
        expect(Buffer.compare(damaged, after), 'nothing is written before it is refused').toBe(0)
        if (writable) await (await medium(damaged).open(false)).close()
      })
  })
