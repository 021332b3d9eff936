import { isDrydiskError } from '../errors.ts'
import { whyUnsupported } from '../filesystem/open.ts'
import { type Probe, probe } from '../filesystem/probe.ts'
import type { Volume } from '../volume/volume.ts'

/** A volume with what its signatures say. */
export type GuestVolume = Volume & { readonly found: Probe | undefined }

/** Why a volume cannot be opened as a filesystem, in words that follow its name. */
export function whyNot(volume: GuestVolume): string {
  return volume.unreadable ?? whyUnsupported(volume.found)
}

/** Looks at the signatures of each volume; one that cannot be read shows as one without any. */
export async function probeVolumes(volumes: readonly Volume[]): Promise<GuestVolume[]> {
  const out: GuestVolume[] = []
  for (const volume of volumes) {
    const found = await probe(volume.device).catch((error: unknown) => {
      if (isDrydiskError(error)) return undefined
      throw error
    })
    out.push({ ...volume, found })
  }
  return out
}

/** udev writes what is not safe in a file name as `\xNN`. */
function udevText(name: string): string {
  const bytes: number[] = []
  for (let i = 0; i < name.length; i++) {
    const match = /^\\x([0-9a-fA-F]{2})/.exec(name.slice(i, i + 4))
    if (match?.[1]) {
      bytes.push(Number.parseInt(match[1], 16))
      i += 3
    } else bytes.push(...new TextEncoder().encode(name[i]))
  }
  return new TextDecoder().decode(new Uint8Array(bytes))
}

/** `UUID`, `LABEL`, … and value of a spec that names a volume by what it carries. */
function tagOf(spec: string): { tag: string; value: string } | undefined {
  const assignment = /^(UUID|LABEL|PARTUUID|PARTLABEL)=(.*)$/.exec(spec)
  if (assignment?.[1]) return { tag: assignment[1], value: assignment[2] ?? '' }
  const link = /^\/dev\/disk\/by-(uuid|label|partuuid|partlabel)\/(.+)$/.exec(spec)
  if (link?.[1]) return { tag: link[1].toUpperCase(), value: udevText(link[2] ?? '') }
  return undefined
}

/** Partition number of a kernel name on the first disk of its kind: /dev/sda3, /dev/vda3, /dev/nvme0n1p3. */
function numberOf(spec: string): number | undefined {
  const match =
    /^\/dev\/(?:sd|vd|xvd|hd)a(\d*)$/.exec(spec) ?? /^\/dev\/(?:nvme0n1|mmcblk0|pmem0)(?:p(\d+))?$/.exec(spec)
  return match ? Number(match[1] || 0) : undefined
}

/** A path such as by-path/…-part3 or by-id/…-part3 names the disk in ways an image does not know, and the partition. */
function numberOfDiskLink(spec: string): number | undefined {
  const match = /^\/dev\/disk\/by-(?:path|id|diskseq)\/.*-part(\d+)$/.exec(spec)
  return match ? Number(match[1]) : undefined
}

/** The volume that the first field of an fstab line, or root= of a kernel command line, names. */
export function findVolume(volumes: readonly GuestVolume[], spec: string): GuestVolume | undefined {
  const tag = tagOf(spec)
  if (tag) {
    const same = (text: string) => text !== '' && text.toLowerCase() === tag.value.toLowerCase()
    switch (tag.tag) {
      case 'UUID':
        return volumes.find(volume => same(volume.found?.uuid ?? ''))
      case 'LABEL':
        return volumes.find(volume => tag.value !== '' && volume.found?.label === tag.value)
      case 'PARTUUID':
        return volumes.find(volume => volume.kind === 'partition' && same(volume.uuid))
      default:
        return volumes.find(volume => tag.value !== '' && volume.label === tag.value)
    }
  }
  const number = numberOf(spec) ?? numberOfDiskLink(spec)
  if (number !== undefined) return volumes.find(volume => volume.number === number)
  return volumes.find(volume => volume.name === spec || volume.aliases.includes(spec))
}
