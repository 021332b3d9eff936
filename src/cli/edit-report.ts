import { printableText } from '../bytes/names.ts'
import type { ChangeRecorder } from '../guest/change-recorder.ts'
import type { GuestChange } from '../guest/guest-changes.ts'
import type { Change, OperationReport } from '../operations/operation.ts'
import type { WriteOptions } from './options.ts'
import { jsonPath, print, printJson, warn } from './output.ts'

/** Tells what was done to an image (or, with a recorder, what would be), as text or as JSON. */
export async function reportEdit(
  image: string,
  options: WriteOptions,
  reports: readonly OperationReport[],
  recorder: ChangeRecorder | undefined,
): Promise<void> {
  const changes = await recorder?.changes()
  if (options.json) {
    const files = changes && (await Promise.all(changes.map(jsonChange)))
    await printJson({
      image,
      dryRun: recorder !== undefined,
      operations: reports,
      ...(files ? { files } : {}),
    })
    return
  }
  for (const report of reports)
    for (const warning of report.warnings) warn(`warning: ${report.operation}: ${printableText(warning)}`)
  if (options.quiet) return
  await print(
    reports.flatMap(report => report.changes.map(change => changeLine(report.operation, change))).join(''),
  )
  if (changes) await print(await dryRunText(changes))
}

function changeLine(operation: string, change: Change): string {
  const value = (text: string | null) => (text === null ? '(none)' : printableText(text))
  const place = change.line === undefined ? change.file : `${change.file}:${change.line}`
  const note = change.note === undefined ? '' : `\n    ${printableText(change.note)}`
  const values =
    change.before === change.after ? value(change.after) : `${value(change.before)} → ${value(change.after)}`
  return `${operation}: ${printableText(change.setting)}: ${values}  (${printableText(place)})${note}\n`
}

/** The diffs of text files, then a line for everything that a diff does not show. */
async function dryRunText(changes: readonly GuestChange[]): Promise<string> {
  const { describeChange, unifiedDiff } = await import('../guest/change-diff.ts')
  if (changes.length === 0) return 'Nothing would change.\n'
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

async function jsonChange(change: GuestChange): Promise<unknown> {
  const { describeChange, unifiedDiff } = await import('../guest/change-diff.ts')
  const diff = await unifiedDiff(change)
  return {
    ...jsonPath(change.path),
    kind: change.kind,
    type: change.type,
    ...(change.from ? { from: jsonPath(change.from).path } : {}),
    aspects: change.aspects,
    summary: describeChange(change),
    ...(diff === undefined ? {} : { diff }),
  }
}
