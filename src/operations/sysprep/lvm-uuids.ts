import { bytesOfKey } from '../../bytes/names.ts'
import { DrydiskError } from '../../errors.ts'
import { parseFstab } from '../../guest/fstab.ts'
import { type LvmIdChange, planLvmIds } from '../../volume/lvm/change-ids.ts'
import { displayPath } from '../guest-files.ts'
import { textsInInitramfs } from '../initramfs-content.ts'
import { BootReferences, type Renaming } from './boot-references.ts'
import { withReferences } from './boot-trees.ts'
import { statAt, textAt } from './lenient.ts'
import { lvmIdSpellings, replaceLvmIds } from './lvm-id-text.ts'
import type { GuestDisk, SysprepContext, SysprepTask } from './task.ts'

/**
 * Where LVM2 itself keeps ids: its settings (a filter may name a link of udev's), what it may use (lvmdevices(8)), and its backups, which
 * vgcfgrestore(8) restores on physical volumes of the ids in them.
 */
const LVM_FILES = [
  '/etc/lvm/*.conf',
  '/etc/lvm/archive/*',
  '/etc/lvm/backup/*',
  '/etc/lvm/devices/*',
  '/etc/lvm/devices/backup/*',
]

/** GRUB's images that cannot be changed where they are, beside the files that they find. */
const GRUB_IMAGES = ['/grub*/*-pc/core.img', '/grub*/*-ieee1275/core.elf']

/** By their names on the device mapper, the volumes that fstab mounts are logical ones. */
const LOGICAL = /^\/dev\/(?:mapper\/(?!control)|dm-\d)/

/**
 * New UUIDs for volume groups and physical volumes of LVM2, and their names in whatever the boot and LVM2 read. The metadata is written when
 * nothing is mounted any more, before the commit. What cannot be changed is a warning, and an error where the operation is asked for by name.
 */
export const lvmUuidsTask: SysprepTask = {
  name: 'lvm-uuids',
  byDefault: true,
  last: true,
  summary: 'change the UUIDs of volume groups and physical volumes of LVM2, and their names in boot loaders',
  async run(context) {
    const { settings, named } = context
    const { disk } = settings
    if (disk === undefined) return withoutDisk(context)
    const refuse = (error: DrydiskError) => {
      if (named) throw error
      context.report.warn(error.message)
    }
    const { changes, kept } = await planLvmIds(disk.volumes)
    for (const error of kept) refuse(error)
    const needed = await inInitramfs(context, changes)
    for (const change of changes) {
      const why = needed.get(change) ?? (await inGrub(context, disk, change))
      if (why === undefined) await rename(context, disk, change, refuse)
      else refuse(why)
    }
  },
}

async function withoutDisk({ guest, named, report }: SysprepContext): Promise<void> {
  const { text } = (await textAt(guest, '/etc/fstab')) ?? { text: '' }
  if (named || parseFstab(text).some(({ spec }) => LOGICAL.test(spec)))
    report.warn(
      'the UUIDs of LVM2 stay as they are, as there is no disk at hand: drydisk sysprep IMAGE changes them',
    )
}

async function rename(
  context: SysprepContext,
  disk: GuestDisk,
  change: LvmIdChange,
  refuse: (error: DrydiskError) => void,
): Promise<void> {
  const { report } = context
  const spellings = lvmIdSpellings(change.ids)
  const renaming: Renaming = {
    setting: 'LVM2 UUIDs',
    files: LVM_FILES,
    replace: text => replaceLvmIds(text, spellings),
  }
  await withReferences(context, disk, renaming, async found => {
    const signed = found.all.find(reference => reference.signed)
    if (signed !== undefined)
      return refuse(
        needs(change, signed.shown, 'names it by its UUID and is signed, so it cannot be changed'),
      )
    await found.write(report)
    for (const { of, name, before, after } of change.ids)
      report.always(`UUID of ${of}`, before, after, of === 'volume group' ? `/dev/${name}` : name)
    disk.afterClose(() => change.apply())
  })
}

/**
 * Those that an initramfs names, as dracut may have it wait for a link of udev's. One that is packed in a way that is not known is passed over:
 * what makes them names logical volumes by group and name.
 */
async function inInitramfs(
  { guest }: SysprepContext,
  changes: readonly LvmIdChange[],
): Promise<ReadonlyMap<LvmIdChange, DrydiskError>> {
  const needed = new Map<LvmIdChange, DrydiskError>()
  if (changes.length === 0) return needed
  const spellings = changes.map(change => ({ change, texts: [...lvmIdSpellings(change.ids).keys()] }))
  for (const path of await BootReferences.ofGuest(guest).initramfs()) {
    const named = await textsInInitramfs(
      guest,
      path,
      spellings.flatMap(({ texts }) => texts),
    )
    for (const { change, texts } of spellings)
      if (texts.some(text => named?.includes(text)))
        needed.set(
          change,
          needs(
            change,
            displayPath(bytesOfKey(path)),
            'was made for this machine alone and names it by its UUID',
            "Make it anew in the guest's system (dracut --no-hostonly --regenerate-all --force), or leave lvm-uuids out",
          ),
        )
  }
  return needed
}

/**
 * GRUB that is installed for a BIOS or Open Firmware finds its files on a logical volume by `lvmid/GROUP/VOLUME`, which grub-install has put into its image
 * (compressed, for a BIOS), at the beginning of the disk or in a partition of its own.
 */
async function inGrub(
  { guest }: SysprepContext,
  disk: GuestDisk,
  change: LvmIdChange,
): Promise<DrydiskError | undefined> {
  for (const path of await BootReferences.ofGuest(guest).find(GRUB_IMAGES)) {
    const dev = (await statAt(guest, bytesOfKey(path)))?.dev
    const source = disk.mounts.find(mount => mount.dev === dev)?.source.replace(/\[.*$/, '') ?? ''
    if (change.logicalVolumes.includes(source))
      return needs(
        change,
        displayPath(bytesOfKey(path)),
        `is the image of GRUB that finds ${source} by the UUID of its volume group, and cannot be changed where it is installed`,
        'Leave lvm-uuids out; where disks of two clones get into one machine, vgimportclone(8) gives one of them new UUIDs',
      )
  }
  return undefined
}

function needs(
  { name, ids }: LvmIdChange,
  path: string,
  why: string,
  instead = 'Leave lvm-uuids out',
): DrydiskError {
  return new DrydiskError(
    'ERR_NOT_EFFECTIVE',
    `the ${ids[0]?.of} ${name} keeps its UUID: ${path} ${why}. With a new one the guest would not boot. ${instead}`,
    { path, volume: name },
  )
}
