import type { GuestFs } from '../guest/guest-fs.ts'
import { readIdentity } from '../guest/identity.ts'
import { CloudConfig, hasCloudInit, showValue } from './cloud-config-of-guest.ts'
import { growsInOrder } from './cloud-init-state.ts'
import { lstatOrUndefined, readConfig, writeConfig } from './guest-files.ts'
import type { Operation } from './operation.ts'
import { ReportBuilder } from './report.ts'
import { initSystem } from './services/init-system.ts'
import { enableUnit } from './services/systemd.ts'

const PROGRAMS = ['/usr/bin/growpart', '/usr/sbin/growpart', '/bin/growpart']
/** cloud-init's growpart module does nothing where this file is (its documentation, `ignore_growroot_disabled`). */
const DISABLED = '/etc/growroot-disabled'

const SCRIPT_PATH = '/usr/local/sbin/drydisk-growroot'
const UNIT = 'drydisk-growroot.service'
const UNIT_PATH = `/etc/systemd/system/${UNIT}`

const SCRIPT = `#!/bin/sh
# Grows the root partition to the end of its disk, and the filesystem with it. Written by drydisk.
# A root on a logical volume or on a whole disk has no partition number and is left as it is.
set -u
source=$(findmnt -n -o SOURCE /) || exit 1
device=$(readlink -f "\${source%%[*}")
name=\${device##*/}
[ -r "/sys/class/block/$name/partition" ] || exit 0
number=$(cat "/sys/class/block/$name/partition")
disk=$(readlink -f "/sys/class/block/$name/..")
growpart "/dev/\${disk##*/}" "$number"
# 1 says that there was nothing to grow.
[ $? -le 1 ] || exit 1
case $(findmnt -n -o FSTYPE /) in
  ext[234]) exec resize2fs "$device" ;;
  xfs) exec xfs_growfs / ;;
  btrfs) exec btrfs filesystem resize max / ;;
esac
`

const UNIT_TEXT = `[Unit]
Description=Grow the root filesystem to the size of the disk
After=local-fs.target
ConditionPathExists=!${DISABLED}

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=${SCRIPT_PATH}

[Install]
WantedBy=multi-user.target
`

export const growroot: Operation<Readonly<Record<string, never>>> = {
  name: 'growroot',
  summary: 'Have the root filesystem grow to the size of the disk at boot',
  async run(guest) {
    const report = new ReportBuilder('growroot')
    if (await lstatOrUndefined(guest, DISABLED)) {
      await guest.unlink(DISABLED)
      report.always('growing the root partition', 'forbidden', 'allowed', DISABLED)
    }
    if (await hasCloudInit(guest)) await byCloudInit(guest, report)
    else await byUnit(guest, report)
    await checkProgram(guest, report)
    return report.build()
  },
}

/** cloud-init's modules `growpart` and `resizefs` do it where they are listed and nothing switches them off. */
async function byCloudInit(guest: GuestFs, report: ReportBuilder): Promise<void> {
  const config = await CloudConfig.load(guest)
  if (!config) return
  const touched: { path: string[]; before: unknown }[] = []
  const note = async (path: string[]) => touched.push({ path, before: await config.effective(path) })
  const modules = ['cloud_init_modules']
  await note(modules)
  // Without a list of its own cloud-init runs the one that is built in, which has both.
  const listed = await config.effective(modules)
  if (Array.isArray(listed)) {
    // Modules run in the order of the list, and resizefs grows the filesystem to what growpart made of the partition.
    if (!growsInOrder(listed)) await config.changeList(modules, 'remove', 'resizefs')
    for (const name of ['growpart', 'resizefs']) await config.changeList(modules, 'add', name)
  }
  const mode = ['growpart', 'mode']
  if (['off', false, 'False', 'false'].includes((await config.effective(mode)) as string | false)) {
    await note(mode)
    await config.set(mode, 'auto')
  }
  const resize = ['resize_rootfs']
  if ([false, 'False', 'false', 'off'].includes((await config.effective(resize)) as string | false)) {
    await note(resize)
    await config.set(resize, true)
  }
  await config.save()
  for (const { path, before } of touched) {
    const after = await config.effective(path)
    if (after === undefined) continue
    const place = await config.place(path)
    report.change(
      `cloud-init ${path.join('.')}`,
      showValue(before),
      showValue(after),
      place?.file ?? '/etc/cloud',
      {
        line: place?.line,
      },
    )
  }
}

async function byUnit(guest: GuestFs, report: ReportBuilder): Promise<void> {
  if ((await initSystem(guest)) !== 'systemd') {
    report.warn(
      'this guest has neither cloud-init nor systemd: nothing can be told to grow its root filesystem',
    )
    return
  }
  const write = async (path: string, text: string, mode: number) => {
    const before = await readConfig(guest, path)
    if (!before) await guest.mkdir(path.slice(0, path.lastIndexOf('/')), { recursive: true })
    await writeConfig(guest, path, before, text, { mode })
    return before?.text === text
  }
  const same = [await write(SCRIPT_PATH, SCRIPT, 0o755), await write(UNIT_PATH, UNIT_TEXT, 0o644)]
  const { made } = await enableUnit(guest, UNIT)
  const before = made.length === 0 && same.every(Boolean) ? UNIT : null
  report.change('growing the root filesystem', before, UNIT, UNIT_PATH)
}

async function checkProgram(guest: GuestFs, report: ReportBuilder): Promise<void> {
  for (const path of PROGRAMS) if (await guest.exists(path)) return
  const { family, id } = await readIdentity(guest)
  const name =
    family === 'rhel'
      ? 'cloud-utils-growpart'
      : family === 'debian'
        ? 'cloud-guest-utils'
        : family === 'alpine' || id === 'arch'
          ? 'cloud-utils-growpart'
          : 'growpart'
  report.warn(
    `the program growpart is not installed (package ${name}): without it the partition keeps its size, whatever is configured`,
  )
}
