import type { Command } from 'commander'
import type { BlockDevice, DiskImage } from '../../device/block-device.ts'
import { type CompareGuestsOptions, compareGuests } from '../../guest/compare-guests.ts'
import type { GuestChange } from '../../guest/guest-changes.ts'
import { type Guest, openGuest } from '../../guest/open-guest.ts'
import { readVolumes } from '../../volume/read-volumes.ts'
import { jsonChange } from '../edit-report.ts'
import { Finished, UsageError } from '../errors.ts'
import { type ImageOptions, imageOptions } from '../options.ts'
import { print, printJson, warn } from '../output.ts'
import { closeDisk, openDisk } from '../session.ts'
import { parseSnapshot } from '../snapshot-choice.ts'

interface DiffOptions extends ImageOptions {
  readonly snapshot?: string
  readonly path?: string
  readonly brief?: boolean
  readonly times?: boolean
  readonly content?: boolean
}

/** As diff(1). */
const DIFFER = 1

export function configure(command: Command): void {
  imageOptions(command)
    .argument('[before]', 'the image as it was; the only one: see below')
    .argument('[after]', 'the image as it is')
    .option(
      '-l, --snapshot <snapshot>',
      'what an internal snapshot of the only image held, by name or identifier',
    )
    .option('--path <path>', 'compare only this file or directory')
    .option('-b, --brief', 'say which files differ and in what, without their text')
    .option('--times', 'also files of which only the time of modification differs')
    .option('--content', 'read every file; see below')
    .addHelpText(
      'after',
      `
Compares what two guests hold: types, content, modes, owners, link targets, extended attributes (with labels and ACLs) and
device numbers. Text files are shown as a unified diff, everything else in a line; password hashes and private keys are hidden.
One image is compared with its backing file, or with a snapshot of its own. There a file of the same inode, size and times is taken
for the same unless --content is given. Of two images, every file of the same size is read.

Exit status: 0 nothing differs, 1 something does, 2 an error.

With --json: {"before", "after", "changes": [{"path", "kind": "created", "removed" or "changed", "type", "aspects", "summary",
"diff"?}], "warnings"}.

Examples:
  drydisk diff golden.qcow2 web1.qcow2
  drydisk diff overlay.qcow2
  drydisk diff -l before-update disk.qcow2 --path /etc`,
    )
    .action(async (first: string | undefined, second: string | undefined, options: DiffOptions) => {
      const [one, other, extra] = [options.add, first, second].filter(name => name !== undefined)
      if (one === undefined) throw new UsageError('which images? Name the one before and the one after')
      if (extra !== undefined) throw new UsageError(`two images at most: what is "${extra}"?`)
      if (other !== undefined && options.snapshot !== undefined)
        throw new UsageError('--snapshot compares one image with a snapshot of its own')
      const image = await openDisk(one, options, false)
      try {
        const differs =
          other === undefined
            ? await diffOwn(one, image, options)
            : await diffOther({ name: one, disk: image }, other, options)
        if (differs) throw new Finished(DIFFER)
      } finally {
        await closeDisk(image)
      }
    })
}

interface Side {
  readonly name: string
  readonly disk: BlockDevice
}

async function diffOther(before: Side, path: string, options: DiffOptions): Promise<boolean> {
  const disk = await openDisk(path, options, false)
  try {
    return await diff(before, { name: path, disk }, options, {})
  } finally {
    await closeDisk(disk)
  }
}

/** With its snapshot, or its backing file. */
async function diffOwn(name: string, image: DiskImage, options: DiffOptions): Promise<boolean> {
  const trust = { trustTimes: !options.content }
  if (options.snapshot !== undefined) {
    const { snapshotDevice } = await import('../../image/qcow2/snapshot-device.ts')
    const disk = await snapshotDevice(image, parseSnapshot(options.snapshot))
    return diff(
      { name: `${name} (snapshot ${options.snapshot})`, disk },
      { name, disk: image },
      options,
      trust,
    )
  }
  const { Qcow2Image } = await import('../../image/qcow2/qcow2-image.ts')
  const backing = image instanceof Qcow2Image ? image.backing : undefined
  if (backing === undefined)
    throw new UsageError(
      `${name} has no backing file to be compared with; name a second image, or a snapshot with --snapshot`,
    )
  return diff({ name: `${name} (its backing file)`, disk: backing }, { name, disk: image }, options, trust)
}

/** @returns whether anything differs. */
async function diff(
  before: Side,
  after: Side,
  options: DiffOptions,
  trust: Pick<CompareGuestsOptions, 'trustTimes'>,
): Promise<boolean> {
  const warnings: string[] = []
  const one = await guestOf(before, options, warnings)
  try {
    const other = await guestOf(after, options, warnings)
    try {
      if (!options.json) for (const warning of warnings) warn(`warning: ${warning}`)
      const { path, times = false } = options
      const changes = compareGuests(one.fs, other.fs, {
        ...trust,
        ...(path === undefined ? {} : { path }),
        times,
      })
      return options.json
        ? await tellJson(changes, { before: before.name, after: after.name, warnings })
        : await tell(changes, options.brief ?? false)
    } finally {
      await other.close()
    }
  } finally {
    await one.close()
  }
}

async function guestOf({ name, disk }: Side, options: DiffOptions, warnings: string[]): Promise<Guest> {
  const found = await readVolumes(disk)
  const guest = await openGuest(found.volumes, options.root === undefined ? {} : { root: options.root })
  for (const warning of [...found.warnings, ...guest.warnings]) warnings.push(`${name}: ${warning}`)
  return guest
}

async function tell(changes: AsyncIterable<GuestChange>, brief: boolean): Promise<boolean> {
  const { describeChange, unifiedDiff } = await import('../../guest/change-diff.ts')
  let differs = false
  let text = ''
  for await (const change of changes) {
    differs = true
    const patch = brief ? undefined : await unifiedDiff(change)
    if (patch !== undefined) text += patch
    const more = change.kind !== 'changed' || change.aspects.some(aspect => aspect !== 'content')
    if (patch === undefined || more) text += `${describeChange(change)}\n`
    if (text.length > 1 << 16) {
      await print(text)
      text = ''
    }
  }
  if (text !== '') await print(text)
  return differs
}

async function tellJson(
  changes: AsyncIterable<GuestChange>,
  heading: { before: string; after: string; warnings: readonly string[] },
): Promise<boolean> {
  const told: unknown[] = []
  for await (const change of changes) told.push(await jsonChange(change, text => text))
  const { before, after, warnings } = heading
  await printJson({ before, after, changes: told, warnings })
  return told.length > 0
}
