import type { Command } from 'commander'
import { printable } from '../../bytes/names.ts'
import { isDrydiskError } from '../../errors.ts'
import { type Guest, openGuest } from '../../guest/open-guest.ts'
import { diskUsage, type VolumeUsage } from '../../guest/usage.ts'
import { readVolumes } from '../../volume/read-volumes.ts'
import { AlreadyReported, UsageError } from '../errors.ts'
import { type ImageOptions, imageOptions } from '../options.ts'
import { print, printJson, warn } from '../output.ts'
import { closeDisk, openDisk } from '../session.ts'
import { forEachPath } from '../walk-paths.ts'

interface DfOptions extends ImageOptions {
  readonly humanReadable?: boolean
  readonly inodes?: boolean
  readonly csv?: boolean
}

interface Row {
  readonly image: string
  readonly found: VolumeUsage
}

export function configure(command: Command): void {
  imageOptions(command)
    .argument('[images...]', 'the images')
    .option('-h, --human-readable', 'sizes as 1.5G instead of kibibytes')
    .option('-i, --inodes', 'inodes in place of space')
    .option('--csv', 'comma-separated values, with a header')
    // -h is what df has it for.
    .helpOption('--help', 'display help for command')
    .addHelpText(
      'after',
      `
Every filesystem on the disk, whether or not the guest mounts it. Used and Available do not add up to the size where blocks are
kept for root.
With --json: {"filesystems": [{"image", "volume", "type", "mounted", "size", "used", "available", "inodes", "freeInodes"} or
{"image", "volume", "type", "mounted", "problem"}], "errors": [{"path", "code", "message"}]}; sizes in bytes.

Examples:
  drydisk df disk.qcow2
  drydisk df -h *.qcow2
  drydisk df --csv -i -a disk.raw`,
    )
    .action(async (images: readonly string[], options: DfOptions) => {
      const paths = options.add === undefined ? images : [options.add, ...images]
      if (paths.length === 0) throw new UsageError('which image? Name it first, or with -a IMAGE')
      const rows: Row[] = []
      const errors: { path: string; code: string; message: string }[] = []
      const all = await forEachPath(paths, options.json ?? false, errors, async image => {
        rows.push(...(await usageOf(image, options)))
      })
      if (options.json) await printJson({ filesystems: rows.map(asJson), errors })
      else {
        for (const { image, found } of rows)
          if (found.problem !== undefined) warn(`${image}: ${found.volume} ${found.problem}`)
        if (all || rows.length > 0) await print(options.csv ? asCsv(rows, options) : asTable(rows, options))
      }
      if (!all) throw new AlreadyReported()
    })
}

async function usageOf(image: string, options: DfOptions): Promise<Row[]> {
  const disk = await openDisk(image, options, false)
  try {
    const { volumes, warnings } = await readVolumes(disk)
    for (const warning of warnings) warn(`warning: ${warning}`)
    let guest: Guest | undefined
    try {
      guest = await openGuest(volumes, options.root === undefined ? {} : { root: options.root })
    } catch (error) {
      // A disk without an installed system has filesystems all the same.
      if (!isDrydiskError(error) || options.root !== undefined) throw error
    }
    try {
      const found = await diskUsage(volumes, guest)
      if (found.length === 0) warn(`warning: ${image}: no filesystem that drydisk knows is on this disk`)
      return found.map(one => ({ image, found: one }))
    } finally {
      await guest?.close()
    }
  } finally {
    await closeDisk(disk)
  }
}

interface Figures {
  readonly total: number
  readonly used: number
  readonly available: number
}

/** In bytes, or inodes. */
function figures({ usage }: VolumeUsage, inodes: boolean): Figures | undefined {
  if (usage === undefined) return undefined
  const { blockSize, blocks, overheadBlocks = 0, freeBlocks, availableBlocks } = usage
  if (inodes)
    return {
      total: usage.inodes,
      used: usage.inodes - usage.freeInodes,
      available: usage.freeInodes,
    }
  return {
    total: (blocks - overheadBlocks) * blockSize,
    used: (blocks - overheadBlocks - freeBlocks) * blockSize,
    available: availableBlocks * blockSize,
  }
}

/** As df(1): of what is used or may be, rounded up. */
function percent({ used, available }: Figures): string {
  return used + available === 0 ? '-' : `${Math.ceil((100 * used) / (used + available))}%`
}

function cells(row: Row, options: DfOptions): string[] {
  const { found, image } = row
  const inodes = options.inodes ?? false
  const numbers = figures(found, inodes)
  const size = (value: number): string => {
    if (inodes) return String(value)
    return options.humanReadable ? human(value) : String(Math.ceil(value / 1024))
  }
  return [
    printable(`${image}:${found.volume}`),
    ...(numbers === undefined
      ? ['-', '-', '-', '-']
      : [size(numbers.total), size(numbers.used), size(numbers.available), percent(numbers)]),
    found.mounted.map(path => printable(path)).join(' '),
  ]
}

function header({ inodes, humanReadable }: DfOptions): string[] {
  const names = inodes
    ? ['Inodes', 'IUsed', 'IFree', 'IUse%']
    : [humanReadable ? 'Size' : '1K-blocks', 'Used', 'Available', 'Use%']
  return ['Filesystem', ...names, 'Mounted on']
}

function asTable(rows: readonly Row[], options: DfOptions): string {
  const table = [header(options), ...rows.map(row => cells(row, options))]
  const widths = header(options).map((_, column) => Math.max(...table.map(line => line[column]?.length ?? 0)))
  const text = table.map(line =>
    line
      .map((cell, column) =>
        column === 0 || column === 5 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0),
      )
      .join('  ')
      .trimEnd(),
  )
  return `${text.join('\n')}\n`
}

function asCsv(rows: readonly Row[], options: DfOptions): string {
  const table = [header(options), ...rows.map(row => cells(row, options))]
  const quoted = (cell: string): string => (/[",\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell)
  return table.map(line => `${line.map(quoted).join(',')}\n`).join('')
}

function asJson({ image, found }: Row): unknown {
  const { volume, type, mounted, usage, problem } = found
  const space = figures(found, false)
  return {
    image,
    volume,
    type,
    mounted,
    ...(space === undefined || usage === undefined
      ? { problem }
      : {
          size: space.total,
          used: space.used,
          available: space.available,
          inodes: usage.inodes,
          freeInodes: usage.freeInodes,
        }),
  }
}

/** As df -h: at most three digits, rounded up. */
function human(bytes: number): string {
  const units = ['', 'K', 'M', 'G', 'T', 'P']
  let value = bytes
  let unit = 0
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024
    unit++
  }
  const rounded = value < 10 && unit > 0 ? Math.ceil(value * 10) / 10 : Math.ceil(value)
  return `${rounded < 10 && unit > 0 ? rounded.toFixed(1) : rounded}${units[unit] ?? ''}`
}
