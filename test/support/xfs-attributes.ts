import { createHash } from 'node:crypto'
import { expect } from 'vitest'
import { withXfsMount } from '../../native-fixtures/xfs-images.ts'
import { getAttribute, listAttributes } from '../../src/filesystem/xfs/attributes.ts'
import type { XfsWriter } from '../../src/filesystem/xfs/writer.ts'
import { runOk } from './native.ts'

/** Attributes by their names with the namespace. */
export type Values = Map<string, Uint8Array>

/** Names of one hash, of 36 letters: a bit of a letter and another one of the fifth letter behind meet in it. */
export function sameHash(index: number): string {
  return Array.from({ length: 6 }, (_, bit) => ((index >> bit) & 1 ? 'cxxxxi' : 'bxxxxa')).join('')
}

/** @param all values too, not names alone. */
export async function expectValues(
  { volume, inodes }: XfsWriter,
  ino: number,
  values: Values,
  all = true,
): Promise<void> {
  const inode = await inodes.read(ino)
  expect((await listAttributes(volume, inode)).sort()).toEqual([...values.keys()].sort())
  if (!all) return
  for (const [name, value] of values) {
    const got = await getAttribute(volume, inode, name)
    if (got === undefined || Buffer.compare(got, value) !== 0) expect(got, name).toEqual(value)
  }
}

const SEES = `
import hashlib, json, os, sys
top, out = sys.argv[1], {}
for name in os.listdir(top):
    path = os.path.join(top, name)
    attributes = os.listxattr(path, follow_symlinks=False)
    sums = {each: hashlib.sha1(os.getxattr(path, each, follow_symlinks=False)).hexdigest() for each in attributes}
    out[name] = sums
print(json.dumps(out))
`

/** What the kernel shows of everything in the root directory. Needs root. */
export async function expectKernelSees(
  image: string,
  files: ReadonlyMap<string, Values>,
  also: (top: string) => void = () => {},
): Promise<void> {
  const seen = await withXfsMount(image, 'ro,norecovery', async top => {
    also(top)
    return JSON.parse(await runOk('python3', ['-c', SEES, top])) as Record<string, unknown>
  })
  for (const [name, values] of files) {
    const sums = [...values].map(([key, value]) => [key, createHash('sha1').update(value).digest('hex')])
    expect(seen[name], name).toEqual(Object.fromEntries(sums))
  }
}
