import { readSync } from 'node:fs'
import { parentPort, workerData } from 'node:worker_threads'
import { fileError } from '../device/file-error.ts'
import { isDrydiskError } from '../errors.ts'
import type { WorkerAnswer, WorkerRequest, WorkerSetup } from './node-messages.ts'
import { writeAll } from './node-write-all.ts'
import type { Task } from './task.ts'
import { TaskRunner } from './task-runner.ts'

/**
 * A thread that carries tasks out by itself. File descriptors belong to the whole process, so it reads and writes the files
 * that the main thread has open, and no content crosses threads.
 */
function serve(port: NonNullable<typeof parentPort>, setup: WorkerSetup): void {
  const descriptors: number[] = []
  const names: string[] = []
  const runner = new TaskRunner(
    {
      read: (file, offset, into) => readAll(descriptors[file] ?? -1, names[file] ?? '', offset, into),
      name: file => names[file] ?? '',
      readDevice: () => {
        throw new TypeError('a device is read by the thread that has it')
      },
      write: (offset, from) => write(setup.target, setup.targetName, offset, from),
      allocate: length => new Uint8Array(length),
    },
    setup.settings,
  )
  const tasks = new Map<number, Task>()
  const answer = async (request: WorkerRequest): Promise<WorkerAnswer> => {
    const { id } = request
    if (request.kind === 'store') {
      const task = tasks.get(id)
      tasks.delete(id)
      return { id, written: task === undefined ? 0 : await runner.store(task, request.hosts) }
    }
    for (const { fd, name } of request.files) {
      descriptors.push(fd)
      names.push(name)
    }
    if (request.kind === 'copy') return { id, written: await runner.copy(request.task) }
    tasks.set(id, request.task)
    return { id, loaded: await runner.load(request.task) }
  }
  port.on('message', (request: WorkerRequest) => {
    answer(request).then(
      message => port.postMessage(message),
      (error: unknown) => port.postMessage({ id: request.id, error: plainError(error) }),
    )
  })
}

function plainError(error: unknown): NonNullable<WorkerAnswer['error']> {
  if (isDrydiskError(error)) return { code: error.code, message: error.message, context: error.context }
  return {
    code: undefined,
    message: error instanceof Error ? (error.stack ?? error.message) : String(error),
    context: {},
  }
}

/** What lies past the end of the file reads as zeros. */
function readAll(fd: number, name: string, offset: number, into: Uint8Array): void {
  try {
    for (let done = 0; done < into.length; ) {
      const count = readSync(fd, into, done, into.length - done, offset + done)
      if (count === 0) {
        into.fill(0, done)
        return
      }
      done += count
    }
  } catch (error) {
    throw fileError(error, name, 'read')
  }
}

function write(fd: number, name: string, offset: number, from: Uint8Array): void {
  try {
    writeAll(fd, offset, from)
  } catch (error) {
    throw fileError(error, name, 'write')
  }
}

if (parentPort !== null) serve(parentPort, workerData as WorkerSetup)
