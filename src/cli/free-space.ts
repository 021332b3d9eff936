import { printable } from '../bytes/names.ts'
import type { DiskFreeSpace } from '../copy/free-ranges.ts'
import { humanSize } from './output.ts'

/** What is left out of a disk, a line for each volume. */
export function describeFree({
  volumes,
  gaps = 0,
}: Pick<DiskFreeSpace, 'volumes'> & { readonly gaps?: number }): string {
  const lines = volumes.map(({ name, type, dropped, reason }) => {
    const what = `${name}${type === '' ? '' : ` (${printable(type)})`}`
    return reason === undefined ? `${what}: ${humanSize(dropped)} free` : `${what} ${printable(reason)}`
  })
  if (gaps > 0) lines.push(`between partitions: ${humanSize(gaps)} free`)
  return lines.map(line => `${line}\n`).join('')
}
