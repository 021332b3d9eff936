import { joinLines, splitLines } from '../config/text.ts'
import { isDrydiskError } from '../errors.ts'
import type { GuestFs, GuestPath } from '../guest/guest-fs.ts'
import { CloudConfig } from './cloud-config-of-guest.ts'
import { glob } from './glob.ts'
import { displayPath, listFolder, lstatOrUndefined, readConfig, writeConfig } from './guest-files.ts'
import type { Operation } from './operation.ts'
import { byteCount, ReportBuilder } from './report.ts'
import { readSshdSetting } from './sshd.ts'

/** Arguments of the operation `cloud-init-clean`. */
export interface CloudInitCleanArguments {
  /** Also what an image builder put into /var/lib/cloud/seed (`cloud-init clean --seed`). */
  readonly seed?: boolean
}

const STATE = '/var/lib/cloud'

/** The network of the instance that it ran on (cloud-init clean --configs network, and where Debian and SUSE have it). */
const NETWORK_FILES = [
  '/etc/netplan/50-cloud-init.yaml',
  '/etc/NetworkManager/conf.d/99-cloud-init.conf',
  '/etc/NetworkManager/conf.d/30-cloud-init-ip6-addr-gen-mode.conf',
  '/etc/NetworkManager/system-connections/cloud-init-*.nmconnection',
  '/etc/systemd/network/10-cloud-init-*.network',
  '/etc/systemd/network/50-cloud-init-*.link',
  '/etc/network/interfaces.d/50-cloud-init',
  '/etc/network/interfaces.d/50-cloud-init.cfg',
  '/etc/udev/rules.d/85-persistent-net-cloud-init.rules',
]

/** Files that may be a person's too: cloud-init begins its own with this line (cloudinit/net/sysconfig.py). */
const HEADER = /^#\s*Created by cloud-init\b[^\n]*(automatically|do not edit)/i
const HEADED = [
  '/etc/sysconfig/network-scripts/ifcfg-*',
  '/etc/sysconfig/network-scripts/route*-*',
  '/etc/sysconfig/network/ifcfg-*',
  '/etc/sysconfig/network/ifroute-*',
]

const SSHD = '/etc/ssh/sshd_config.d/50-cloud-init.conf'

export const cloudInitClean: Operation<CloudInitCleanArguments> = {
  name: 'cloud-init-clean',
  summary: 'Make cloud-init take the next boot for the first: remove its state, logs and what it generated',
  async run(guest, { seed = false }) {
    const report = new ReportBuilder('cloud-init-clean')
    await cleanCloudInit(guest, report, { seed })
    return report.build()
  },
}

/** As `cloud-init clean --logs --configs all` in the running guest; the seed stays unless it is asked for. */
export async function cleanCloudInit(
  guest: GuestFs,
  report: ReportBuilder,
  { seed = false }: CloudInitCleanArguments = {},
): Promise<void> {
  const config = await CloudConfig.load(guest)
  const state = await stateFolder(config, report)
  // From an image, it might lead anywhere.
  const elsewhere = (await lstatOrUndefined(guest, state))?.isSymbolicLink() === true
  if (elsewhere) report.warn(`${state} is a symlink out of its place; what is behind it was left`)
  for (const path of elsewhere ? [] : await glob(guest, `${state}/*`))
    if (seed || displayPath(path) !== `${state}/seed`) await remove(guest, path, report)
  for (const pattern of ['/var/log/cloud-init.log*', '/var/log/cloud-init-output.log*'])
    for (const path of await glob(guest, pattern)) await remove(guest, path, report)
  await removeNetwork(guest, config, report)
  await removeMounts(guest, report)
  await removeSshdDropIn(guest, config, report)
}

/** `system_info.paths.cloud_dir`, where it is a folder below /var/lib: from an image, it might be anything. */
async function stateFolder(config: CloudConfig | undefined, report: ReportBuilder): Promise<string> {
  const value = await config?.effective(['system_info', 'paths', 'cloud_dir'])
  const folder = typeof value === 'string' ? value.replace(/\/+$/, '') : STATE
  if (/^\/var\/lib\/(?!\.{1,2}(\/|$))[\w.-]+$/.test(folder)) return folder
  report.warn(
    `cloud-init keeps its state in ${JSON.stringify(value)}, which was not cleaned; only ${STATE} was`,
  )
  return STATE
}

async function remove(guest: GuestFs, path: GuestPath, report: ReportBuilder): Promise<void> {
  const stats = await lstatOrUndefined(guest, path)
  if (!stats) return
  try {
    await guest.rm(path, { recursive: true })
  } catch (error) {
    if (!isDrydiskError(error, 'EBUSY')) throw error
    report.warn(`${displayPath(path)} was left, as a filesystem is mounted on it or below it`)
    return
  }
  const before = stats.isFile() ? byteCount(stats.size) : 'present'
  report.always(stats.type, before, null, displayPath(path))
}

async function removeNetwork(
  guest: GuestFs,
  config: CloudConfig | undefined,
  report: ReportBuilder,
): Promise<void> {
  // Nothing would make them again.
  if ((await config?.effective(['network', 'config'])) === 'disabled') return
  for (const pattern of NETWORK_FILES)
    for (const path of await glob(guest, pattern)) await remove(guest, path, report)
  for (const pattern of HEADED)
    for (const path of await glob(guest, pattern))
      if (HEADER.test((await readConfig(guest, path))?.text ?? '')) await remove(guest, path, report)
  for (const path of await listFolder(guest, '/etc/udev/rules.d', /^70-persistent-net\.rules$/))
    if (/cloud-init/i.test((await readConfig(guest, path))?.text.split('\n', 1)[0] ?? ''))
      await remove(guest, path, report)
}

/** Mounts of an instance's other disks: cc_mounts marks its lines of fstab. */
async function removeMounts(guest: GuestFs, report: ReportBuilder): Promise<void> {
  const before = await readConfig(guest, '/etc/fstab')
  if (!before) return
  const lines = splitLines(before.text)
  const isOwn = (text: string) => !/^\s*#/.test(text) && /[\s,]comment=cloudconfig([\s,]|$)/.test(text)
  lines.forEach((line, i) => {
    if (isOwn(line.text))
      report.always('mount', line.text.trim(), null, '/etc/fstab', { note: `it was line ${i + 1}` })
  })
  await writeConfig(guest, '/etc/fstab', before, joinLines(lines.filter(line => !isOwn(line.text))))
}

async function removeSshdDropIn(
  guest: GuestFs,
  config: CloudConfig | undefined,
  report: ReportBuilder,
): Promise<void> {
  if (!(await lstatOrUndefined(guest, SSHD))) return
  const before = await readSshdSetting(guest, 'PasswordAuthentication')
  await remove(guest, SSHD, report)
  const after = await readSshdSetting(guest, 'PasswordAuthentication')
  const decided = await config?.effective(['ssh_pwauth'])
  if (before?.value === 'no' && after?.value !== 'no' && typeof decided !== 'boolean')
    report.warn(
      `${SSHD} forbade logging in with a password; now the next instance's data decides, or sshd's default, which allows it (\`sshd PasswordAuthentication=no\` forbids it again)`,
    )
}
