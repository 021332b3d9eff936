import { decodeUtf8 } from '../../bytes/names.ts'
import type { JournalEntry } from './journal-file.ts'

/** Longer names of programs and processes are not printed by journalctl (PRINT_CHAR_THRESHOLD). */
const MAX_NAME = 300
const CONTROL = /(?![\t\n])\p{Cc}/u
const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec']
// Control sequences of terminals: CSI, and OSC that ends with BEL or ST.
const ESC = String.fromCharCode(0x1b)
const BEL = String.fromCharCode(7)
const ANSI = new RegExp(`${ESC}(?:\\[[0-?]*[ -/]*[@-~]|\\][^${BEL}${ESC}]*(?:${BEL}|${ESC}\\\\))`, 'g')

/** Seconds since 1970 as the clock of a time zone. */
export type Clock = (seconds: number) => Date

/** The clock of a zone such as `Europe/Berlin`; UTC where this JavaScript does not know it. A `Date` whose UTC fields are local. */
export function clockOf(zone: string | undefined): Clock {
  let format: Intl.DateTimeFormat | undefined
  try {
    if (zone !== undefined && !/^(?:Etc\/)?(?:UTC|UCT|Zulu|Universal)$/.test(zone))
      format = new Intl.DateTimeFormat('en-US', {
        timeZone: zone,
        hourCycle: 'h23',
        dateStyle: 'short',
        timeStyle: 'medium',
      })
  } catch {
    format = undefined
  }
  const offsets = new Map<number, number>()
  return seconds => {
    if (!format) return new Date(seconds * 1000)
    // Zones change their offset at quarters of an hour.
    const quarter = Math.floor(seconds / 900)
    let offset = offsets.get(quarter)
    if (offset === undefined) {
      offset = offsetAt(format, quarter * 900)
      offsets.set(quarter, offset)
    }
    return new Date((seconds + offset) * 1000)
  }
}

function offsetAt(format: Intl.DateTimeFormat, seconds: number): number {
  const date = new Date(seconds * 1000)
  if (Number.isNaN(date.getTime())) return 0
  const [month, day, year, hour, minute, second] = format.format(date).match(/\d+/g)?.map(Number) ?? []
  if (month === undefined || day === undefined || year === undefined) return 0
  return Date.UTC(2000 + year, month - 1, day, hour, minute, second) / 1000 - (seconds - centuries(date))
}

/** The short style of a date has two digits of a year. */
function centuries(date: Date): number {
  const year = date.getUTCFullYear()
  const same = new Date(date)
  same.setUTCFullYear(2000 + (((year % 100) + 100) % 100))
  return (date.getTime() - same.getTime()) / 1000
}

/** As `journalctl -o short` prints an entry, with its newline; `undefined` where it has no message. Text is printed as it is but for control characters. */
export function shortLine(entry: JournalEntry, clock: Clock): string | undefined {
  const text = (name: string): string | undefined => {
    const field = entry.fields.find(one => one.name === name)
    return field && decodeUtf8(field.value)
  }
  const shown = (name: string): string | undefined => {
    const value = text(name)
    return value !== undefined && value.length <= MAX_NAME && !/\p{Cc}/u.test(value) ? value : undefined
  }
  const message = messageOf(entry)
  if (message === undefined) return undefined
  const source = text('_SOURCE_REALTIME_TIMESTAMP')
  const time = source !== undefined && /^\d{1,16}$/.test(source) ? Number(source) : entry.realtime
  let head = timestamp(clock(Math.floor(time / 1e6)))
  const host = shown('_HOSTNAME')
  if (host !== undefined) head += ` ${host}`
  head += ` ${shown('SYSLOG_IDENTIFIER') ?? shown('_COMM') ?? 'unknown'}`
  const pid = shown('_PID') ?? shown('SYSLOG_PID')
  head += pid === undefined ? ': ' : `[${pid}]: `
  const lines = message.replace(/\n$/, '').split('\n')
  return `${lines.map((line, i) => (i === 0 ? head : ' '.repeat(head.length)) + line).join('\n')}\n`
}

function messageOf(entry: JournalEntry): string | undefined {
  const field = entry.fields.find(one => one.name === 'MESSAGE')
  if (!field) {
    const unread = entry.fields.find(one => one.unread !== undefined)
    return unread && `[message compressed with ${unread.unread}]`
  }
  const plain = decodeUtf8(field.value)?.replace(ANSI, '').replaceAll('\t', '        ')
  return plain === undefined || CONTROL.test(plain) ? `[${formatBytes(field.value.length)} blob data]` : plain
}

/** FORMAT_BYTES of systemd: `12B`, `1.5K`. */
function formatBytes(bytes: number): string {
  if (bytes < 1024) return `${bytes}B`
  const [unit, factor] = bytes < 1 << 20 ? ['K', 1024] : ['M', 1 << 20]
  return `${Math.floor(bytes / factor)}.${Math.floor(((bytes % factor) * 10) / factor)}${unit}`
}

function timestamp(date: Date): string {
  if (Number.isNaN(date.getTime())) return '(invalid time)'
  const two = (value: number) => String(value).padStart(2, '0')
  return `${MONTHS[date.getUTCMonth()]} ${two(date.getUTCDate())} ${two(date.getUTCHours())}:${two(date.getUTCMinutes())}:${two(date.getUTCSeconds())}`
}
