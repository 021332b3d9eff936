import { DrydiskError } from '../errors.ts'
import type { GuestFs } from '../guest/guest-fs.ts'
import { hasCloudInit } from './cloud-config-of-guest.ts'
import { type CloudInitBlock, readCloudInitBlocks } from './cloud-init-state.ts'
import { readConfig, writeConfig } from './guest-files.ts'
import { changeKernelCommandLines } from './kernel-command-line.ts'
import type { Operation } from './operation.ts'
import { ReportBuilder } from './report.ts'
import { enableService, unmaskService } from './services/service-operations.ts'

export const cloudInitUnblock: Operation<Readonly<Record<string, never>>> = {
  name: 'cloud-init-unblock',
  summary: 'Remove what an installer or a person left that keeps cloud-init from running',
  async run(guest) {
    const report = new ReportBuilder('cloud-init-unblock')
    if (!(await hasCloudInit(guest))) {
      report.warn('cloud-init is not installed in this guest: there is no /etc/cloud')
      return report.build()
    }
    const blocks = await readCloudInitBlocks(guest)
    const mendable = blocks.filter(block => block.mend)
    for (const block of mendable) await mend(guest, block, report)
    const left = mendable.length === 0 ? blocks : await readCloudInitBlocks(guest)
    const [still] = left.filter(block => block.mend)
    if (still)
      throw new DrydiskError(
        'ERR_NOT_EFFECTIVE',
        `cloud-init still is blocked by ${still.file}${still.line === undefined ? '' : `:${still.line}`}: ${still.reason}`,
        { path: still.file },
      )
    for (const block of left)
      report.warn(
        `${block.file}${block.line === undefined ? '' : `:${block.line}`}: ${block.reason}; left as it is, as that may be wanted`,
      )
    return report.build()
  },
}

async function mend(guest: GuestFs, block: CloudInitBlock, report: ReportBuilder): Promise<void> {
  const how = block.mend
  switch (how?.kind) {
    case 'remove':
      await guest.unlink(block.file)
      report.always(
        block.blocks === 'all' ? 'cloud-init' : `cloud-init's ${block.blocks}`,
        'blocked',
        'not blocked',
        block.file,
        { note: `removed: ${block.reason}` },
      )
      return
    case 'kernel-argument':
      await changeKernelCommandLines(guest, [{ action: 'remove', argument: how.argument }], report)
      return
    case 'unmask':
      report.include(await unmaskService.run(guest, { units: [how.unit] }))
      return
    case 'enable':
      report.include(await enableService.run(guest, { units: [how.unit] }))
      return
    case 'policy': {
      const before = await readConfig(guest, block.file)
      const text = (before?.text ?? '').replace(/^(?=[ \t]*policy[ \t]*:[ \t]*disabled\b)/gm, '#')
      await writeConfig(guest, block.file, before, text)
      report.change("ds-identify's policy", 'disabled', null, block.file, { line: block.line })
    }
  }
}
