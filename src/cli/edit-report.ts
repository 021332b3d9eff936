import { printableText } from '../bytes/names.ts'
import type { ChangeRecorder } from '../guest/change-recorder.ts'
import type { GuestChange } from '../guest/guest-changes.ts'
import type { Change, OperationReport } from '../operations/operation.ts'
import type { WriteOptions } from './options.ts'
import { jsonPath, print, printJson, warn } from './output.ts'

/** What was done to an image, ready to be told. */
export interface EditResult {
  readonly warnings: readonly string[]
  readonly text: string
  readonly json: { readonly operations: readonly OperationReport[]; readonly files?: readonly unknown[] }
}

/**
 * Describes what was done to an image (or, with a recorder, what would be).
 * @param hide replaces what diffs must not show.
 */
export async function editResult(
  options: WriteOptions,
  done: readonly OperationReport[],
  recorder: ChangeRecorder | undefined,
  hide: (text: string) => string = text => text,
): Promise<EditResult> {
  const reports = recorder ? done.map(withoutNewSecrets) : done
  const changes = await recorder?.changes()
  const files = options.json && changes && (await Promise.all(changes.map(one => jsonChange(one, hide))))
  const text = options.json ? '' : reports.map(report => reportText(report, options.quiet ?? false)).join('')
  const diff = changes && !options.json && !options.quiet ? hide(await dryRunText(changes, reports)) : ''
  return {
    warnings: reports.flatMap(report =>
      report.warnings.map(warning => `warning: ${report.operation}: ${printableText(warning)}`),
    ),
    text: text + diff,
    json: { operations: reports, ...(files ? { files } : {}) },
  }
}

/** Tells what was done to an image (or, with a recorder, what would be), as text or as JSON. */
export async function reportEdit(
  image: string,
  options: WriteOptions,
  done: readonly OperationReport[],
  recorder: ChangeRecorder | undefined,
): Promise<void> {
  const { warnings, text, json } = await editResult(options, done, recorder)
  if (options.json) {
    await printJson({ image, dryRun: recorder !== undefined, ...json })
    return
  }
  for (const warning of warnings) warn(warning)
  await print(text)
}

const DRY_SECRET = { after: 'a random password', note: 'it is made when the edit is; this was a dry run' }

/** A password that was made in a dry run will never be anyone's. */
function withoutNewSecrets(report: OperationReport): OperationReport {
  return {
    ...report,
    changes: report.changes.map(change => (change.newSecret ? { ...change, ...DRY_SECRET } : change)),
  }
}

/** An edit may change every file of a guest. */
const LISTED_CHANGES = 100

/** Longer values are cut: a file's line may be as long as the file. */
const SHOWN_LENGTH = 2000

/** What an operation did, or in one line that there was nothing to do. A new password is told even to the quiet. */
function reportText(
  { operation, changes, unchanged = [], warnings }: OperationReport,
  quiet: boolean,
): string {
  const told = changes.filter(change => !quiet || change.newSecret)
  const rest = told.length - LISTED_CHANGES
  if (told.length > 0)
    return (
      told
        .slice(0, LISTED_CHANGES)
        .map(change => changeLine(operation, change))
        .join('') + (rest > 0 ? `${operation}: and ${rest} more changes (--json lists them)\n` : '')
    )
  if (quiet) return ''
  const [first] = unchanged
  if (first === undefined) return warnings.length > 0 ? '' : `${operation}: nothing to change\n`
  const more = unchanged.length > 1 ? `, and ${unchanged.length - 1} more` : ''
  return `${operation}: nothing to change: ${printableText(first.setting)}: ${value(first.value)}  (${place(first)}${more})\n`
}

function value(text: string | null): string {
  if (text === null) return '(none)'
  if (text === '') return '(empty)'
  return printableText(text.length > SHOWN_LENGTH ? `${text.slice(0, SHOWN_LENGTH)}…` : text)
}

function place({ file, line }: { file: string; line?: number }): string {
  return printableText(line === undefined ? file : `${file}:${line}`)
}

function changeLine(operation: string, change: Change): string {
  const note = change.note === undefined ? '' : `\n    ${printableText(change.note)}`
  const values =
    change.before === change.after ? value(change.after) : `${value(change.before)} → ${value(change.after)}`
  return `${operation}: ${printableText(change.setting)}: ${values}  (${place(change)})${note}\n`
}

/** The diffs of text files, then a line for everything that a diff does not show. */
async function dryRunText(
  changes: readonly GuestChange[],
  reports: readonly OperationReport[],
): Promise<string> {
  const { describeChange, unifiedDiff } = await import('../guest/change-diff.ts')
  if (changes.length === 0 && reports.every(report => report.changes.length === 0))
    return 'Nothing would change.\n'
  let diffs = ''
  let others = ''
  for (const change of changes) {
    const diff = await unifiedDiff(change)
    if (diff !== undefined) diffs += `\n${diff}`
    if (
      diff === undefined ||
      change.kind !== 'changed' ||
      change.aspects.some(aspect => aspect !== 'content')
    )
      others += `  ${describeChange(change)}\n`
  }
  return `${diffs}${others === '' ? '' : `\nOther changes:\n${others}`}\nNothing was written (dry run).\n`
}

export async function jsonChange(change: GuestChange, hide: (text: string) => string): Promise<unknown> {
  const { describeChange, unifiedDiff } = await import('../guest/change-diff.ts')
  const diff = await unifiedDiff(change)
  return {
    ...jsonPath(change.path),
    kind: change.kind,
    type: change.type,
    ...(change.from ? { from: jsonPath(change.from).path } : {}),
    aspects: change.aspects,
    summary: describeChange(change),
    ...(diff === undefined ? {} : { diff: hide(diff) }),
  }
}
