import type { Command } from 'commander'
import { decodeUtf8 } from '../../bytes/names.ts'
import type { GuestFs } from '../../guest/guest-fs.ts'
import type { LogSource } from '../../operations/log/read-log.ts'
import { UsageError } from '../errors.ts'
import { type ImageOptions, imageOptions } from '../options.ts'
import { print, printEvent, warn } from '../output.ts'
import { readGuest } from '../session.ts'
import { imageAndPaths } from '../target.ts'

interface LogOptions extends ImageOptions {
  readonly lines?: string
  readonly utc?: boolean
}

/** Joined lines are written when there are that many characters of them. */
const CHUNK = 1 << 16

export function configure(command: Command): void {
  imageOptions(command)
    .argument('[image]', 'the image')
    .argument('[log]', 'journal, or a file below /var/log, instead of the journal or else syslog or messages')
    .option('-n, --lines <number>', 'only the last lines (entries of a journal)')
    .option('--utc', 'times of a journal in UTC, not in the time zone of the guest')
    .addHelpText(
      'after',
      `
Prints the journal of systemd as journalctl -o short does, or a log that is text as it is.
With --json, one document on each line: {"realtime" (microseconds since 1970), "boot", "fields": {NAME: [values]}} of a journal
entry, where bytes that are no text are {"base64"}; {"file", "text"} or {"file", "base64"} of a line of text.

Examples:
  drydisk log disk.qcow2
  drydisk log disk.qcow2 --lines 20
  drydisk log disk.qcow2 auth.log
  drydisk log disk.qcow2 journal --json | jq -r '.fields.MESSAGE[0]'`,
    )
    .action(async (_image: string, _log: string, options: LogOptions) => {
      const { image, paths } = imageAndPaths(command.args, options.add)
      if (paths.length > 1) throw new UsageError(`one log at a time: what is "${paths[1]}"?`)
      const last = lineCount(options.lines)
      const library = await import('../../operations/log/read-log.ts')
      await readGuest(image, options, async ({ fs }) => {
        const source = await library.findLog(fs, paths[0])
        if (source.kind === 'journal') await printJournal(fs, source, last, options)
        else await printText(fs, source.path, last, options.json ?? false)
      })
    })
}

function lineCount(text: string | undefined): number {
  if (text === undefined) return Number.POSITIVE_INFINITY
  if (!/^\d{1,9}$/.test(text)) throw new UsageError(`--lines is "${text}"; expected a number`)
  return Number(text)
}

async function printJournal(
  fs: GuestFs,
  { files }: Extract<LogSource, { kind: 'journal' }>,
  last: number,
  { json = false, utc = false }: LogOptions,
): Promise<void> {
  const { guestZone, readJournal } = await import('../../operations/log/read-log.ts')
  const { clockOf, shortLine } = await import('../../operations/log/short-format.ts')
  const clock = clockOf(utc ? undefined : await guestZone(fs))
  let boot: string | undefined
  let waiting = ''
  for await (const entry of readJournal(fs, files, { last, warn: message => warn(`warning: ${message}`) })) {
    if (json) {
      const fields = new Map<string, unknown[]>()
      for (const { name, value } of entry.fields)
        if (name !== '') fields.set(name, [...(fields.get(name) ?? []), jsonValue(value)])
      await printEvent({ realtime: entry.realtime, boot: entry.boot_id, fields: Object.fromEntries(fields) })
      continue
    }
    const line = shortLine(entry, clock)
    if (line === undefined) continue
    if (boot !== undefined && boot !== entry.boot_id) waiting += `-- Boot ${entry.boot_id} --\n`
    boot = entry.boot_id
    waiting += line
    if (waiting.length < CHUNK) continue
    await print(waiting)
    waiting = ''
  }
  await print(waiting)
}

function jsonValue(bytes: Uint8Array): unknown {
  return decodeUtf8(bytes) ?? { base64: Buffer.from(bytes).toString('base64') }
}

async function printText(fs: GuestFs, path: string, last: number, json: boolean): Promise<void> {
  const { logText } = await import('../../operations/log/log-text.ts')
  for await (const piece of logText(fs, path, last, json)) {
    if (!json) await print(piece)
    else {
      const text = decodeUtf8(piece)
      await printEvent(
        text === undefined
          ? { file: path, base64: Buffer.from(piece).toString('base64') }
          : { file: path, text },
      )
    }
  }
}
