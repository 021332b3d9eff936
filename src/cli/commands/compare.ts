import type { Command } from 'commander'
import { type Comparison, compareDevices } from '../../copy/compare.ts'
import { isDrydiskError } from '../../errors.ts'
import { Finished, reportError } from '../errors.ts'
import { print, printEvent } from '../output.ts'
import type { OutputOptions } from '../output-format.ts'
import { type Job, withProgress } from '../progress.ts'
import { closeDisk, openDisk } from '../session.ts'

interface CompareOptions extends Pick<OutputOptions, 'json'> {
  readonly format?: string
  readonly secondFormat?: string
  readonly strict?: boolean
  readonly progress?: boolean
  readonly quiet?: boolean
  readonly backing?: string
  readonly forceShare?: boolean
}

/** As qemu-img's; 2 for an image that does not open is in the list of commands. */
const STATUS = { differ: 1, unreadable: 4 }

/** qemu-img tells of the sector. */
const SECTOR = 512

export function configure(command: Command): void {
  command
    .argument('<image>', 'the one image')
    .argument('<other>', 'the other image')
    .option('-f, --format <format>', 'of the one: qcow2 or raw, instead of finding out')
    .option('-F, --second-format <format>', 'of the other')
    .option('-s, --strict', 'sizes, and what is allocated, have to be the same too')
    .option('-p, --progress', 'tell of progress also where standard error is no terminal')
    .option('-q, --quiet', 'print nothing but errors')
    .option('--backing <where>', 'where backing and data files may lie: beside, any or none', 'beside')
    .option('-U, --force-share', 'read images that are in use')
    .option('--json', 'print JSON: one document a line')
    .addHelpText(
      'after',
      `
Of disks of different sizes, what the larger has beyond the smaller has to be zeros. Exit status: 0 identical, 1 they differ,
2 an image cannot be opened (or wrong usage), 4 reading failed.

With --json: {"event": "progress", "operation", "done", "total"} now and then, and at last {"event": "result", "identical",
"differs"?: "content", "allocation" or "size", "offset"?: of the sector, "byte"?: the first one that differs, "sizes-differ"?}.

Examples:
  drydisk compare before.qcow2 after.raw
  drydisk compare -f raw -F qcow2 disk.raw disk.qcow2`,
    )
    .action(async (image: string, other: string, options: CompareOptions) => {
      const found = await compared(image, other, options)
      if (options.json) await printEvent({ event: 'result', ...asJson(found) })
      else if (!options.quiet) await print(asText(found))
      if (!found.identical) throw new Finished(STATUS.differ)
    })
}

async function compared(image: string, other: string, options: CompareOptions): Promise<Comparison> {
  const { backing, forceShare: force = false, format, secondFormat } = options
  const common = { ...(backing === undefined ? {} : { backing }), force }
  const one = await openDisk(image, { ...common, ...(format === undefined ? {} : { format }) }, false)
  try {
    const two = await openDisk(
      other,
      { ...common, ...(secondFormat === undefined ? {} : { format: secondFormat }) },
      false,
    )
    try {
      return await withProgress('compare', options, (job: Job) =>
        compareDevices(one, two, { strict: options.strict ?? false, ...job }),
      )
    } catch (error) {
      if (!isDrydiskError(error)) throw error
      await reportError(error, options.json ?? false)
      throw new Finished(STATUS.unreadable)
    } finally {
      await closeDisk(two)
    }
  } finally {
    await closeDisk(one)
  }
}

function asJson(found: Comparison) {
  if (found.identical) return { identical: true, 'sizes-differ': !found.sameSize }
  if (found.differs === 'size') return { identical: false, differs: found.differs }
  const offset = found.offset - (found.offset % SECTOR)
  if (found.differs === 'allocation') return { identical: false, differs: found.differs, offset }
  return { identical: false, differs: found.differs, offset, byte: found.offset }
}

function asText(found: Comparison): string {
  if (found.identical)
    return `${found.sameSize ? '' : 'Warning: Image size mismatch!\n'}Images are identical.\n`
  if (found.differs === 'size') return 'Strict mode: Image size mismatch!\n'
  const offset = found.offset - (found.offset % SECTOR)
  return found.differs === 'content'
    ? `${found.beyond ? 'Warning: Image size mismatch!\n' : ''}Content mismatch at offset ${offset}!\n`
    : `Strict mode: Offset ${offset} block status mismatch!\n`
}
