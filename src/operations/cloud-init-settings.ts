import { DrydiskError } from '../errors.ts'
import type { GuestFs } from '../guest/guest-fs.ts'
import { CloudConfig, showValue } from './cloud-config-of-guest.ts'
import { readDatasources } from './cloud-init-state.ts'
import type { Operation } from './operation.ts'
import { ReportBuilder } from './report.ts'

/** Arguments of the operation `cloud-init-datasources`. */
export interface CloudInitDatasourcesArguments {
  /** In the order in which they are tried, spelt as cloud-init spells them: `OpenStack`, `ConfigDrive`, `None`. */
  readonly datasources: readonly string[]
}

/** Arguments of the operation `cloud-init-user`. */
export interface CloudInitUserArguments {
  /** The name of the user that instances get their keys for. */
  readonly user: string
}

/** The names that `datasource_list` takes (cloud-init's documentation, Datasource dsname; DI_DSLIST_DEFAULT of ds-identify). */
const DATASOURCES =
  'Akamai AliYun AltCloud Azure Bigstep CloudCIX CloudSigma CloudStack ConfigDrive DigitalOcean Ec2 Exoscale GCE Hetzner IBMCloud LXD MAAS NWCS NoCloud None OVF OpenNebula OpenStack Oracle RbxCloud Scaleway SmartOS UpCloud VMware Vultr WSL'.split(
    ' ',
  )

async function load(guest: GuestFs): Promise<CloudConfig> {
  const config = await CloudConfig.load(guest)
  if (config) return config
  throw new DrydiskError(
    'ENOENT',
    'this guest has no /etc/cloud/cloud.cfg and no /etc/cloud/cloud.cfg.d: cloud-init is not installed',
    { path: '/etc/cloud' },
  )
}

/** As cloud-init writes them. */
function knownDatasources({ datasources }: CloudInitDatasourcesArguments): string[] {
  if (datasources.length === 0)
    throw new DrydiskError(
      'ERR_INVALID_ARGUMENT',
      'no datasource is named; expected some such as OpenStack,None',
    )
  return datasources.map(name => {
    const known = DATASOURCES.find(one => one.toLowerCase() === name.toLowerCase())
    if (known === undefined)
      throw new DrydiskError(
        'ERR_INVALID_ARGUMENT',
        `cloud-init has no datasource ${JSON.stringify(name)}; it knows ${DATASOURCES.join(', ')}`,
      )
    return known
  })
}

export const cloudInitDatasources: Operation<CloudInitDatasourcesArguments> = {
  name: 'cloud-init-datasources',
  summary: 'Say where cloud-init looks for the data of an instance, as ds-identify reads it too',
  check(args) {
    knownDatasources(args)
  },
  async run(guest, { datasources }) {
    const report = new ReportBuilder('cloud-init-datasources')
    const names = knownDatasources({ datasources })
    const config = await load(guest)
    const path = ['datasource_list']
    const before = await config.effective(path)
    await config.set(path, names)
    await config.save()
    const place = await config.place(path)
    report.change(
      'cloud-init datasource_list',
      showValue(before),
      showValue(names),
      place?.file ?? '/etc/cloud/cloud.cfg',
      { line: place?.line },
    )
    for (const { file, line, text } of (await readDatasources(guest))?.overrides ?? [])
      report.warn(`${file}:${line}: ${text} names a datasource over the list`)
    return report.build()
  },
}

function checkDefaultUser({ user }: CloudInitUserArguments): void {
  // useradd's own rule, without the names that YAML reads as something else.
  if (!/^[a-z_][a-z0-9_-]{0,30}\$?$/.test(user) || /^(y|n|yes|no|on|off|true|false|null)$/.test(user))
    throw new DrydiskError(
      'ERR_INVALID_ARGUMENT',
      `${JSON.stringify(user)} is not a name that useradd takes: lower-case letters, digits, _ and -, at most 32`,
    )
}

export const cloudInitUser: Operation<CloudInitUserArguments> = {
  name: 'cloud-init-user',
  summary: 'Name the user that cloud-init makes at first boot and gives the keys of the instance',
  check: checkDefaultUser,
  async run(guest, { user }) {
    const report = new ReportBuilder('cloud-init-user')
    checkDefaultUser({ user })
    const config = await load(guest)
    const path = ['system_info', 'default_user', 'name']
    const before = await config.effective(path)
    await config.set(path, user)
    await config.save()
    const place = await config.place(path)
    report.change('cloud-init default user', showValue(before), user, place?.file ?? '/etc/cloud/cloud.cfg', {
      line: place?.line,
    })
    const users = await config.effective(['users'])
    const makesDefault =
      users === undefined || (Array.isArray(users) ? users.includes('default') : users === 'default')
    if (!makesDefault) {
      const where = await config.place(['users'])
      report.warn(
        `${where?.file}:${where?.line}: the list of users has no "default", so this user is not made`,
      )
    }
    return report.build()
  },
}
