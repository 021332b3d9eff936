import { applySubstitutions, parseSubstitutions } from '../config/substitution.ts'
import { appendLine as appendLineTo, encodeText, equalBytes, splitLines } from '../config/text.ts'
import type { GuestFs, GuestPath } from '../guest/guest-fs.ts'
import {
  displayPath,
  joinPath,
  pathBytes,
  readConfig,
  requireConfig,
  statOrUndefined,
  writeConfig,
} from './guest-files.ts'
import type { Operation } from './operation.ts'
import { byteCount, HIDDEN, ReportBuilder } from './report.ts'
import { type ByteSource, writeFromSource } from './source-tree.ts'

/** Files whose lines must not show in a report. */
const SECRET = /(^|\/)(g?shadow-?|ssh_host_\w+_key|id_\w+|.*\.pem|.*\.key)$/

/** More changed lines than this are counted, not listed. */
const LISTED_LINES = 50

/** Arguments of the operation `write`. */
export interface WriteArguments {
  readonly path: GuestPath
  readonly content: string | Uint8Array
}

export const write: Operation<WriteArguments> = {
  name: 'write',
  summary: 'Write a text into a file, in place of what it held',
  async run(guest, { path, content }) {
    const report = new ReportBuilder('write')
    const bytes = typeof content === 'string' ? encodeText(content) : content
    const stats = await statOrUndefined(guest, path)
    if (stats?.size === bytes.length && equalBytes(await guest.readFile(path), bytes)) {
      report.keep('content', byteCount(stats.size), displayPath(path))
      return report.build()
    }
    await guest.writeFile(path, bytes)
    report.always('content', stats ? byteCount(stats.size) : null, byteCount(bytes.length), displayPath(path))
    return report.build()
  },
}

/** Arguments of the operation `append-line`. */
export interface AppendLineArguments {
  readonly path: GuestPath
  /** Without a newline; embedded newlines make several lines. */
  readonly line: string
}

/** Idempotent: where the file holds the line already, nothing is added. The file's own line endings are used. */
export const appendLine: Operation<AppendLineArguments> = {
  name: 'append-line',
  summary:
    'Append a line to a file, unless the file holds it already; a missing final newline is added first',
  async run(guest, { path, line }) {
    const report = new ReportBuilder('append-line')
    const config = await readConfig(guest, path)
    let text = config?.text ?? ''
    const wanted = line.split('\n')
    const lines = splitLines(text).map(l => l.text)
    // An empty line sets what follows apart, so only one at the end counts.
    const present =
      line === ''
        ? lines.findIndex((one, i) => one === '' && i === lines.length - 1)
        : lines.findIndex((_, i) => wanted.every((w, j) => lines[i + j] === w))
    const shown = SECRET.test(displayPath(path)) ? HIDDEN : line
    if (present >= 0) {
      report.keep('line', shown, displayPath(path), present + 1)
      return report.build()
    }
    for (const one of wanted) text = appendLineTo(text, one)
    await writeConfig(guest, path, config, text)
    const number = splitLines(text).length - wanted.length + 1
    report.always('line', null, shown, displayPath(path), { line: number })
    return report.build()
  },
}

/** Arguments of the operation `edit`. */
export interface EditArguments {
  readonly path: GuestPath
  /** A Perl substitution or assignment, or several with `;` between them: `s/^#?(UseDNS).*$/$1 no/i; $_ = "" if /^Port/`. */
  readonly expression: string
}

/** Each line by itself, as `perl -pe` would (and so virt-customize's --edit). */
export const edit: Operation<EditArguments> = {
  name: 'edit',
  summary: 'Edit each line of a file with a Perl substitution: s/PATTERN/REPLACEMENT/FLAGS',
  async run(guest, { path, expression }) {
    const report = new ReportBuilder('edit')
    const substitutions = parseSubstitutions(expression)
    const config = await requireConfig(guest, path, 'to be edited')
    const result = applySubstitutions(config.text, substitutions)
    if (!(await writeConfig(guest, path, config, result.text))) return report.build()
    const file = displayPath(path)
    const secret = SECRET.test(file)
    for (const { line, before, after } of result.changed.slice(0, LISTED_LINES))
      report.always(`line ${line}`, secret ? HIDDEN : before, secret ? HIDDEN : after, file, { line })
    const more = result.changed.length - LISTED_LINES
    if (more > 0) report.always('further lines', `${more} lines`, `${more} changed lines`, file)
    return report.build()
  },
}

/** Arguments of the operation `upload`. */
export interface UploadArguments {
  readonly source: ByteSource
  /** A file, or an existing folder that it goes into under its source's name. */
  readonly path: GuestPath
  /** Permission bits of a new file; an existing file keeps its own. */
  readonly mode?: number
}

export const upload: Operation<UploadArguments> = {
  name: 'upload',
  summary: 'Put a file from outside into the guest',
  async run(guest, { source, path, mode }) {
    const report = new ReportBuilder('upload')
    const at = await statOrUndefined(guest, path)
    const target = at?.isDirectory() ? joinPath(path, source.name.replace(/^.*\//s, '')) : pathBytes(path)
    const before = await statOrUndefined(guest, target)
    const result = await writeFromSource(guest, target, source, mode === undefined ? {} : { mode })
    if (result !== 'same') {
      const after = await guest.stat(target)
      report.always(
        'content',
        before ? byteCount(before.size) : null,
        byteCount(after.size),
        displayPath(target),
      )
    } else report.keep('content', byteCount(before?.size ?? 0), displayPath(target))
    return report.build()
  },
}

/** Arguments of the operation `truncate`. */
export interface TruncateArguments {
  readonly path: GuestPath
}

export const truncate: Operation<TruncateArguments> = {
  name: 'truncate',
  summary: 'Empty a file, keeping its owner, mode and label',
  async run(guest, { path }) {
    const report = new ReportBuilder('truncate')
    const { size } = await guest.stat(path)
    if (size > 0) {
      await guest.truncate(path, 0)
      report.change('size', byteCount(size), '0 bytes', displayPath(path))
    }
    return report.build()
  },
}

export const truncateRecursive: Operation<TruncateArguments> = {
  name: 'truncate-recursive',
  summary: 'Empty every regular file below a folder',
  async run(guest, { path }) {
    const report = new ReportBuilder('truncate-recursive')
    await truncateBelow(guest, pathBytes(path), report)
    return report.build()
  },
}

async function truncateBelow(guest: GuestFs, folder: Uint8Array, report: ReportBuilder): Promise<void> {
  for (const entry of await guest.readdir(folder)) {
    const path = joinPath(folder, entry.name)
    if (entry.type === 'directory') await truncateBelow(guest, path, report)
    else if (entry.type === 'file') {
      const { size } = await guest.lstat(path)
      if (size === 0) continue
      await guest.truncate(path, 0)
      report.change('size', byteCount(size), '0 bytes', displayPath(path))
    }
  }
}
