import type { Command } from 'commander'
import { printable } from '../../bytes/names.ts'
import {
  type ImageInfo,
  readImageInfo,
  type VolumeGroupInfo,
  type VolumeInfo,
} from '../../library/image-info.ts'
import type { GuestFacts } from '../../operations/guest-facts.ts'
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
        const info = await readImageInfo(path, disk, options.root)
        if (options.json) await printJson(info)
        else await print(asText(info))
      } finally {
        await closeDisk(disk)
      }
    })
}

function asText(info: ImageInfo): string {
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

function volumeLines({ volumes, groups }: ImageInfo): string[] {
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

function groupLine({ name, extentSize, physicalVolumes }: VolumeGroupInfo): string {
  const total = physicalVolumes.reduce((sum, { extents }) => sum + extents, 0)
  const free = physicalVolumes.reduce((sum, { freeExtents }) => sum + freeExtents, 0)
  const missing = physicalVolumes.filter(volume => volume.name === undefined).length
  const absent =
    missing === 0 ? '' : `, ${missing} of ${physicalVolumes.length} physical volumes not on this disk`
  return `group ${name}: ${humanSize(total * extentSize)}, ${humanSize(free * extentSize)} free${absent}`
}
