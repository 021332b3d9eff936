import { DrydiskError } from '../../errors.ts'
import { parseFstab } from '../../guest/fstab.ts'
import { textAt } from './lenient.ts'
import type { SysprepTask } from './task.ts'

/** By their names on the device mapper, the volumes that fstab mounts are logical ones. */
const LOGICAL = /^\/dev\/(?:mapper\/(?!control)|dm-\d)/

export const refusedTasks: readonly SysprepTask[] = [
  {
    name: 'lvm-uuids',
    byDefault: true,
    summary: 'nothing: LVM2 UUIDs stay, and a guest on LVM2 gets a warning',
    async run({ guest, named, report, tree }) {
      const { text } = (await textAt(guest, '/etc/fstab')) ?? { text: '' }
      // What the guest's LVM2 last knew of its volume groups (lvm.conf(5), backup_dir).
      const groups = await tree.glob('/etc/lvm/backup/*')
      if (groups.length === 0 && !parseFstab(text).some(({ spec }) => LOGICAL.test(spec))) return
      if (named)
        throw new DrydiskError(
          'ERR_UNSUPPORTED',
          'lvm-uuids: drydisk does not change UUIDs of LVM2. Where disks of two clones get into one machine, vgimportclone(8) gives one of them new UUIDs',
        )
      report.warn(
        'the UUIDs of LVM2 stay as they are: where disks of two clones get into one machine, vgimportclone(8) gives one of them new ones',
      )
    },
  },
  {
    name: 'script',
    byDefault: true,
    summary: 'nothing: programs of the host do not run on the guest (--script is refused)',
    run: async () => undefined,
  },
]
