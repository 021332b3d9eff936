import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { printable, toBytes } from '../../src/bytes/names.ts'
import {
  type CompareGuestsOptions,
  compareGuests,
  convert,
  createImage,
  demoGuest,
  describeChange,
  type GuestChange,
  type GuestFs,
  type Image,
  makeFs,
  openImage,
} from '../../src/index.ts'
import { checkWrittenImages, propertySettings, temporaryFolder, writes } from '../support/native.ts'

checkWrittenImages()

const UUID = '6f1c3b1e-5a3f-4a57-9d0e-7a4b8d1c2e3f'
const kinds = [
  { type: 'ext4', format: 'qcow2', size: 64 << 20, features: [] },
  { type: 'ext4', format: 'raw', size: 64 << 20, features: ['^extent', '^has_journal'] },
  { type: 'ext4', format: 'qcow2', size: 64 << 20, features: ['inline_data'] },
  { type: 'xfs', format: 'qcow2', size: 320 << 20, features: [] },
  { type: 'xfs', format: 'raw', size: 320 << 20, features: [] },
] as const

const PLACES = ['/a', '/b', '/d/a', '/d/b', '/d/e/c', '/d/e', '/many/f7', '/etc/motd', '/holes']
const place = fc.constantFrom(...PLACES)
const edit = fc.record({
  what: fc.constantFrom(
    ...['write', 'long', 'secretly', 'piece', 'truncate', 'mkdir', 'remove', 'rename', 'link', 'symlink'],
    ...['fifo', 'chmod', 'chown', 'utimes', 'xattr', 'large xattr', 'no xattr', 'many', 'commit'],
  ),
  path: place,
  other: place,
  text: fc.constantFrom('', 'x', 'other', 'text\n'),
})
type Edit = typeof edit extends fc.Arbitrary<infer T> ? T : never

async function make({ type, format, size, features }: (typeof kinds)[number]): Promise<string> {
  const folder = temporaryFolder()
  const path = join(folder, 'made.qcow2')
  await createImage(path, { format: 'qcow2', size })
  {
    await using image = await openImage(path, { writable: true })
    await makeFs(image.disk, demoGuest(UUID), { uuid: UUID, type, features })
    await image.commit()
  }
  {
    await using image = await openImage(path, { writable: true })
    const { fs } = await image.guest()
    await fs.mkdir('/d/e', { recursive: true })
    await fs.mkdir('/many')
    for (let index = 0; index < 80; index++) await fs.writeFile(`/many/f${index}`, `${index}`)
    // More extents than an inode has room for.
    await fs.writeFile('/holes', '')
    for (let at = 0; at < 40; at++) await fs.writeAt('/holes', at * 20_000, new Uint8Array([at]))
    await image.commit()
  }
  if (format === 'qcow2') return writes(path, 'disk')
  const raw = join(folder, 'made.raw')
  await convert(path, raw, { format })
  return writes(raw, 'disk')
}

/** What a writer of its own does that leaves no trace in the times: it sets all of them back. */
async function secretly(image: Image, path: string, text: string): Promise<void> {
  const { fs } = await image.guest()
  const { ino, size, atimeNs, mtimeNs, ctimeNs } = await fs.lstat(path)
  await fs.writeAt(path, 0, toBytes(text).subarray(0, Math.max(1, size)))
  await fs.table.root.fs?.setAttributes(ino, { atime: atimeNs, mtime: mtimeNs, ctime: ctimeNs })
}

async function apply(image: Image, { what, path, other, text }: Edit): Promise<void> {
  const { fs } = await image.guest()
  const perform: Record<string, () => Promise<unknown>> = {
    write: () => fs.writeFile(path, text),
    long: () => fs.writeFile(path, new Uint8Array(100_000).fill(text.length)),
    secretly: () => secretly(image, path, text),
    piece: () => fs.writeAt(path, 60_001, toBytes(text)),
    truncate: () => fs.truncate(path, text.length),
    mkdir: () => fs.mkdir(path),
    remove: () => fs.rm(path, { recursive: true, force: true }),
    rename: () => fs.rename(path, other),
    link: () => fs.link(path, other),
    symlink: () => fs.symlink(text.repeat(30), path),
    fifo: () => fs.mknod(path, 'character-device', { major: text.length, minor: 0 }),
    chmod: () => fs.chmod(path, 0o600 + text.length),
    chown: () => fs.lchown(path, text.length, 0),
    utimes: () => fs.utimes(path, BigInt(text.length), BigInt(text.length)),
    xattr: () => fs.setxattr(path, 'user.x', toBytes(text)),
    'large xattr': () => fs.setxattr(path, 'user.large', new Uint8Array(1500).fill(text.length)),
    'no xattr': () => fs.removexattr(path, 'user.x'),
    many: async () => {
      for (let index = 0; index < 60; index++) await fs.writeFile(`${path}.${index}`, text)
    },
    commit: () => image.commit(),
  }
  // Not every edit is possible where it is tried.
  await perform[what]?.().catch(() => undefined)
}

async function told(changes: AsyncIterable<GuestChange>): Promise<string[]> {
  const out: string[] = []
  for await (const change of changes)
    out.push(`${change.kind} ${printable(change.path)} ${change.aspects.join(',')} ${describeChange(change)}`)
  return out
}

async function withCommitted<T>(path: string, use: (fs: GuestFs) => Promise<T>): Promise<T> {
  await using image = await openImage(path, { force: true })
  return await use((await image.guest()).fs)
}

const all: CompareGuestsOptions = { times: true }

describe('what a commit would change', () => {
  test.each(kinds)(
    'is told as a whole comparison tells it: $type in $format $features',
    async kind => {
      const path = await make(kind)
      await fc.assert(
        fc.asyncProperty(fc.array(edit, { maxLength: 12 }), async edits => {
          await using image = await openImage(path, { writable: true })
          for (const one of edits) await apply(image, one)
          const { fs } = await image.guest()
          const expected = await withCommitted(path, before => told(compareGuests(before, fs, all)))
          expect(await told(image.diff(undefined, all))).toEqual(expected)
        }),
        propertySettings(4),
      )
    },
    60_000,
  )

  test('is told where a writer sets all times back', async () => {
    await using image = await openImage(await make(kinds[0]), { writable: true })
    await secretly(image, '/many/f12', 'xy')
    expect((await told(image.diff())).map(line => line.split(' ').slice(0, 3))).toEqual([
      ['changed', '/many/f12', 'content'],
    ])
    await expect(told(image.diff(undefined, { path: '/none' }))).rejects.toMatchObject({ code: 'ENOENT' })
    await expect(told(image.diff(undefined, { signal: AbortSignal.abort() }))).rejects.toMatchObject({
      code: 'ERR_ABORTED',
    })
  })

  test('passes over what another disk holds, and cannot be read here', async () => {
    const path = await make(kinds[0])
    {
      await using image = await openImage(path, { writable: true })
      const { fs } = await image.guest()
      await fs.mkdir('/data')
      await fs.appendFile('/etc/fstab', '/dev/vdb1 /data ext4 defaults 0 2\n')
      await image.commit()
    }
    await using image = await openImage(path, { writable: true })
    const { fs } = await image.guest()
    await fs.writeFile('/etc/motd', 'new\n')
    expect((await told(image.diff())).map(line => line.split(' ').slice(0, 3))).toEqual([
      ['changed', '/etc/motd', 'content'],
    ])
  })
})
