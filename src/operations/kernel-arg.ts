import type { KernelArgumentChange } from '../config/kernel-arguments.ts'
import { changeKernelCommandLines } from './kernel-command-line.ts'
import type { Operation } from './operation.ts'
import { ReportBuilder } from './report.ts'

/** Arguments of the operation `kernel-arg`. */
export interface KernelArgArguments {
  /** In order; `parseKernelArgumentChange` reads them from text. */
  readonly changes: readonly KernelArgumentChange[]
}

export const kernelArg: Operation<KernelArgArguments> = {
  name: 'kernel-arg',
  summary: 'Set, add or remove kernel arguments, in the defaults and in every boot entry',
  async run(guest, { changes }) {
    const report = new ReportBuilder('kernel-arg')
    await changeKernelCommandLines(guest, changes, report)
    return report.build()
  },
}
