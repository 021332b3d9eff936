import { isSameItem } from '../config/cloud-config.ts'
import { kernelArguments } from '../config/kernel-arguments.ts'
import { isDrydiskError } from '../errors.ts'
import type { GuestFs } from '../guest/guest-fs.ts'
import { bootEntries } from './boot-listing.ts'
import { CloudConfig } from './cloud-config-of-guest.ts'
import { displayPath, listFolder, lstatOrUndefined, readConfig } from './guest-files.ts'
import { serviceState } from './services/service-state.ts'

/** Something that keeps cloud-init, or a part of it, from doing its work. */
export interface CloudInitBlock {
  /** `all`: it does not run; `datasource`: it looks for no instance data; `network`: it leaves the network alone. */
  readonly blocks: 'all' | 'datasource' | 'network'
  readonly reason: string
  readonly file: string
  readonly line?: number
  /** How `cloud-init-unblock` mends it; left out where that is for a person to decide. */
  readonly mend?:
    | { readonly kind: 'remove' }
    | { readonly kind: 'kernel-argument'; readonly argument: string }
    | { readonly kind: 'unmask' | 'enable'; readonly unit: string }
    | { readonly kind: 'policy' }
}

const DISABLED = '/etc/cloud/cloud-init.disabled'
const ENABLED = '/etc/cloud/cloud-init.enabled'
const DS_IDENTIFY = '/etc/cloud/ds-identify.cfg'
const GENERATOR = '/etc/systemd/system-generators/cloud-init-generator'

/** Of all releases; what a guest does not have is passed over. */
const UNITS = [
  'cloud-init-local.service',
  'cloud-init-main.service',
  'cloud-init-network.service',
  'cloud-init.service',
  'cloud-config.service',
  'cloud-final.service',
  'cloud-init.target',
  'cloud-config.target',
]

/** What Ubuntu's installer (subiquity, with curtin) leaves: the installed machine's own data instead of a datasource. */
const INSTALLER_FILES =
  /\/(99-installer|subiquity-disable-cloudinit-networking|90-installer-network|50-curtin-networking)\.cfg$/

/** What keeps cloud-init from running in a guest, each with the file that does. */
export async function readCloudInitBlocks(guest: GuestFs): Promise<CloudInitBlock[]> {
  const blocks: CloudInitBlock[] = []
  // cloud-init-generator asks the kernel's arguments, then these files; .enabled comes first.
  if ((await guest.exists(DISABLED)) && !(await guest.exists(ENABLED)))
    blocks.push({ blocks: 'all', reason: 'this file disables it', file: DISABLED, mend: { kind: 'remove' } })
  blocks.push(...(await blocksOfKernelArguments(guest)))
  const policy = await readConfig(guest, DS_IDENTIFY)
  policy?.text.split('\n').forEach((source, i) => {
    if (/^\s*policy\s*:\s*disabled\b/.test(source))
      blocks.push({
        blocks: 'all',
        reason: "ds-identify's policy is disabled",
        file: DS_IDENTIFY,
        line: i + 1,
        mend: { kind: 'policy' },
      })
  })
  blocks.push(...(await blocksOfUnits(guest)))
  blocks.push(...(await blocksOfConfig(guest)))
  return blocks
}

async function blocksOfKernelArguments(guest: GuestFs): Promise<CloudInitBlock[]> {
  const blocks: CloudInitBlock[] = []
  for (const entry of (await bootEntries(guest)).filter(one => !one.foreign)) {
    for (const { text } of kernelArguments(entry.arguments)) {
      const network = text === 'network-config=disabled'
      if (text !== 'cloud-init=disabled' && !network) continue
      blocks.push({
        blocks: network ? 'network' : 'all',
        reason: `the kernel arguments of ${entry.title} have ${text}`,
        file: entry.file,
        line: entry.line,
        ...(network ? {} : { mend: { kind: 'kernel-argument' as const, argument: text } }),
      })
    }
  }
  return blocks
}

async function blocksOfUnits(guest: GuestFs): Promise<CloudInitBlock[]> {
  const blocks: CloudInitBlock[] = []
  if ((await lstatOrUndefined(guest, GENERATOR))?.isSymbolicLink())
    if (displayPath(await guest.readlink(GENERATOR)) === '/dev/null')
      blocks.push({
        blocks: 'all',
        reason: 'its generator is masked',
        file: GENERATOR,
        mend: { kind: 'remove' },
      })
  for (const unit of UNITS) {
    const { state, decidedBy } = await serviceState(guest, unit)
    if (state === 'masked')
      blocks.push({
        blocks: 'all',
        reason: `${unit} is masked`,
        file: decidedBy,
        mend: { kind: 'unmask', unit },
      })
    if (state === 'disabled')
      blocks.push({
        blocks: 'all',
        reason: `${unit} is disabled`,
        file: decidedBy,
        mend: { kind: 'enable', unit },
      })
  }
  return blocks
}

async function blocksOfConfig(guest: GuestFs): Promise<CloudInitBlock[]> {
  const blocks: CloudInitBlock[] = []
  const left = (await listFolder(guest, '/etc/cloud/cloud.cfg.d', /\.cfg$/)).filter(path =>
    INSTALLER_FILES.test(path),
  )
  for (const file of left)
    blocks.push({
      blocks: /network/.test(file) ? 'network' : 'datasource',
      reason: 'an installer left it, with the settings of the machine that it installed',
      file,
      mend: { kind: 'remove' },
    })
  const config = await CloudConfig.load(guest)
  if (!config) return blocks
  const note = async (path: readonly string[], kind: 'datasource' | 'network', reason: string) => {
    const place = await config.place(path)
    if (place && !left.includes(place.file))
      blocks.push({
        blocks: kind,
        reason,
        file: place.file,
        ...(place.line === undefined ? {} : { line: place.line }),
      })
  }
  const list = await config.effective(['datasource_list'])
  if (Array.isArray(list) && list.length > 0 && list.every(item => item === 'None'))
    await note(['datasource_list'], 'datasource', 'the only datasource is None')
  if ((await config.effective(['network', 'config'])) === 'disabled')
    await note(['network', 'config'], 'network', 'its network configuration is disabled')
  if ((await config.effective(['manual_cache_clean'])) === true)
    await note(
      ['manual_cache_clean'],
      'datasource',
      'manual_cache_clean keeps the data of the instance that it ran on',
    )
  return blocks
}

/** Where cloud-init looks for the data of an instance. */
export interface Datasources {
  /** `undefined`: cloud-init's own list of all. */
  readonly list: readonly string[] | undefined
  readonly file: string | undefined
  readonly line: number | undefined
  /** What ds-identify, which decides before cloud-init starts, makes of the same files; `undefined` as `list`. */
  readonly seenByDsIdentify: readonly string[] | undefined
  /** Places that name a datasource over the list: kernel arguments, ds-identify.cfg. */
  readonly overrides: readonly { readonly file: string; readonly line: number; readonly text: string }[]
}

/** The datasources of cloud-init as they are in effect; undefined where there is no cloud-init. */
export async function readDatasources(guest: GuestFs): Promise<Datasources | undefined> {
  const config = await CloudConfig.load(guest)
  if (!config) return undefined
  const list = await config.effective(['datasource_list'])
  const place = await config.place(['datasource_list'])
  const overrides: { file: string; line: number; text: string }[] = []
  for (const entry of await bootEntries(guest))
    for (const { text } of kernelArguments(entry.arguments))
      if (/^(ci\.ds|ci\.datasource|ds)=|^cc:.*datasource_list/.test(text))
        overrides.push({ file: entry.file, line: entry.line, text })
  ;(await readConfig(guest, DS_IDENTIFY))?.text.split('\n').forEach((source, i) => {
    if (/^\s*datasource\s*:/.test(source))
      overrides.push({ file: DS_IDENTIFY, line: i + 1, text: source.trim() })
  })
  return {
    list: Array.isArray(list) ? list.map(String) : undefined,
    file: place?.file,
    line: place?.line,
    seenByDsIdentify: config.seenByDsIdentify()?.list,
    overrides,
  }
}

/** Whether the list of modules has growpart before resizefs, the order in which they have to run. */
export function growsInOrder(modules: readonly unknown[]): boolean {
  const [growpart, resizefs] = ['growpart', 'resizefs'].map(name =>
    modules.findIndex(item => isSameItem(item, name)),
  )
  return growpart !== undefined && resizefs !== undefined && growpart >= 0 && growpart < resizefs
}

/** Whether the root partition and its filesystem grow at first boot. */
export interface RootGrowth {
  readonly growpart: GrowthModule
  readonly resizefs: GrowthModule
  /** Where both run: growpart does so first. */
  readonly inOrder: boolean
  /** The program that the growpart module runs; `undefined` where cloud-utils-growpart is not installed. */
  readonly tool: string | undefined
}

/** Whether a module of cloud-init that grows the root runs, and the place that decides. */
export interface GrowthModule {
  readonly runs: boolean
  /** The file (and line) that decides: the list of modules, or what switches one off. */
  readonly file: string | undefined
  readonly line: number | undefined
}

/** Whether cloud-init makes the root partition and its filesystem larger; undefined where there is no cloud-init. */
export async function readRootGrowth(guest: GuestFs): Promise<RootGrowth | undefined> {
  const config = await CloudConfig.load(guest)
  if (!config) return undefined
  const modules = await config.effective(['cloud_init_modules'])
  const listed = (name: string) => Array.isArray(modules) && modules.some(item => isSameItem(item, name))
  const module = async (name: string, off: readonly string[], isOff: (value: unknown) => boolean) => {
    const disabled = isOff(await config.effective(off))
    const place = await config.place(disabled ? off : ['cloud_init_modules'])
    return { runs: listed(name) && !disabled, file: place?.file, line: place?.line }
  }
  const growpart = await module(
    'growpart',
    ['growpart', 'mode'],
    mode => mode === false || mode === 'off' || mode === 'false',
  )
  const resizefs = await module('resizefs', ['resize_rootfs'], value => value === false || value === 'false')
  const switchedOff = await guest.exists('/etc/growroot-disabled')
  let tool: string | undefined
  for (const path of ['/usr/bin/growpart', '/bin/growpart', '/usr/sbin/growpart'])
    if (tool === undefined && (await isThere(guest, path))) tool = path
  return {
    growpart: switchedOff ? { runs: false, file: '/etc/growroot-disabled', line: undefined } : growpart,
    resizefs,
    inOrder: !Array.isArray(modules) || growsInOrder(modules),
    tool,
  }
}

async function isThere(guest: GuestFs, path: string): Promise<boolean> {
  try {
    return await guest.exists(path)
  } catch (error) {
    if (isDrydiskError(error)) return false
    throw error
  }
}
