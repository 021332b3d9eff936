import { parseCloudConfigChange } from '../config/cloud-config.ts'
import { DrydiskError } from '../errors.ts'
import { CloudConfig, showValue } from './cloud-config-of-guest.ts'
import type { Operation } from './operation.ts'
import { ReportBuilder } from './report.ts'

/** Arguments of the operation `cloud-init`. */
export interface CloudInitArguments {
  /** `KEY=VALUE`, `KEY+=ITEM`, `KEY-=ITEM`; dots between the keys of maps; the value is YAML. */
  readonly setting: string
}

export const cloudInit: Operation<CloudInitArguments> = {
  name: 'cloud-init',
  summary: "Set a value of cloud-init's configuration, or add to or remove from a list of it",
  async run(guest, { setting }) {
    const report = new ReportBuilder('cloud-init')
    const config = await CloudConfig.load(guest)
    if (!config)
      throw new DrydiskError(
        'ENOENT',
        'this guest has no /etc/cloud/cloud.cfg and no /etc/cloud/cloud.cfg.d: cloud-init is not installed',
        {
          path: '/etc/cloud',
        },
      )
    const { path, action, value } = await parseCloudConfigChange(setting)
    const before = await config.effective(path)
    if (action === 'set') await config.set(path, value)
    else await config.changeList(path, action, value)
    await config.save()
    const place = await config.place(path)
    report.change(
      `cloud-init ${path.join('.')}`,
      showValue(before),
      showValue(await config.effective(path)),
      place?.file ?? '/etc/cloud',
      {
        line: place?.line,
      },
    )
    if (await guest.exists('/etc/cloud/cloud-init.disabled'))
      report.warn(
        '/etc/cloud/cloud-init.disabled exists: cloud-init does not run in this guest at all until it is removed (cloud-init-unblock)',
      )
    return report.build()
  },
}
