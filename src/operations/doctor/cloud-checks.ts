import { cloudInitDatasources } from '../cloud-init-settings.ts'
import { readCloudInitBlocks, readDatasources, readRootGrowth } from '../cloud-init-state.ts'
import { cloudInitUnblock } from '../cloud-init-unblock.ts'
import { growroot } from '../growroot.ts'
import type { Check, CheckContext } from './check.ts'

const INSTALL = 'drydisk customize IMAGE --install'
/** Both of OpenStack's: the config drive, and the metadata service. */
const OPENSTACK = ['ConfigDrive', 'OpenStack']

const isInstalled = ({ facts }: CheckContext): boolean => facts.agents['cloud-init'] !== undefined

const cloudInit: Check = {
  name: 'cloud-init',
  summary: 'cloud-init is there, and nothing keeps it from running',
  profiles: ['openstack'],
  async run(context) {
    const { guest, facts, findings, mend } = context
    if (!isInstalled(context)) {
      findings.fail('cloud-init is not installed: no key, no host name and no user data reach this guest', {
        command: `${INSTALL} cloud-init`,
      })
      return
    }
    const blocks = await readCloudInitBlocks(guest)
    if (blocks.length === 0) {
      findings.ok(
        `cloud-init ${facts.agents['cloud-init'] ?? ''} is there, and nothing is in its way`.replace(
          '  ',
          ' ',
        ),
      )
      return
    }
    const mended = await mend(inner => cloudInitUnblock.run(inner, {}))
    for (const { blocks: what, reason, file, line, mend: canBeMended } of blocks) {
      const place = {
        file,
        line,
        ...(canBeMended === undefined ? {} : { command: 'drydisk customize IMAGE --cloud-init-unblock' }),
        mended: mended && canBeMended !== undefined,
      }
      if (what === 'network') findings.warn(`cloud-init leaves the network alone: ${reason}`, place)
      else
        findings.fail(
          `cloud-init ${what === 'all' ? 'does not run' : 'looks for no instance data'}: ${reason}`,
          place,
        )
    }
  },
}

const datasources: Check = {
  name: 'datasources',
  summary: "cloud-init looks for OpenStack's data",
  profiles: ['openstack'],
  async run(context) {
    if (!isInstalled(context)) return
    const { guest, findings, mend } = context
    const found = await readDatasources(guest)
    if (found === undefined) return
    const { list, file, line, overrides } = found
    const serves = (names: readonly string[] | undefined) =>
      names === undefined || OPENSTACK.some(name => names.includes(name))
    for (const { text, file: place, line: at } of overrides)
      findings.warn(`${text} decides where cloud-init looks, whatever its list says`, {
        file: place,
        line: at,
      })
    await seedIsNone(context, list)
    const seen = found.seenByDsIdentify
    if (serves(list) && serves(seen)) {
      findings.ok(
        list === undefined ? "cloud-init's own list of datasources" : `datasources: ${list.join(', ')}`,
        { file, line },
      )
      return
    }
    const mended = await mend(inner => cloudInitDatasources.run(inner, { datasources: OPENSTACK }))
    findings.fail(
      serves(list)
        ? `ds-identify reads the list of datasources as ${seen?.join(', ') || 'none'}: it takes a list on one line only`
        : `datasources: ${list?.join(', ') || 'none'}; neither ConfigDrive nor OpenStack is among them`,
      {
        file,
        line,
        command: `drydisk customize IMAGE --cloud-init-datasources ${OPENSTACK.join(',')}`,
        mended,
      },
    )
  },
}

/** DataSourceNoCloud takes a seed that has both files before anything of a cloud is asked. */
async function seedIsNone({ guest, findings }: CheckContext, list: readonly string[] | undefined) {
  if (list !== undefined && !list.includes('NoCloud')) return
  for (const name of ['nocloud', 'nocloud-net']) {
    const folder = `/var/lib/cloud/seed/${name}`
    if ((await guest.exists(`${folder}/user-data`)) && (await guest.exists(`${folder}/meta-data`)))
      findings.fail('cloud-init takes the data in the image (NoCloud), not those of the cloud', {
        file: folder,
        command: 'drydisk customize IMAGE --cloud-init-clean=seed',
      })
  }
}

const growth: Check = {
  name: 'root-growth',
  summary: 'root partition and filesystem grow at first boot',
  profiles: ['openstack'],
  async run(context) {
    const { guest, findings, disk } = context
    if (disk !== undefined) rootIsLast(context)
    if (!isInstalled(context)) return
    await resizerIsThere(context)
    const found = await readRootGrowth(guest)
    if (found === undefined) return
    const { growpart, resizefs, inOrder, tool } = found
    if (tool === undefined)
      findings.fail('growpart is not installed: the root partition stays as small as it is', {
        command: `${INSTALL} ${context.identity.family === 'debian' ? 'cloud-guest-utils' : 'cloud-utils-growpart'}`,
      })
    const problems = []
    if (!growpart.runs) problems.push({ ...growpart, message: 'cloud-init does not run its module growpart' })
    if (!resizefs.runs) problems.push({ ...resizefs, message: 'cloud-init does not run its module resizefs' })
    if (problems.length === 0 && !inOrder)
      problems.push({
        ...resizefs,
        message: 'cloud-init runs resizefs before growpart: at the first boot only the partition grows',
      })
    const mended = problems.length > 0 && (await context.mend(inner => growroot.run(inner, {})))
    for (const { message, file, line } of problems)
      findings.fail(message, { file, line, command: 'drydisk customize IMAGE --growroot', mended })
    if (tool !== undefined && problems.length === 0)
      findings.ok('cloud-init runs growpart and resizefs', { file: growpart.file, line: growpart.line })
  },
}

/** What cloud-init's module resizefs calls for each filesystem (cc_resizefs), and the package that has it. */
const RESIZERS: Readonly<Record<string, readonly [program: string, pack: string]>> = {
  ext2: ['resize2fs', 'e2fsprogs'],
  ext3: ['resize2fs', 'e2fsprogs'],
  ext4: ['resize2fs', 'e2fsprogs'],
  xfs: ['xfs_growfs', 'xfsprogs'],
  btrfs: ['btrfs', 'btrfs-progs'],
}

async function resizerIsThere({ guest, disk, findings }: CheckContext): Promise<void> {
  const type = disk?.mounts.find(({ path }) => path === '/')?.type ?? ''
  const [program, pack] = RESIZERS[type] ?? []
  if (program === undefined) return
  for (const folder of ['/usr/sbin', '/sbin', '/usr/bin', '/bin'])
    if (await guest.exists(`${folder}/${program}`))
      return findings.ok(`${program} is there, which makes the ${type} of the root larger`, {
        file: `${folder}/${program}`,
      })
  findings.fail(
    `${program} is not installed: the partition of the root grows, and its ${type} stays as small as it is`,
    {
      command: `${INSTALL} ${pack}`,
    },
  )
}

/** A partition grows into what is free behind it. */
function rootIsLast({ disk, findings }: CheckContext): void {
  const root = disk?.volumes.find(volume => volume.name === disk.rootVolume)
  if (disk === undefined || root === undefined) return
  if (root.kind === 'logical') {
    findings.warn(
      `the root is on the logical volume ${root.name}: growpart grows the partition, and nothing the volume in it`,
    )
    return
  }
  if (root.kind === 'disk' || root.offset === undefined) return
  const end = root.offset
  const behind = disk.volumes.find(
    ({ kind, offset }) => kind === 'partition' && offset !== undefined && offset > end,
  )
  if (behind === undefined) findings.ok(`the root partition ${root.name} is the last on the disk`)
  else
    findings.fail(`${behind.name} lies behind the root partition ${root.name}, which therefore cannot grow`)
}

export const cloudChecks: readonly Check[] = [cloudInit, datasources, growth]
