import { expect } from 'vitest'
import type { GuestFs } from '../../../src/guest/guest-fs.ts'
import { memoryGuest } from '../../../src/guest/memory-guest.ts'
import type { Operation, OperationReport } from '../../../src/operations/operation.ts'

const WRITING = new Set([
  'writeFile',
  'appendFile',
  'writeAt',
  'truncate',
  'mkdir',
  'symlink',
  'link',
  'mknod',
  'unlink',
  'rmdir',
  'rm',
  'rename',
  'chmod',
  'chown',
  'utimes',
  'lchown',
  'lutimes',
  'setxattr',
  'removexattr',
])

/** The guest with every writing call noted. */
export function watched(guest: GuestFs): { guest: GuestFs; writes: string[] } {
  const writes: string[] = []
  const proxy = new Proxy(guest, {
    get(target, property) {
      const value: unknown = Reflect.get(target, property)
      if (typeof value !== 'function') return value
      return (...args: unknown[]) => {
        if (typeof property === 'string' && WRITING.has(property))
          writes.push(`${property} ${String(args[0])}`)
        return Reflect.apply(value, target, args) as unknown
      }
    },
  })
  return { guest: proxy, writes }
}

/** Runs an operation, then again: the second run must report nothing and write nothing. */
export async function runTwice<A>(
  guest: GuestFs,
  operation: Operation<A>,
  args: A,
): Promise<OperationReport> {
  const report = await operation.run(guest, args)
  const again = watched(guest)
  const second = await operation.run(again.guest, args)
  expect(second.changes, `a second ${operation.name} changes nothing`).toEqual([])
  expect(again.writes, `a second ${operation.name} writes nothing`).toEqual([])
  return report
}

export { memoryGuest }

export async function text(guest: GuestFs, path: string): Promise<string> {
  return new TextDecoder().decode(await guest.readFile(path))
}

/** Changed lines of two texts, `-`/`+` prefixed, for texts of which lines are replaced, added or removed in place. */
export function changedLines(before: string, after: string): string[] {
  const a = before.split('\n')
  const b = after.split('\n')
  const removed = a.filter(line => !b.includes(line)).map(line => `-${line}`)
  const added = b.filter(line => !a.includes(line)).map(line => `+${line}`)
  return [...removed, ...added]
}
