import type { Command } from 'commander'
import { printable } from '../../bytes/names.ts'
import type { DiskImage } from '../../device/block-device.ts'
import { isDrydiskError } from '../../errors.ts'
import type { FileSystemUsage } from '../../filesystem/filesystem.ts'
import { isSupported, openFileSystem } from '../../filesystem/open.ts'
import type { GuestIdentity } from '../../guest/identity.ts'
import { openGuest } from '../../guest/open-guest.ts'
import { type GuestVolume, probeVolumes } from '../../guest/volume-spec.ts'
import { formatFacts } from '../../library/format-facts.ts'
import { type GuestFacts, readGuestFacts } from '../../operations/guest-facts.ts'
import { readVolumes } from '../../volume/read-volumes.ts'
import type { PhysicalVolume, Volume, VolumeGroup } from '../../volume/volume.ts'
import { UsageError } from '../errors.ts'
import { type ImageOptions, imageOptions } from '../options.ts'
import { humanSize, print, printJson } from '../output.ts'
import { closeDisk, openDisk } from '../session.ts'
import { imageAndPaths } from '../target.ts'

export function configure(command: Command): void {
  imageOptions(command)
    .argument('[image]', 'the image')
    .addHelpText(
      'after',
      `
With --json: {"image", "format", "virtualSize", "formatSpecific"?, "backingFile"?, "snapshots", "table", "sectorSize",
"volumes": [{"kind", "name", "aliases", "type", "typeName", "label", "uuid", "offset"?, "length", "unreadable"?, "readOnly"?,
"filesystem"?: {"type", "uuid", "label", "needsRecovery", "size"?, "free"?}}], "groups": [{"name", "uuid", "seqno", "extentSize",
"physicalVolumes": [{"uuid", "name"?, "extents", "freeExtents"}], "logicalVolumes"}], "guest"?: {"root", "id", "family", "version", "name", "prettyName", "hostname",
"arch", "mounts", "bootloader", "firmware", "init", "selinux": {"mode", "type"}, "packages": {"database", "file", "count"?}, "agents":
{NAME: VERSION}, "kernels": [{"release", "modules", "image", "entries", "default"}], "bootEntries": [{"title", "loader", "kernel",
"initrd", "arguments", "written", "file", "line", "default", "recovery", "foreign"}]}, "warnings"}.

Examples:
  drydisk info disk.qcow2
  drydisk info --json disk.raw`,
    )
    .action(async (_image: string | undefined, options: ImageOptions) => {
      const { image: path, paths } = imageAndPaths(command.args, options.add)
      if (paths.length > 0) throw new UsageError(`one image at a time: what is "${paths[0]}"?`)
      const disk = await openDisk(path, options, false)
      try {
        const info = await gather(path, disk, options.root)
        if (options.json) await printJson(info)
        else await print(asText(info))
      } finally {
        await closeDisk(disk)
      }
    })
}

interface FilesystemInfo {
  readonly type: string
  readonly uuid: string
  readonly label: string
  readonly needsRecovery: boolean
  /** Bytes. */
  readonly size?: number
  readonly free?: number
}

type VolumeInfo = Pick<
  Volume,
  'kind' | 'name' | 'aliases' | 'type' | 'typeName' | 'label' | 'uuid' | 'length' | 'unreadable' | 'readOnly'
> & {
  /** None of a logical volume. */
  readonly offset?: number
  readonly filesystem?: FilesystemInfo
}

type GroupInfo = Omit<VolumeGroup, 'physicalVolumes'> & {
  readonly physicalVolumes: readonly (Omit<PhysicalVolume, 'free' | 'name'> & { readonly name?: string })[]
}

interface Info {
  readonly image: string
  readonly format: string
  readonly virtualSize: number
  readonly formatSpecific?: unknown
  readonly backingFile?: string
  readonly snapshots: readonly { id: string; name: string }[]
  readonly table: string
  readonly sectorSize: number
  readonly volumes: readonly VolumeInfo[]
  readonly groups: readonly GroupInfo[]
  readonly guest?: GuestIdentity &
    Omit<GuestFacts, 'warnings'> & {
      root: string
      mounts: readonly { path: string; source: string; type: string }[]
    }
  readonly warnings: readonly string[]
}

async function gather(path: string, disk: DiskImage, root: string | undefined): Promise<Info> {
  const { table, sectorSize, volumes, groups, warnings: tableWarnings } = await readVolumes(disk)
  const warnings = [...tableWarnings]
  const listed: VolumeInfo[] = []
  for (const volume of await probeVolumes(volumes)) {
    const { kind, name, aliases, type, typeName, label, uuid, offset, length, unreadable, readOnly } = volume
    const filesystem = await filesystemInfo(volume, warnings)
    listed.push({
      ...{ kind, name, aliases, type, typeName, label, uuid },
      ...(offset === undefined ? {} : { offset }),
      length,
      ...(unreadable === undefined ? {} : { unreadable }),
      ...(readOnly === undefined ? {} : { readOnly }),
      ...(filesystem ? { filesystem } : {}),
    })
  }
  let guest: Info['guest']
  try {
    const opened = await openGuest(volumes, root === undefined ? {} : { root })
    try {
      const identity = await opened.identity()
      const mounts = opened.mounts.map(mount => ({
        path: mount.path,
        source: mount.source,
        type: mount.type,
      }))
      if (identity.id !== 'unknown' || identity.hostname !== '' || root !== undefined) {
        const { warnings: unread, ...facts } = await readGuestFacts(opened.fs)
        guest = { root: opened.fs.table.root.source, ...identity, mounts, ...facts }
        warnings.push(...unread)
      }
      warnings.push(...opened.warnings.filter(warning => !warnings.includes(warning)))
    } finally {
      await opened.close()
    }
  } catch (error) {
    // An image need not hold a guest; why none was found is worth a word all the same.
    if (!isDrydiskError(error)) throw error
    warnings.push(error.message)
  }
  return {
    image: path,
    format: disk.format,
    virtualSize: disk.size,
    ...formatFacts(disk),
    table,
    sectorSize,
    volumes: listed,
    groups: groups.map(groupInfo),
    ...(guest ? { guest } : {}),
    warnings,
  }
}

function groupInfo({ physicalVolumes, ...group }: VolumeGroup): GroupInfo {
  return {
    ...group,
    physicalVolumes: physicalVolumes.map(({ uuid, name, extents, freeExtents }) => ({
      uuid,
      ...(name === undefined ? {} : { name }),
      extents,
      freeExtents,
    })),
  }
}

async function filesystemInfo(volume: GuestVolume, warnings: string[]): Promise<FilesystemInfo | undefined> {
  const { found } = volume
  if (!found) return undefined
  const { type, uuid, label, needsRecovery } = found
  const common = { type, uuid, label, needsRecovery }
  if (!isSupported(type)) return common
  try {
    const fs = await openFileSystem(volume.device, { writable: false, found })
    try {
      const usage: FileSystemUsage = await fs.statfs()
      return {
        ...common,
        type: fs.type,
        size: usage.blocks * usage.blockSize,
        free: usage.freeBlocks * usage.blockSize,
      }
    } finally {
      await fs.close()
    }
  } catch (error) {
    if (!isDrydiskError(error)) throw error
    warnings.push(`${volume.name}: ${error.message}`)
    return common
  }
}

function asText(info: Info): string {
  const lines = [
    `image:    ${printable(info.image)}`,
    `format:   ${info.format}${detailsOf(info.formatSpecific)}`,
    `size:     ${humanSize(info.virtualSize)} (${info.virtualSize} bytes)`,
  ]
  if (info.backingFile !== undefined) lines.push(`backing:  ${printable(info.backingFile)}`)
  for (const { id, name } of info.snapshots) lines.push(`snapshot: ${printable(id)} ${printable(name)}`)
  lines.push(
    `table:    ${info.table}${info.table === 'none' ? '' : `, ${info.sectorSize}-byte sectors`}`,
    '',
    ...volumeLines(info),
    ...info.groups.map(groupLine),
  )
  if (info.guest) {
    const { prettyName, hostname, arch, root, mounts } = info.guest
    lines.push('', `guest:    ${printable(prettyName)}`)
    if (hostname !== '') lines.push(`hostname: ${printable(hostname)}`)
    if (arch !== '') lines.push(`arch:     ${arch}`)
    lines.push(`root:     ${root}`)
    for (const mount of mounts)
      if (mount.path !== '/')
        lines.push(
          `mount:    ${printable(mount.path)} is ${printable(mount.source)} (${printable(mount.type)})`,
        )
    lines.push(...factLines(info.guest))
  }
  if (info.warnings.length > 0) lines.push('')
  for (const warning of info.warnings) lines.push(`warning:  ${printable(warning)}`)
  return `${lines.join('\n')}\n`
}

function factLines(facts: Omit<GuestFacts, 'warnings'>): string[] {
  const { bootloader, firmware, init, selinux, packages, agents, kernels, bootEntries } = facts
  const lines: string[] = []
  if (bootloader !== 'unknown')
    lines.push(`boot:     ${bootloader}${firmware.length > 0 ? ` (${firmware.join(', ')})` : ''}`)
  for (const { release, modules, image, entries, default: isDefault } of kernels) {
    const remarks = [
      ...(isDefault ? ['default'] : []),
      ...(entries === 0 ? ['no boot entry'] : []),
      ...(modules ? [] : ['no modules']),
      ...(image === '' ? ['no image'] : []),
    ]
    lines.push(`kernel:   ${printable(release)}${remarks.length > 0 ? ` (${remarks.join(', ')})` : ''}`)
  }
  const first = bootEntries.find(entry => entry.default)
  if (first) lines.push(`cmdline:  ${printable(first.arguments)}`)
  lines.push(`init:     ${init}`)
  if (selinux.mode !== 'absent') lines.push(`selinux:  ${selinux.mode} (${printable(selinux.type)})`)
  if (packages.database !== 'none')
    lines.push(`packages: ${packages.count === undefined ? '' : `${packages.count} by `}${packages.database}`)
  for (const [name, version] of Object.entries(agents)) lines.push(`agent:    ${name} ${printable(version)}`)
  return lines
}

/** The facts of the format as `name value`, without those that are off. */
function detailsOf(facts: unknown): string {
  if (typeof facts !== 'object' || facts === null) return ''
  const words: string[] = []
  for (const [name, value] of Object.entries(facts))
    if (value === true) words.push(name)
    else if (typeof value === 'string' || typeof value === 'number') words.push(`${name} ${value}`)
  return words.length === 0 ? '' : ` (${printable(words.join(', '))})`
}

function volumeLines({ volumes, groups }: Info): string[] {
  let width = 12
  for (const { name } of volumes) width = Math.min(40, Math.max(width, name.length))
  const groupOf = new Map<string | undefined, string>()
  for (const group of groups) for (const { name } of group.physicalVolumes) groupOf.set(name, group.name)
  return volumes.map(volume => volumeLine(volume, width, groupOf.get(volume.name)))
}

function volumeLine(volume: VolumeInfo, width: number, group: string | undefined): string {
  const { filesystem: fs } = volume
  const parts = [
    volume.name.padEnd(width),
    humanSize(volume.length).padStart(10),
    ' ',
    fs?.type ?? (volume.typeName || '-'),
  ]
  if (fs?.label) parts.push(` LABEL=${printable(fs.label)}`)
  if (fs?.uuid) parts.push(` UUID=${printable(fs.uuid)}`)
  if (fs?.size !== undefined && fs.free !== undefined) {
    const used = fs.size - fs.free
    parts.push(` ${humanSize(used)} of ${humanSize(fs.size)} used`)
  }
  if (fs?.needsRecovery) parts.push(' (journal needs recovery)')
  if (group !== undefined) parts.push(` of the volume group ${group}`)
  if (volume.unreadable !== undefined) parts.push(` (${printable(volume.unreadable)})`)
  else if (volume.readOnly !== undefined) parts.push(` (${printable(volume.readOnly)})`)
  if (volume.label !== '') parts.push(` "${printable(volume.label)}"`)
  return parts.join('')
}

function groupLine({ name, extentSize, physicalVolumes }: GroupInfo): string {
  const total = physicalVolumes.reduce((sum, { extents }) => sum + extents, 0)
  const free = physicalVolumes.reduce((sum, { freeExtents }) => sum + freeExtents, 0)
  const missing = physicalVolumes.filter(volume => volume.name === undefined).length
  const absent =
    missing === 0 ? '' : `, ${missing} of ${physicalVolumes.length} physical volumes not on this disk`
  return `group ${name}: ${humanSize(total * extentSize)}, ${humanSize(free * extentSize)} free${absent}`
}
