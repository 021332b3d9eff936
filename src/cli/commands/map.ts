import { realpath } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Command } from 'commander'
import { printable } from '../../bytes/names.ts'
import { type MapEntry, mapDevice } from '../../copy/map.ts'
import { DrydiskError } from '../../errors.ts'
import { UsageError } from '../errors.ts'
import { print } from '../output.ts'
import { type OutputOptions, outputOption, wantsJson } from '../output-format.ts'
import { closeDisk, openDisk } from '../session.ts'
import { sizeOf } from '../sizes.ts'

interface MapOptions extends OutputOptions {
  readonly format?: string
  readonly startOffset?: string
  readonly maxLength?: string
  readonly backing?: string
  readonly forceShare?: boolean
}

export function configure(command: Command): void {
  command
    .argument('<image>', 'the image')
    .option('-f, --format <format>', 'qcow2 or raw, instead of finding out')
    .addOption(outputOption())
    .option('--json', 'the same as --output json, errors too')
    .option('-s, --start-offset <offset>', 'first byte of the disk to tell of')
    .option('-l, --max-length <length>', 'how many bytes of the disk to tell of')
    .option('--backing <where>', 'where backing and data files may lie: beside, any or none', 'beside')
    .option('-U, --force-share', 'read an image that is in use')
    .addHelpText(
      'after',
      `
The text lists what is stored as it is; where something is compressed there is no such place, and only the JSON tells it.
With --output json: an array of {"start", "length", "depth", "present", "zero", "data", "compressed", "offset"?}, as qemu-img
prints it. Holes of a raw file are not seen: Node.js cannot ask for them, so a raw image is one run of data.

Examples:
  drydisk map disk.qcow2
  drydisk map --output json --start-offset 1M --max-length 64k disk.qcow2`,
    )
    .action(async (image: string, options: MapOptions) => {
      const json = wantsJson(options)
      const start = bytesOf('--start-offset', options.startOffset) ?? 0
      const most = bytesOf('--max-length', options.maxLength) ?? Number.POSITIVE_INFINITY
      const { forceShare, ...rest } = options
      const disk = await openDisk(image, { ...rest, force: forceShare ?? false }, false)
      try {
        const length = Math.max(0, Math.min(disk.size - start, most))
        const entries = mapDevice(disk, Math.min(start, disk.size), length)
        await (json ? printAsJson(entries) : printAsText(entries, await shownAs(image)))
      } finally {
        await closeDisk(disk)
      }
    })
}

function bytesOf(option: string, text: string | undefined): number | undefined {
  const value = text === undefined ? undefined : sizeOf(text)
  if (text !== undefined && value === undefined)
    throw new UsageError(`${option} is ${text}; expected a number of bytes, such as 1M`)
  return value
}

async function printAsJson(batches: AsyncIterable<readonly MapEntry[]>): Promise<void> {
  let before = '['
  for await (const entries of batches) {
    let text = ''
    for (const { start, length, depth, present, zero, data, compressed, offset } of entries) {
      text +=
        `${before}{ "start": ${start}, "length": ${length}, "depth": ${depth}, "present": ${present}, "zero": ${zero}, ` +
        `"data": ${data}, "compressed": ${compressed}${offset === undefined ? '' : `, "offset": ${offset}`}}`
      before = ',\n'
    }
    await print(text)
  }
  await print(before === '[' ? '[]\n' : ']\n')
}

/** Names of files as the user named the image: those beside it have their folder from there. */
async function shownAs(image: string): Promise<(name: string) => string> {
  // What a server has is no file of this machine.
  const real = await realpath(image).catch(() => image)
  const folder = `${dirname(real)}/`
  return name => {
    if (name === real) return image
    if (!name.startsWith(folder)) return name
    return join(dirname(image), name.slice(folder.length))
  }
}

async function printAsText(
  batches: AsyncIterable<readonly MapEntry[]>,
  shown: (name: string) => string,
): Promise<void> {
  const column = (text: string): string => text.padEnd(16)
  const hexadecimal = (value: number): string => column(value === 0 ? '0' : `0x${value.toString(16)}`)
  await print(`${['Offset', 'Length', 'Mapped to'].map(column).join('')}File\n`)
  for await (const entries of batches) {
    let text = ''
    for (const { start, length, data, offset, filename } of entries) {
      if (!data) continue
      if (offset === undefined) {
        await print(text)
        throw new DrydiskError(
          'ENOTSUP',
          `what lies at byte ${start} of the disk is compressed; --output json tells of such parts too`,
          { offset: start },
        )
      }
      text += `${hexadecimal(start)}${hexadecimal(length)}${hexadecimal(offset)}${printable(shown(filename ?? ''))}\n`
    }
    await print(text)
  }
}
