import { parseUuid, randomUuid } from '../../bytes/guid.ts'
import { DrydiskError } from '../../errors.ts'
import { canChangeUuid, changeUuid } from '../../filesystem/change-uuid.ts'
import type { Probe } from '../../filesystem/probe.ts'
import type { GuestVolume } from '../../guest/volume-spec.ts'
import { displayPath } from '../guest-files.ts'
import { textsInInitramfs } from '../initramfs-content.ts'
import { BootReferences, type Renaming } from './boot-references.ts'
import { withReferences } from './boot-trees.ts'
import { setBootPartition } from './grub-core-image.ts'
import type { GuestDisk, SysprepContext, SysprepTask } from './task.ts'
import { replaceUuids, spellings } from './uuid-text.ts'

type Found = GuestVolume & { readonly found: Probe }

/**
 * New UUIDs for the filesystems and swap spaces of the guest's disk, and their names in whatever the boot reads. The filesystems
 * themselves are changed when everything else is written and nothing is mounted any more, before the commit.
 */
export const fsUuidsTask: SysprepTask = {
  name: 'fs-uuids',
  byDefault: false,
  last: true,
  summary: 'change the UUIDs of ext2, ext3, ext4, XFS and swap, and their names in fstab and boot loaders',
  async run(context) {
    const { report, settings, guest } = context
    const { disk } = settings
    if (disk === undefined) {
      report.warn(
        'there is no disk at hand whose filesystems could be changed: drydisk sysprep IMAGE does it on an image',
      )
      return
    }
    const volumes = changeable(context, disk)
    const references = BootReferences.ofGuest(guest)
    const kept = await namedByInitramfs(context, references, volumes)
    const chosen = volumes.filter(volume => !kept.has(volume.found.uuid))
    const renamed = new Map(chosen.map(({ found }) => [found.uuid.toLowerCase(), randomUuid()]))
    await settleGrub(context, disk, references, chosen)
    await warnOfOldKernels(context, chosen)
    const renaming: Renaming = {
      setting: 'filesystem UUIDs',
      replace: text => replaceUuids(text, renamed),
    }
    await withReferences(context, disk, renaming, async found => {
      const signed = found.all.find(reference => reference.signed)
      if (signed !== undefined)
        throw new DrydiskError(
          'ERR_NOT_EFFECTIVE',
          `${signed.shown} names a filesystem by its UUID and is signed, so it cannot be changed: the guest would not find that filesystem. Leave fs-uuids out`,
          { path: signed.shown },
        )
      await found.write(report)
    })
    for (const { name, found, device } of chosen) {
      const uuid = renamed.get(found.uuid.toLowerCase()) ?? ''
      report.always(`UUID of ${found.type}`, found.uuid, uuid, name)
      disk.afterClose(() => changeUuid(device, found, parseUuid(uuid) ?? new Uint8Array(16)))
    }
  },
}

function changeable({ report }: SysprepContext, disk: GuestDisk): Found[] {
  const volumes: Found[] = []
  for (const volume of disk.volumes) {
    const { found, name } = volume
    if (found === undefined || found.uuid === '' || !/^(?:filesystem|swap)$/.test(found.usage)) continue
    const why = volume.unreadable ?? volume.readOnly
    if (why !== undefined) report.warn(`${name} keeps its UUID: it ${why}`)
    else if (!canChangeUuid(found)) report.warn(`${name} keeps its UUID: it is ${found.type}`)
    else volumes.push({ ...volume, found })
  }
  const seen = new Set<string>()
  for (const { name, found } of volumes) {
    const uuid = found.uuid.toLowerCase()
    if (seen.has(uuid))
      throw new DrydiskError(
        'ERR_UNSUPPORTED',
        `the UUID ${uuid} is that of ${name} and of another filesystem of the disk, so what names it cannot be told apart`,
        { volume: name },
      )
    seen.add(uuid)
  }
  return volumes
}

/**
 * An initramfs that was made for one machine waits for filesystems by their UUID, and for the swap space that a hibernated
 * system would be in: dracut (wait_for_dev of host-only images) and initramfs-tools (conf/conf.d/resume).
 * @returns swap space that therefore keeps its UUID.
 */
async function namedByInitramfs(
  { guest, report }: SysprepContext,
  references: BootReferences,
  volumes: readonly Found[],
): Promise<Set<string>> {
  const kept = new Set<string>()
  const texts = volumes.flatMap(({ found }) => spellings(found.uuid.toLowerCase()))
  for (const path of volumes.length > 0 ? await references.initramfs() : []) {
    const named = await textsInInitramfs(guest, path, texts)
    if (named === undefined) {
      report.warn(
        `${path} is packed by none of gzip, zstd, xz and lz4, so whether it names a filesystem by its UUID is not known: one that dracut made for its machine alone (hostonly=yes) does, and would not find it`,
      )
      continue
    }
    for (const { name, found } of volumes) {
      if (!spellings(found.uuid.toLowerCase()).some(text => named.includes(text))) continue
      if (found.usage !== 'swap')
        throw new DrydiskError(
          'ERR_NOT_EFFECTIVE',
          `${path} was made for this machine alone and waits for ${name} by its UUID ${found.uuid}: with a new one the guest would not boot. Make it anew in the guest's system (dracut --no-hostonly --regenerate-all --force), or leave fs-uuids out`,
          { path, volume: name, uuid: found.uuid },
        )
      if (!kept.has(found.uuid)) report.warn(`${name} keeps its UUID: ${path} waits for that swap space`)
      kept.add(found.uuid)
    }
  }
  return kept
}

/**
 * GRUB's image for a BIOS searches for its filesystem where grub-install did not know the disk, as when an image is built on a loop
 * device. The search is compressed in it; when it fails, GRUB goes on with the partition that it is told here.
 */
async function settleGrub(
  { guest, report }: SysprepContext,
  disk: GuestDisk,
  references: BootReferences,
  chosen: readonly Found[],
): Promise<void> {
  const uuids = chosen.map(({ found }) => found.uuid.toLowerCase())
  for (const { path, uuid } of await references.embedded(uuids)) {
    const volume = chosen.find(({ found }) => found.uuid.toLowerCase() === uuid)
    const core = path.replace(/[^/]*$/, 'core.img')
    const { device } = disk
    let why: string | undefined = 'it is compressed'
    if (device !== undefined && volume?.kind === 'partition' && (await guest.exists(core)))
      why = path.includes('/i386-pc/')
        ? await setBootPartition(device, await guest.readFile(core), volume.number ?? 0)
        : why
    if (why !== undefined)
      throw new DrydiskError(
        'ERR_NOT_EFFECTIVE',
        `${path} shows that GRUB's image at the beginning of the disk searches for the filesystem ${uuid}, which it would not find any more, and the image cannot be changed: ${why}. Leave fs-uuids out`,
        { path, uuid },
      )
    report.always('partition of GRUB', 'searched for by its UUID', volume?.name ?? '', core, {
      note: 'the search that is built into GRUB fails with a message now, and GRUB goes on',
    })
  }
}

/** The feature metauuid came with Linux 4.3; older ones have it where the distribution brought it back. */
async function warnOfOldKernels({ guest, report }: SysprepContext, chosen: readonly Found[]): Promise<void> {
  if (!chosen.some(({ found }) => found.type === 'xfs')) return
  for (const { name } of await guest.readdir('/lib/modules').catch(() => [])) {
    const release = displayPath(name)
    const [, major, minor] = /^(\d+)\.(\d+)\./.exec(release) ?? []
    if (major !== undefined && Number(major) * 1000 + Number(minor) < 4003)
      report.warn(
        `kernel ${release} mounts XFS with a changed UUID only where its distribution has brought the feature metauuid of Linux 4.3 back`,
      )
  }
}
