import { printable } from '../bytes/names.ts'
import { isDrydiskError } from '../errors.ts'
import type { FileType } from '../filesystem/filesystem.ts'
import type { GuestFs, GuestStats } from '../guest/guest-fs.ts'

const TYPE_LETTERS: Readonly<Record<FileType, string>> = {
  file: '-',
  directory: 'd',
  symlink: 'l',
  'character-device': 'c',
  'block-device': 'b',
  fifo: 'p',
  socket: 's',
}

/** As ls -l writes it: `-rwsr-xr-x`. */
export function modeText(stats: GuestStats): string {
  const { mode } = stats
  const triple = (shift: number, special: boolean, letter: string) => {
    const bits = (mode >> shift) & 7
    const execute = bits & 1 ? (special ? letter : 'x') : special ? letter.toUpperCase() : '-'
    return `${bits & 4 ? 'r' : '-'}${bits & 2 ? 'w' : '-'}${execute}`
  }
  return (
    TYPE_LETTERS[stats.type] +
    triple(6, (mode & 0o4000) !== 0, 's') +
    triple(3, (mode & 0o2000) !== 0, 's') +
    triple(0, (mode & 0o1000) !== 0, 't')
  )
}

/** Names of users and groups by number, by the guest's own files. */
export interface OwnerNames {
  readonly users: ReadonlyMap<number, string>
  readonly groups: ReadonlyMap<number, string>
}

export async function ownerNames(fs: GuestFs): Promise<OwnerNames> {
  return { users: await idNames(fs, '/etc/passwd'), groups: await idNames(fs, '/etc/group') }
}

async function idNames(fs: GuestFs, path: string): Promise<Map<number, string>> {
  const names = new Map<number, string>()
  let text: string
  try {
    text = await fs.readText(path)
  } catch (error) {
    if (isDrydiskError(error)) return names
    throw error
  }
  for (const line of text.split('\n')) {
    const [name, , id] = line.split(':')
    if (name && id && /^\d+$/.test(id) && !names.has(Number(id))) names.set(Number(id), name)
  }
  return names
}

export function longLine(
  name: Uint8Array,
  stats: GuestStats,
  target: Uint8Array | undefined,
  names: OwnerNames | undefined,
): string {
  const owner = printable(names?.users.get(stats.uid) ?? String(stats.uid)).padEnd(8)
  const group = printable(names?.groups.get(stats.gid) ?? String(stats.gid)).padEnd(8)
  const isDevice = stats.isBlockDevice() || stats.isCharacterDevice()
  const size = (isDevice ? `${stats.rdev.major}, ${stats.rdev.minor}` : String(stats.size)).padStart(10)
  const link = target ? ` -> ${printable(target)}` : ''
  const links = String(stats.nlink).padStart(3)
  return `${modeText(stats)} ${links} ${owner} ${group} ${size} ${minuteOf(stats.mtimeNs)} ${printable(name)}${link}`
}

/** As ls -l shows a file whose attributes it could not read. */
export function unknownLine(name: Uint8Array, type: FileType): string {
  const unknown = '?'
  return `${TYPE_LETTERS[type]}${'?'.repeat(9)} ${unknown.padStart(3)} ${unknown.padEnd(8)} ${unknown.padEnd(8)} ${unknown.padStart(10)} ${unknown.padStart(16)} ${printable(name)}`
}

function minuteOf(ns: bigint): string {
  const date = new Date(Number(ns / 1_000_000n))
  if (Number.isNaN(date.getTime())) return `@${ns / 1_000_000_000n}`
  return date.toISOString().slice(0, 16).replace('T', ' ')
}
