import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { withXfs } from '../../native-fixtures/xfs-images.ts'
import { pattern } from '../support/filesystem-contract.ts'
import { haveTool, runOk, temporaryFolder } from '../support/native.ts'

const b = (text: string) => new TextEncoder().encode(text)

/** Few kernels mount version 4 any more, so mkfs.xfs fills these by itself. */
const VARIANTS: Readonly<Record<string, readonly string[]>> = {
  'blocks of 512 bytes, no types in directories': ['-b', 'size=512', '-n', 'ftype=0', '-i', 'size=256'],
  'blocks of 1 KiB, types, attr1': ['-b', 'size=1024', '-n', 'ftype=1', '-i', 'attr=1'],
  'counters that are not lazy, small project numbers': ['-l', 'lazy-count=0', '-i', 'projid32bit=0'],
  'blocks of 64 KiB': ['-b', 'size=65536'],
  'log of version 1': ['-l', 'version=1'],
}

describe.skipIf(!haveTool('mkfs.xfs'))('XFS of version 4', () => {
  for (const [name, args] of Object.entries(VARIANTS))
    test(name, async () => {
      const folder = temporaryFolder()
      const [image, content, proto] = ['image', 'content', 'proto'].map(part => join(folder, part))
      if (!image || !content || !proto) throw new Error('no names')
      mkdirSync(content)
      writeFileSync(join(content, 'long'), pattern(700_001, 3))
      symlinkSync('long', join(content, 'link'))
      const names = Array.from({ length: 900 }, (_, n) => `name-${n}-${'x'.repeat(n % 40)}`)
      const lines = names.map(entry => `${entry} ---644 7 8 /dev/null`)
      const top = [
        `long ---640 3 4 ${join(content, 'long')}`,
        'link l--777 0 0 some/where',
        'null c--666 0 0 1 3',
      ]
      writeFileSync(
        proto,
        [
          '/',
          '0 0',
          'd--755 0 0',
          ...top,
          'many du-750 5 6',
          ...lines,
          '$',
          'few d--700 0 0',
          'one -u-755 0 0 /dev/null',
          '$',
          '$',
          '',
        ].join('\n'),
      )
      await runOk('truncate', ['-s', '320M', image])
      await runOk('mkfs.xfs', ['-q', '-m', 'crc=0', ...args, '-p', proto, image])
      await withXfs(image, async fs => {
        const list = async (ino: number) => {
          const found: string[] = []
          for await (const entry of fs.readdir(ino)) {
            expect(await fs.lookup(ino, entry.name)).toBe(entry.ino)
            expect((await fs.stat(entry.ino)).type).toBe(entry.type)
            found.push(new TextDecoder().decode(entry.name))
          }
          return found.sort()
        }
        expect(await list(fs.root)).toEqual(['few', 'link', 'long', 'many', 'null'])
        const many = await fs.lookup(fs.root, b('many'))
        expect(await list(many)).toEqual([...names].sort())
        expect(await fs.stat(many)).toMatchObject({ mode: 0o4750, uid: 5, gid: 6 })
        expect(await list(await fs.lookup(fs.root, b('few')))).toEqual(['one'])
        const long = await fs.lookup(fs.root, b('long'))
        const bytes = new Uint8Array(800_000)
        expect(await fs.read(long, 0, bytes)).toBe(700_001)
        expect(Buffer.compare(bytes.subarray(0, 700_001), pattern(700_001, 3))).toBe(0)
        expect(Buffer.from(await fs.readlink(await fs.lookup(fs.root, b('link')))).toString()).toBe(
          'some/where',
        )
        expect((await fs.stat(await fs.lookup(fs.root, b('null')))).rdev).toEqual({ major: 1, minor: 3 })
        let free = 0
        for await (const { length } of fs.freeRanges()) free += length
        expect(free).toBeGreaterThan(200 << 20)
      })
    })
})
