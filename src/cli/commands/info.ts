import type { Command } from 'commander'
import { printable } from '../../bytes/names.ts'
import type { DiskImage } from '../../device/block-device.ts'
import { isDrydiskError } from '../../errors.ts'
import type { FileSystemUsage } from '../../filesystem/filesystem.ts'
import { isSupported, openFileSystem } from '../../filesystem/open.ts'
import type { GuestIdentity } from '../../guest/identity.ts'
import { openGuest } from '../../guest/open-guest.ts'
import { type GuestVolume, probeVolumes } from '../../guest/volume-spec.ts'
import { readVolumes } from '../../volume/read-volumes.ts'
import { UsageError } from '../errors.ts'
import { formatFacts } from '../format-facts.ts'
import { type ImageOptions, imageOptions } from '../options.ts'
import { humanSize, print, printJson } from '../output.ts'
import { closeDisk, openDisk } from '../session.ts'

export function configure(command: Command): void {
  imageOptions(command)
    .argument('[image]', 'the image')
    .addHelpText(
      'after',
      `
With --json: {"image", "format", "virtualSize", "formatSpecific"?, "backingFile"?, "snapshots", "table", "sectorSize",
"volumes": [{"name", "type", "typeName", "label", "uuid", "offset", "length", "filesystem"?: {"type", "uuid", "label",
"needsRecovery", "size"?, "free"?}}], "guest"?: {"root", "id", "family", "version", "name", "prettyName", "hostname",
"arch", "mounts"}, "warnings"}.

Examples:
  drydisk info disk.qcow2
  drydisk info --json disk.raw`,
    )
    .action(async (image: string | undefined, options: ImageOptions) => {
      const path = options.add ?? image
      if (path === undefined) throw new UsageError('which image? Name it first, or with -a IMAGE')
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

interface Info {
  readonly image: string
  readonly format: string
  readonly virtualSize: number
  readonly formatSpecific?: unknown
  readonly backingFile?: string
  readonly snapshots: readonly { id: string; name: string }[]
  readonly table: string
  readonly sectorSize: number
  readonly volumes: readonly {
    name: string
    type: string
    typeName: string
    label: string
    uuid: string
    offset: number
    length: number
    filesystem?: FilesystemInfo
  }[]
  readonly guest?: GuestIdentity & {
    root: string
    mounts: readonly { path: string; source: string; type: string }[]
  }
  readonly warnings: readonly string[]
}

async function gather(path: string, disk: DiskImage, root: string | undefined): Promise<Info> {
  const { table, sectorSize, volumes, warnings: tableWarnings } = await readVolumes(disk)
  const warnings = [...tableWarnings]
  const listed: Info['volumes'][number][] = []
  for (const volume of await probeVolumes(volumes)) {
    const { name, type, typeName, label, uuid, offset, length } = volume
    const filesystem = await filesystemInfo(volume, warnings)
    listed.push({ name, type, typeName, label, uuid, offset, length, ...(filesystem ? { filesystem } : {}) })
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
      if (identity.id !== 'unknown' || identity.hostname !== '' || root !== undefined)
        guest = { root: opened.rootVolume, ...identity, mounts }
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
    ...(guest ? { guest } : {}),
    warnings,
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
    ...info.volumes.map(volumeLine),
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
  }
  if (info.warnings.length > 0) lines.push('')
  for (const warning of info.warnings) lines.push(`warning:  ${printable(warning)}`)
  return `${lines.join('\n')}\n`
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

function volumeLine(volume: Info['volumes'][number]): string {
  const { filesystem: fs } = volume
  const parts = [
    volume.name.padEnd(12),
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
  if (volume.label !== '') parts.push(` "${printable(volume.label)}"`)
  return parts.join('')
}
