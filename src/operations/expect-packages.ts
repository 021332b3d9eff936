import { DrydiskError } from '../errors.ts'
import { installedPackages } from '../guest/packages/installed.ts'
import type { Operation } from './operation.ts'
import { ReportBuilder } from './report.ts'

/** Arguments of the operation `expect-packages`. */
export interface ExpectPackagesArguments {
  readonly packages: readonly string[]
}

/** Changes nothing: packages cannot be installed without running the guest. */
function checkPackages({ packages }: ExpectPackagesArguments): void {
  for (const name of packages)
    if (!/^[A-Za-z0-9][\w.+-]*$/.test(name))
      throw new DrydiskError('ERR_INVALID_ARGUMENT', `${JSON.stringify(name)} is no name of a package`)
}

export const expectPackages: Operation<ExpectPackagesArguments> = {
  name: 'expect-packages',
  summary: 'Say which of these packages the guest does not have',
  check: checkPackages,
  async run(guest, { packages }) {
    checkPackages({ packages })
    const report = new ReportBuilder('expect-packages')
    const installed = await installedPackages(guest)
    const missing: string[] = []
    for (const name of packages) {
      if (await installed.has(name)) report.keep(`package ${name}`, 'installed', installed.source)
      else missing.push(name)
    }
    if (missing.length > 0)
      report.warn(
        `not installed: ${missing.join(', ')}. Packages are installed by the running guest alone: firstboot-install ${missing.join(',')}`,
      )
    return report.build()
  },
}
