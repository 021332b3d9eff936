import { expect, it } from 'vitest'
import { runTasks } from '../../src/copy/pipeline.ts'
import type { Engine, Task } from '../../src/copy/task.ts'

it('progress never goes back, in whatever order tasks end', async () => {
  const task = (end: number): Task => ({ runs: [], segments: [], length: 0, stored: 0, end })
  async function* tasks(): AsyncIterable<Task> {
    for (const end of [1, 2, 3]) yield task(end)
  }
  let release = (): void => undefined
  const third = new Promise<void>(resolve => {
    release = resolve
  })
  const engine: Engine = {
    capacity: 3,
    copy: async ({ end }) => {
      if (end === 3) release()
      else await third
      return 10
    },
    load: () => Promise.reject(new Error('there is no layout')),
    store: () => Promise.reject(new Error('there is no layout')),
    close: async () => undefined,
  }
  const told: [number, number][] = []
  await runTasks(tasks(), engine, {
    layout: undefined,
    signal: undefined,
    onTask: (end, written) => told.push([end, written]),
  })
  expect(told).toEqual([
    [3, 10],
    [3, 20],
    [3, 30],
  ])
})
