import type { Command } from 'commander'
import { printable } from '../../bytes/names.ts'
import type { Snapshot } from '../../image/qcow2/snapshot-table.ts'
import { applySnapshot, createSnapshot, deleteSnapshot, listSnapshots } from '../../image/snapshots.ts'
import { UsageError } from '../errors.ts'
import { stoppable } from '../interruption.ts'
import { humanSize, print, printEvent, printJson } from '../output.ts'

interface SnapshotOptions {
  readonly list?: boolean
  readonly create?: string
  readonly apply?: string
  readonly delete?: string
  readonly date?: string
  readonly force?: boolean
  readonly json?: boolean
  readonly quiet?: boolean
}

const ACTIONS = ['list', 'create', 'apply', 'delete'] as const
type Action = (typeof ACTIONS)[number]

export function configure(command: Command): void {
  command
    .argument('<words...>', 'ACTION IMAGE [SNAPSHOT], where ACTION is list, create, apply or delete')
    .option('-l, --list', 'as the action list')
    .option('-c, --create <name>', 'as the action create')
    .option('-a, --apply <snapshot>', 'as the action apply')
    .option('-d, --delete <snapshot>', 'as the action delete')
    .option('--date <time>', 'of the new snapshot, instead of now: 2026-01-31T12:00:00Z, or @SECONDS')
    .option('--force', 'write even if the image is in use (it may be destroyed)')
    .option('--json', 'print JSON')
    .option('-q, --quiet', 'print nothing but errors')
    .addHelpText(
      'after',
      `
Internal snapshots of a qcow2 image: of the disk, not of a running machine. apply makes the disk what it was; what is on it
now is lost. delete takes a name or else an identifier, apply an identifier or else a name, as qemu-img does.

With --json, list prints {"snapshots": [{"id", "name", "vm-state-size", "date-sec", "date-nsec", "vm-clock-sec",
"vm-clock-nsec", "icount"?}]} as qemu-img info does; the others {"event": "result", "filename", "action", "id", "name"}.

Examples:
  drydisk snapshot create disk.qcow2 before-upgrade
  drydisk snapshot list disk.qcow2
  drydisk snapshot apply disk.qcow2 before-upgrade
  drydisk snapshot -d before-upgrade disk.qcow2`,
    )
    .action(async (words: string[], options: SnapshotOptions) => {
      const { action, image, name } = wantedOf(words, options)
      const date = options.date === undefined ? undefined : timeOf(options.date)
      if (date !== undefined && action !== 'create') throw new UsageError('--date is for a new snapshot only')
      const common = { force: options.force ?? false }
      if (action === 'list') {
        const snapshots = await listSnapshots(image, common)
        if (options.json) await printJson({ snapshots: snapshots.map(jsonOf) })
        else if (snapshots.length > 0) await print(listing(snapshots))
        return
      }
      const done = await stoppable(async signal => {
        const job = { ...common, signal }
        if (action === 'apply') return applySnapshot(image, name, job)
        if (action === 'delete') return deleteSnapshot(image, name, job)
        return {
          id: await createSnapshot(image, { name, ...(date === undefined ? {} : { date }) }, job),
          name,
        }
      })
      if (options.json)
        await printEvent({ event: 'result', filename: image, action, id: done.id, name: done.name })
      else if (!options.quiet) {
        const past = { create: 'created', apply: 'applied', delete: 'deleted' }[action]
        await print(`${image}: snapshot ${printable(done.id)} (${printable(done.name)}) ${past}\n`)
      }
    })
}

function wantedOf(
  words: readonly string[],
  options: SnapshotOptions,
): { readonly action: Action; readonly image: string; readonly name: string } {
  const flagged = ACTIONS.filter(action => options[action] !== undefined)
  const [flag] = flagged
  if (flagged.length > 1) throw new UsageError(`only one of ${flagged.map(word => `--${word}`).join(', ')}`)
  const given =
    flag === undefined ? words : [flag, ...words.slice(0, 1), ...names(options[flag]), ...words.slice(1)]
  // With a word alone, as with qemu-img: the image whose snapshots are listed.
  const [word, image, name, ...more] = given.length === 1 ? ['list', ...given] : given
  const action = ACTIONS.find(known => known === word)
  if (action === undefined)
    throw new UsageError(`"${word}" is no action; expected ${ACTIONS.join(', ')}, then the image`)
  if (image === undefined) throw new UsageError('which image? Name it behind the action')
  if ((action === 'list') !== (name === undefined) || more.length > 0)
    throw new UsageError(
      action === 'list'
        ? 'snapshot list takes an image and nothing else'
        : `snapshot ${action} takes an image and one snapshot`,
    )
  return { action, image, name: name ?? '' }
}

function names(value: string | boolean | undefined): string[] {
  return typeof value === 'string' ? [value] : []
}

/** Milliseconds since 1970. */
function timeOf(text: string): number {
  const time = /^@\d+(\.\d+)?$/.test(text) ? Number(text.slice(1)) * 1000 : Date.parse(text)
  if (!(time >= 0 && time < 2 ** 32 * 1000))
    throw new UsageError(
      `--date is ${text}; expected 2026-01-31T12:00:00Z or @SECONDS, between 1970 and 2106`,
    )
  return time
}

const BILLION = 1_000_000_000n

function jsonOf(snapshot: Snapshot): Record<string, unknown> {
  return {
    id: snapshot.id,
    name: snapshot.name,
    'vm-state-size': snapshot.vmStateSize,
    'date-sec': snapshot.date,
    'date-nsec': snapshot.dateNanoseconds,
    'vm-clock-sec': Number(snapshot.vmClock / BILLION),
    'vm-clock-nsec': Number(snapshot.vmClock % BILLION),
    ...(snapshot.icount !== undefined && { icount: Number(snapshot.icount) }),
  }
}

/** The columns of qemu-img snapshot -l. */
function listing(snapshots: readonly Snapshot[]): string {
  const row = (id: string, tag: string, size: string, date: string, clock: string, icount: string): string =>
    `${id.padEnd(9)} ${tag.padEnd(16)} ${size.padStart(8)} ${date.padStart(19)} ${clock.padStart(12)} ${icount.padStart(10)}`.trimEnd()
  const lines = ['Snapshot list:', row('ID', 'TAG', 'VM SIZE', 'DATE', 'VM CLOCK', 'ICOUNT')]
  for (const { id, name, vmStateSize, date, vmClock, icount } of snapshots)
    lines.push(
      row(
        printable(id),
        printable(name),
        humanSize(vmStateSize),
        new Date(date * 1000).toISOString().slice(0, 19).replace('T', ' '),
        clockOf(vmClock),
        icount === undefined ? '' : String(icount),
      ),
    )
  return `${lines.join('\n')}\n`
}

/** Hours, minutes and seconds that the guest had been running. */
function clockOf(nanoseconds: bigint): string {
  const two = (value: bigint): string => String(value).padStart(2, '0')
  const seconds = nanoseconds / BILLION
  const milliseconds = (nanoseconds % BILLION) / 1_000_000n
  return `${two(seconds / 3600n)}:${two((seconds / 60n) % 60n)}:${two(seconds % 60n)}.${String(milliseconds).padStart(3, '0')}`
}
