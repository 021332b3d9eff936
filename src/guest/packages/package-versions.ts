import { DrydiskError, isDrydiskError } from '../../errors.ts'
import type { FileType } from '../../filesystem/filesystem.ts'
import type { GuestFs } from '../guest-fs.ts'
import { parseApkInstalled } from './apk-installed.ts'
import { parseDpkgStatus } from './dpkg-status.ts'
import { readRpmHeader } from './rpm-header.ts'
import type { ReadBytes } from './sqlite-table.ts'

/** Whose database says what is installed. */
export type PackageDatabase = 'dpkg' | 'rpm' | 'apk' | 'pacman' | 'none'

export interface PackageVersions {
  readonly database: PackageDatabase
  /** The guest path of the database; the empty string where there is none. */
  readonly file: string
  /** Versions by name: of all packages, or of those that were asked for. */
  readonly versions: ReadonlyMap<string, string>
  /** Whether `versions` has all packages. */
  readonly isComplete: boolean
  /** How many packages there are; `undefined` where that was not found out. */
  readonly count: number | undefined
  /** Why versions are not known, or may not be the newest. */
  readonly problem: string | undefined
}

/** A status file of dpkg with 10 000 packages has 12 MB. */
const MAX_TEXT = 64 << 20
/** Names and versions stand in the first kilobytes of a package's header, behind its index. */
const HEADER_BYTES = 16 << 10
const MAX_PACKAGES = 100_000

const RPM_FOLDERS = ['/usr/lib/sysimage/rpm', '/var/lib/rpm']

/** What the guest's package manager has installed; of rpm's sqlite database, the versions of the packages in `wanted`. Never fails for a strange guest. */
export async function packageVersions(guest: GuestFs, wanted: ReadonlySet<string>): Promise<PackageVersions> {
  for (const folder of RPM_FOLDERS) {
    const found = await rpmPackages(guest, folder, wanted)
    if (found) return found
  }
  return (
    (await dpkgPackages(guest)) ??
    (await apkPackages(guest)) ??
    (await pacmanPackages(guest)) ?? {
      database: 'none',
      file: '',
      versions: new Map(),
      isComplete: false,
      count: undefined,
      problem: undefined,
    }
  )
}

/** `undefined` where there is no such file; one that cannot be read is told of by its error. */
async function sizeOf(guest: GuestFs, path: string): Promise<number | undefined> {
  try {
    const stats = await guest.stat(path)
    return stats.isFile() ? stats.size : undefined
  } catch (error) {
    if (isDrydiskError(error)) return undefined
    throw error
  }
}

async function textOf(guest: GuestFs, path: string): Promise<string | undefined> {
  const size = await sizeOf(guest, path)
  if (size === undefined) return undefined
  if (size > MAX_TEXT) throw new DrydiskError('EFBIG', `${path} has ${size} bytes, more than ${MAX_TEXT}`)
  return new TextDecoder().decode(await guest.readFile(path))
}

interface Found {
  readonly versions: Map<string, string>
  readonly count: number
}

async function guarded(
  database: PackageDatabase,
  file: string,
  read: () => Promise<Found & { isComplete?: boolean; problem?: string }>,
): Promise<PackageVersions> {
  try {
    const { versions, count, isComplete = true, problem } = await read()
    return { database, file, versions, isComplete, count, problem }
  } catch (error) {
    if (!isDrydiskError(error)) throw error
    const problem = `${file}: ${error.message}`
    return { database, file, versions: new Map(), isComplete: false, count: undefined, problem }
  }
}

async function dpkgPackages(guest: GuestFs): Promise<PackageVersions | undefined> {
  const file = '/var/lib/dpkg/status'
  const folder = '/var/lib/dpkg/status.d'
  const whole = await sizeOf(guest, file)
  const parts = await namesIn(guest, folder)
  if (whole === undefined && parts.length === 0) return undefined
  return guarded('dpkg', whole === undefined ? folder : file, async () => {
    const versions = parseDpkgStatus((await textOf(guest, file)) ?? '')
    for (const name of parts)
      for (const [key, version] of parseDpkgStatus((await textOf(guest, `${folder}/${name}`)) ?? ''))
        versions.set(key, version)
    return { versions, count: versions.size }
  })
}

async function namesIn(guest: GuestFs, folder: string, type: FileType = 'file'): Promise<string[]> {
  try {
    return (await guest.readdir(folder))
      .filter(entry => entry.type === type)
      .slice(0, MAX_PACKAGES)
      .map(entry => new TextDecoder().decode(entry.name))
      .filter(name => !name.endsWith('.md5sums'))
  } catch (error) {
    if (isDrydiskError(error)) return []
    throw error
  }
}

async function apkPackages(guest: GuestFs): Promise<PackageVersions | undefined> {
  // apk-tools 3 moved it to /usr/lib.
  for (const file of ['/lib/apk/db/installed', '/usr/lib/apk/db/installed']) {
    if ((await sizeOf(guest, file)) === undefined) continue
    return guarded('apk', file, async () => {
      const versions = parseApkInstalled((await textOf(guest, file)) ?? '')
      return { versions, count: versions.size }
    })
  }
  return undefined
}

/** A folder NAME-VERSION-RELEASE for each package. */
async function pacmanPackages(guest: GuestFs): Promise<PackageVersions | undefined> {
  const file = '/var/lib/pacman/local'
  const versions = new Map<string, string>()
  for (const name of await namesIn(guest, file, 'directory')) {
    const parts = /^(.+)-([^-]+-[^-]+)$/.exec(name)
    if (parts) versions.set(parts[1] ?? '', parts[2] ?? '')
  }
  if (versions.size === 0) return undefined
  return { database: 'pacman', file, versions, isComplete: true, count: versions.size, problem: undefined }
}

async function rpmPackages(
  guest: GuestFs,
  folder: string,
  wanted: ReadonlySet<string>,
): Promise<PackageVersions | undefined> {
  const reader =
    (path: string): ReadBytes =>
    (offset, into) =>
      guest.readAt(path, offset, into)
  const sqlite = `${folder}/rpmdb.sqlite`
  const sqliteSize = await sizeOf(guest, sqlite)
  if (sqliteSize !== undefined)
    return guarded('rpm', sqlite, async () => {
      const found = await sqlitePackages(reader(sqlite), sqliteSize, wanted)
      const log = await sizeOf(guest, `${sqlite}-wal`)
      const problem = log ? { problem: `${sqlite}-wal holds changes that were not looked at` } : {}
      return { ...found, isComplete: false, ...problem }
    })
  const ndb = `${folder}/Packages.db`
  const ndbSize = await sizeOf(guest, ndb)
  if (ndbSize !== undefined)
    return guarded('rpm', ndb, async () => {
      const { ndbPackages } = await import('./rpm-ndb.ts')
      return versionsOf(ndbPackages(reader(ndb), ndbSize, HEADER_BYTES))
    })
  const berkeley = `${folder}/Packages`
  const berkeleySize = await sizeOf(guest, berkeley)
  if (berkeleySize === undefined) return undefined
  return guarded('rpm', berkeley, () => versionsOf(berkeleyPackages(reader(berkeley), berkeleySize)))
}

/** rpm's lib/backend/db3.c of EL8 and before: the key is the package's number; with number 0 is kept which was given last. */
async function* berkeleyPackages(read: ReadBytes, size: number): AsyncGenerator<Uint8Array> {
  const { berkeleyHashItems } = await import('./berkeley-hash.ts')
  for await (const { key, value } of berkeleyHashItems(read, size, HEADER_BYTES))
    if (key.some(byte => byte !== 0)) yield value
}

async function versionsOf(headers: AsyncIterable<Uint8Array>): Promise<Found> {
  const versions = new Map<string, string>()
  let count = 0
  for await (const bytes of headers) {
    if (++count > MAX_PACKAGES) throw tooMany()
    const one = readRpmHeader(bytes)
    if (one) versions.set(one.name, one.version)
  }
  return { versions, count }
}

function tooMany(): DrydiskError {
  return new DrydiskError('ERR_CORRUPT', `the rpm database has more than ${MAX_PACKAGES} packages`)
}

/** rpm's lib/backend/sqlite.cc: `Packages(hnum, blob)` has the headers, `Name(key, hnum, idx)` finds them. */
async function sqlitePackages(read: ReadBytes, size: number, wanted: ReadonlySet<string>): Promise<Found> {
  const { SqliteFile } = await import('./sqlite-table.ts')
  const file = await SqliteFile.open(read, size)
  const packages = await file.rootOf('Packages')
  const names = await file.rootOf('Name')
  if (packages === undefined || names === undefined)
    throw new DrydiskError('ERR_CORRUPT', 'the rpm database has no table Packages, or none Name')
  const numbers: number[] = []
  let count = 0
  for await (const { columns } of file.rows(names, 1024)) {
    const [name, number] = columns
    if (++count > MAX_PACKAGES) throw tooMany()
    // rpm stores keys as blobs.
    const key = name instanceof Uint8Array ? new TextDecoder().decode(name) : name
    if (typeof key === 'string' && wanted.has(key) && typeof number === 'number') numbers.push(number)
  }
  const versions = new Map<string, string>()
  for (const number of numbers) {
    const row = await file.row(packages, number, HEADER_BYTES)
    const blob = row?.columns[1]
    const one = blob instanceof Uint8Array ? readRpmHeader(blob) : undefined
    if (one) versions.set(one.name, one.version)
  }
  return { versions, count }
}
