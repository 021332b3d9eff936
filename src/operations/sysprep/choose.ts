import { DrydiskError } from '../../errors.ts'
import { sysprepTasks } from './index.ts'
import type { SysprepTask } from './task.ts'

/** A task of sysprep that is to run; `named` where it was asked for by its name. */
export interface ChosenTask {
  readonly task: SysprepTask
  /** By its own name, not as one of `defaults` or `all`. */
  readonly named: boolean
}

/**
 * Reads what --operations of virt-sysprep(1) reads, of several in order: names, `-name` to leave one out, `defaults`, `all`. The first
 * list begins with none. No lists at all are the defaults.
 */
export function chooseTasks(lists: readonly string[] = ['defaults']): ChosenTask[] {
  const chosen = new Map<SysprepTask, boolean>()
  for (const entry of lists.flatMap(list => list.split(','))) {
    const [, minus, name = ''] = /^(-?)(.*)$/s.exec(entry.trim()) ?? []
    const tasks = tasksOf(name)
    for (const task of tasks) {
      if (minus) chosen.delete(task)
      else chosen.set(task, (chosen.get(task) ?? false) || task.name === name)
    }
  }
  return sysprepTasks.flatMap(task => {
    const named = chosen.get(task)
    return named === undefined ? [] : [{ task, named }]
  })
}

function tasksOf(name: string): readonly SysprepTask[] {
  if (name === 'all') return sysprepTasks
  if (name === 'defaults') return sysprepTasks.filter(task => task.byDefault)
  const task = sysprepTasks.find(one => one.name === name)
  if (task) return [task]
  throw new DrydiskError(
    'ERR_INVALID_ARGUMENT',
    `sysprep has no operation ${JSON.stringify(name)}; drydisk sysprep --list lists them`,
  )
}
