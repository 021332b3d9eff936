import { DrydiskError, isDrydiskError } from '../../errors.ts'
import type { GuestFs } from '../../guest/guest-fs.ts'
import { readIdentity } from '../../guest/identity.ts'
import type { Operation, OperationReport } from '../operation.ts'
import { ReportBuilder } from '../report.ts'
import { type ChosenTask, chooseTasks } from './choose.ts'
import { GuestTree } from './guest-tree.ts'
import type { SysprepContext, SysprepSettings } from './task.ts'

/** Arguments of the operation `sysprep`. */
export interface SysprepArguments extends Partial<SysprepSettings> {
  /**
   * Lists of names as virt-sysprep's --operations takes them: `defaults,-tmp-files,user-account`, `all`. The defaults when left
   * out. An unknown name is `ERR_INVALID_ARGUMENT`.
   */
  readonly operations?: readonly string[]
}

/**
 * Prepares a guest for cloning. First the removals by name, then the edits of `customize`, then what must hold at the end (the machine
 * ID is empty). One report for each operation that did something or was named, and for each edit; an empty one when there was nothing to do.
 */
export async function runSysprep(guest: GuestFs, args: SysprepArguments = {}): Promise<OperationReport[]> {
  const { keepUserAccounts = [], removeUserAccounts = [], customize = [], disk } = args
  const chosen = planSysprep(args)
  const settings: SysprepSettings = { keepUserAccounts, removeUserAccounts, customize, disk }
  const tree = new GuestTree(guest)
  const identity = await readIdentity(guest)
  const reports: OperationReport[] = []
  const runs = async ({ task, named }: ChosenTask) => {
    const context: SysprepContext = {
      guest,
      tree,
      identity,
      report: new ReportBuilder(task.name),
      settings,
      named,
    }
    await task.run(context).catch((error: unknown) => Promise.reject(ofTask(error, task.name)))
    for (const link of tree.passedOver)
      context.report.warn(`${link} is a symlink out of its place; what is behind it was left`)
    tree.passedOver.clear()
    const report = context.report.build()
    if (named || report.changes.length + report.warnings.length > 0) reports.push(report)
  }
  const isCustomize = ({ task }: ChosenTask) => task.name === 'customize'
  for (const one of chosen) if (!one.task.last && !isCustomize(one)) await runs(one)
  if (chosen.some(isCustomize)) {
    for (const edit of customize) reports.push(await edit(guest))
    tree.forget()
  }
  for (const one of chosen) if (one.task.last) await runs(one)
  if (reports.every(report => report.changes.length === 0 && report.warnings.length > 0))
    reports.push(new ReportBuilder('sysprep').build())
  return reports
}

/** The operations that the arguments choose. What is wrong with them is found without a guest: `ERR_INVALID_ARGUMENT`. */
export function planSysprep({
  operations,
  keepUserAccounts = [],
  removeUserAccounts = [],
  customize = [],
}: SysprepArguments): ChosenTask[] {
  const chosen = chooseTasks(operations)
  const has = (name: string) => chosen.some(({ task }) => task.name === name)
  if (keepUserAccounts.length + removeUserAccounts.length > 0 && !has('user-account'))
    throw new DrydiskError(
      'ERR_INVALID_ARGUMENT',
      'accounts to keep or to remove were named, but user-account is not among the operations; add it: --operations defaults,user-account',
    )
  if (customize.length > 0 && !has('customize'))
    throw new DrydiskError(
      'ERR_INVALID_ARGUMENT',
      'edits were named, but customize is not among the operations; add it, or leave the edits out',
    )
  return chosen
}

function ofTask(error: unknown, operation: string): unknown {
  if (!isDrydiskError(error) || error.message.startsWith(`${operation}:`)) return error
  return new DrydiskError(
    error.code,
    `${operation}: ${error.message}`,
    { operation, ...error.context },
    error,
  )
}

/** The same, as one operation with one report. */
export const sysprep: Operation<SysprepArguments> = {
  name: 'sysprep',
  summary: 'Prepare a guest for cloning: remove what belongs to one machine',
  async run(guest, args) {
    const report = new ReportBuilder('sysprep')
    for (const one of await runSysprep(guest, args)) report.include(one)
    return report.build()
  },
}
