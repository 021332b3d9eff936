import { DrydiskError, isDrydiskError } from '../errors.ts'
import type { FileSystem } from '../filesystem/filesystem.ts'
import { isSupported, openFileSystem } from '../filesystem/open.ts'
import { parseFstab } from './fstab.ts'
import { readIdentity } from './identity.ts'
import { MountTable } from './mount-table.ts'
import { MountedGuest } from './mounted-guest.ts'
import {
  asksFor,
  likelyRoots,
  type MountSource,
  mountOptionsOf,
  otherSubvolumes,
  sourceText,
  splitSource,
  subvolumeOf,
} from './subvolumes.ts'
import { findVolume, type GuestVolume, whyNot } from './volume-spec.ts'

export interface RootChoice extends MountSource {
  /** Open already, when finding out needed it and it may be used as it is. */
  readonly fs: FileSystem
}

export interface FindRootOptions {
  readonly writable: boolean
  /** The name of the volume to take: `/dev/sda2`; of btrfs also with the subvolume, as findmnt(8) prints it: `/dev/sda2[/root]`. */
  readonly root?: string
}

/** Volumes that a message names. */
const MOST_NAMED = 24

interface Candidate extends MountSource {
  readonly isSystem: boolean
  /** Its own fstab says that it is mounted on `/`. */
  readonly namesItself: boolean
  readonly prettyName: string
}

/**
 * The volume with the installed system. A volume counts when it has /etc with an os-release, fstab or passwd, and a
 * place for programs; of several, the one whose fstab names itself as `/`. Where no volume looks like a system, the only
 * readable one is taken (FAT only where there is no other). Anything else is an error that lists what there is.
 *
 * Of btrfs it is a subvolume: the default one, or one with a name that installers use, or any other.
 */
export async function findRoot(
  volumes: readonly GuestVolume[],
  options: FindRootOptions,
): Promise<RootChoice> {
  if (options.root !== undefined) return chosen(volumes, options.root, options.writable)
  const supported = volumes.filter(volume => volume.found && isSupported(volume.found.type))
  // FAT has no owners and modes, so no system is installed there: it counts where there is nothing else.
  const others = supported.filter(volume => volume.found?.type !== 'vfat')
  const readable = others.length > 0 ? others : supported
  const [only] = readable
  if (only && only.found?.type !== 'btrfs' && readable.length === 1 && !volumes.some(mayHoldSystem))
    return openRoot({ volume: only }, options.writable)
  const problems: string[] = []
  const candidates: Candidate[] = []
  for (const volume of readable) {
    try {
      candidates.push(...(await inspect(volume, volumes)))
    } catch (error) {
      if (!isDrydiskError(error)) throw error
      problems.push(`${volume.name}: ${error.message}`)
    }
  }
  const system = onlySystem(candidates)
  if (system) return openRoot(system, options.writable)
  const [survivor] = candidates
  if (survivor && candidates.length === 1 && !volumes.some(mayHoldSystem))
    return openRoot(survivor, options.writable)
  throw noRoot(volumes, problems)
}

/** The installed system among what was looked into; `undefined` when there is none, an error when it cannot be told which. */
function onlySystem(candidates: readonly Candidate[]): Candidate | undefined {
  const systems = candidates.filter(candidate => candidate.isSystem)
  const named = systems.filter(candidate => candidate.namesItself)
  const left = named.length > 0 ? named : systems
  if (left.length > 1)
    throw new DrydiskError(
      'ERR_INVALID_ARGUMENT',
      `several installed systems: ${left.map(one => `${sourceText(one)} (${one.prettyName})`).join(', ')}; choose one as root`,
      { candidates: left.map(sourceText).join(',') },
    )
  return left[0]
}

/** Whether the system may be there for all that drydisk can read: what is beside it is then hardly the root. */
function mayHoldSystem({ found, unreadable }: GuestVolume): boolean {
  return unreadable !== undefined || (found?.usage === 'filesystem' && !isSupported(found.type))
}

function namesOf(volumes: readonly GuestVolume[]): string {
  const names = volumes.slice(0, MOST_NAMED).map(one => one.name)
  if (volumes.length > names.length) names.push(`${volumes.length - names.length} more`)
  return names.join(', ') || 'none'
}

function noRoot(volumes: readonly GuestVolume[], problems: readonly string[]): DrydiskError {
  if (volumes.length === 0)
    return new DrydiskError('ENOENT', 'there is no partition and no filesystem on this disk', {})
  const shown = volumes.slice(0, MOST_NAMED)
  const reasons = shown.map(volume => {
    const problem = problems.find(one => one.startsWith(`${volume.name}: `))
    if (problem) return problem
    if (volume.found && isSupported(volume.found.type)) return `${volume.name} holds no installed system`
    return `${volume.name} ${whyNot(volume)}`
  })
  if (volumes.length > shown.length) reasons.push(`nor on ${volumes.length - shown.length} more`)
  return new DrydiskError(
    volumes.some(
      volume => volume.unreadable !== undefined || (volume.found && !isSupported(volume.found.type)),
    )
      ? 'ERR_UNSUPPORTED'
      : 'ENOENT',
    `no root filesystem found: ${reasons.join('; ')}. If you know better, choose one (option root)`,
    { volumes: shown.map(volume => volume.name).join(',') },
  )
}

async function chosen(volumes: readonly GuestVolume[], root: string, writable: boolean): Promise<RootChoice> {
  const { spec, subvolume } = splitSource(root)
  const volume = findVolume(volumes, root) ?? findVolume(volumes, spec)
  if (!volume)
    throw new DrydiskError(
      'ERR_INVALID_ARGUMENT',
      `there is no volume ${root}: this disk has ${namesOf(volumes)}`,
      { root },
    )
  if (volume.found?.type !== 'btrfs') return openRoot({ volume }, writable)
  if (subvolume !== undefined) return openRoot({ volume }, writable, [`subvol=${subvolume}`])
  return openRoot(onlySystem(await inspect(volume, volumes)) ?? { volume }, writable)
}

async function openRoot(
  source: MountSource,
  writable: boolean,
  mountOptions = mountOptionsOf(source),
): Promise<RootChoice> {
  const { volume } = source
  if (!volume.found || !isSupported(volume.found.type))
    throw new DrydiskError('ERR_UNSUPPORTED', `${volume.name} ${whyNot(volume)}`, {
      volume: volume.name,
      type: volume.found?.type,
    })
  if (writable && volume.readOnly !== undefined)
    throw new DrydiskError('EROFS', `${volume.name} ${volume.readOnly}`, { volume: volume.name })
  const fs = await openFileSystem(volume.device, { writable, found: volume.found, mountOptions })
  return { volume, subvolume: subvolumeOf(fs), fs }
}

/** Of btrfs one candidate where a likely subvolume is a system, else all that are; those of snapshots are not looked into then. */
async function inspect(volume: GuestVolume, volumes: readonly GuestVolume[]): Promise<Candidate[]> {
  if (volume.found?.type !== 'btrfs') return [await inspectOne({ volume }, volumes)]
  const likely = await likelyRoots(volume)
  for (const subvolume of likely) {
    const candidate = await inspectOne({ volume, subvolume }, volumes)
    if (candidate.isSystem) return [candidate]
  }
  const systems: Candidate[] = []
  for (const subvolume of await otherSubvolumes(volume, likely)) {
    const candidate = await inspectOne({ volume, subvolume }, volumes)
    if (candidate.isSystem) systems.push(candidate)
  }
  const nothing = { volume, subvolume: likely[0], isSystem: false, namesItself: false, prettyName: '' }
  return systems.length > 0 ? systems : [nothing]
}

async function inspectOne(source: MountSource, volumes: readonly GuestVolume[]): Promise<Candidate> {
  const { fs } = await openRoot(source, false)
  try {
    const guest = new MountedGuest(new MountTable({ fs, source: sourceText(source) }))
    const has = async (path: string) => {
      try {
        await guest.lstat(path)
        return true
      } catch (error) {
        if (isDrydiskError(error, 'ENOENT', 'ENOTDIR', 'ELOOP')) return false
        throw error
      }
    }
    const any = async (...paths: string[]) => {
      for (const path of paths) if (await has(path)) return true
      return false
    }
    const isSystem =
      (await any('/etc/os-release', '/usr/lib/os-release', '/etc/fstab', '/etc/passwd')) &&
      (await has('/etc')) &&
      (await any('/usr', '/bin', '/sbin'))
    if (!isSystem) return { ...source, isSystem, namesItself: false, prettyName: '' }
    const fstab = (await guest.exists('/etc/fstab')) ? parseFstab(await guest.readText('/etc/fstab')) : []
    const rootEntry = fstab.find(entry => entry.file === '/')
    return {
      ...source,
      isSystem,
      namesItself:
        rootEntry !== undefined &&
        findVolume(volumes, rootEntry.spec) === source.volume &&
        asksFor(rootEntry.options, source.subvolume),
      prettyName: (await readIdentity(guest)).prettyName,
    }
  } finally {
    await fs.close()
  }
}
