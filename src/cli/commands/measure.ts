import type { Command } from 'commander'
import { type MeasureOptions, measureDevice, measureSize } from '../../copy/measure.ts'
import type { DiskImage } from '../../device/block-device.ts'
import { Qcow2Image } from '../../image/qcow2/qcow2-image.ts'
import { UsageError } from '../errors.ts'
import { collect, formatOf, type ImageSettings, imageSettings, parseOptionLists } from '../image-settings.ts'
import { print, printJson } from '../output.ts'
import { type OutputOptions, outputOption, wantsJson } from '../output-format.ts'
import { closeDisk, openDisk } from '../session.ts'
import { sizeOf } from '../sizes.ts'
import { parseSnapshot } from '../snapshot-choice.ts'

interface MeasureCommandOptions extends OutputOptions {
  readonly outputFormat?: string
  readonly option?: readonly string[]
  readonly size?: string
  readonly format?: string
  readonly snapshot?: string
  readonly backing?: string
  readonly forceShare?: boolean
}

export function configure(command: Command): void {
  command
    .argument('[image]', 'whose content the new image is to have; or --size')
    .option('-O, --output-format <format>', 'of the new image: raw (when left out) or qcow2')
    .option('-o, --option <list>', 'KEY=VALUE,… as with drydisk create', collect)
    .option('--size <size>', 'of the disk of an empty image')
    .option('-f, --format <format>', 'of the image: qcow2 or raw, instead of finding out')
    .option('-l, --snapshot <snapshot>', 'an internal snapshot of the image, by identifier or name')
    .addOption(outputOption())
    .option('--json', 'print JSON, errors too')
    .option('--backing <where>', 'where backing and data files may lie: beside, any or none', 'beside')
    .option('-U, --force-share', 'read an image that is in use')
    .addHelpText(
      'after',
      `
"required" is what the file takes with what the image holds now, "fully allocated" with every cluster in use; a filesystem's
holes make a raw file take less. Only the tables are read: a raw source counts as data throughout, for Node.js cannot ask a file
for its holes. The size of compressed clusters cannot be known beforehand.

With --json: {"required", "fully-allocated", "bitmaps"?}, in bytes.

Examples:
  drydisk measure -O qcow2 disk.qcow2
  drydisk measure -O qcow2 -o cluster_size=2M --size 100G`,
    )
    .action(async (image: string | undefined, options: MeasureCommandOptions) => {
      const json = wantsJson(options)
      const format = formatOf('-O', options.outputFormat ?? 'raw')
      const settings = imageSettings(parseOptionLists(options.option ?? []), format)
      const size = options.size === undefined ? settings.size : sizeOf(options.size)
      if (options.size !== undefined && size === undefined)
        throw new UsageError(`--size is ${options.size}; expected a size such as 3G`)
      if ((image === undefined) === (size === undefined))
        throw new UsageError('an image or --size: name one of both')
      const wanted = { format, ...measureOptions(settings) }
      const measure =
        image === undefined ? measureSize(size ?? 0, wanted) : await measureImage(image, options, wanted)
      if (json) {
        await printJson(measure)
        return
      }
      const lines = [
        `required size: ${measure.required}`,
        `fully allocated size: ${measure['fully-allocated']}`,
        ...(measure.bitmaps === undefined ? [] : [`bitmaps size: ${measure.bitmaps}`]),
      ]
      await print(`${lines.join('\n')}\n`)
    })
}

function measureOptions({
  qcow2,
  backingFile,
  preallocation,
}: ImageSettings): Omit<MeasureOptions, 'format'> {
  const { clusterSize, refcountBits, extendedL2, version } = qcow2
  return {
    ...(clusterSize === undefined ? {} : { clusterSize }),
    ...(refcountBits === undefined ? {} : { refcountBits }),
    ...(extendedL2 === undefined ? {} : { extendedL2 }),
    ...(version === undefined ? {} : { version }),
    hasBackingFile: backingFile !== undefined,
    preallocated: preallocation === 'full' || preallocation === 'falloc',
  }
}

async function measureImage(image: string, options: MeasureCommandOptions, wanted: MeasureOptions) {
  const { forceShare, ...rest } = options
  const disk = await openDisk(image, { ...rest, force: forceShare ?? false }, false)
  try {
    const bitmaps =
      disk instanceof Qcow2Image && disk.header.version === 3 ? (disk.info.bitmaps ?? []) : undefined
    return await measureDevice(
      { device: await chosen(disk, options.snapshot), ...(bitmaps === undefined ? {} : { bitmaps }) },
      wanted,
    )
  } finally {
    await closeDisk(disk)
  }
}

/** The disk, or a snapshot of it. */
async function chosen(disk: DiskImage, snapshot: string | undefined) {
  if (snapshot === undefined) return disk
  if (!(disk instanceof Qcow2Image)) throw new UsageError(`a ${disk.format} image has no internal snapshots`)
  const { snapshotDevice } = await import('../../image/qcow2/snapshot-device.ts')
  return snapshotDevice(disk, parseSnapshot(snapshot))
}
