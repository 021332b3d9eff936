import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { makeXfs } from '../../native-fixtures/xfs-images.ts'
import { checkWrittenImages, haveTool, runOk, temporaryFolder, writes } from '../support/native.ts'
import { type DirectoryForm, DirectoryLab } from '../support/xfs-directory.ts'
import { stingy, withXfsWriter } from '../support/xfs-writer.ts'

checkWrittenImages()

interface Variant {
  readonly name: string
  readonly args: readonly string[]
  /** Entries that make the largest form. */
  readonly names: number
}

const VARIANTS: readonly Variant[] = [
  { name: 'as mkfs.xfs makes it', args: [], names: 1500 },
  {
    name: 'version 4 without file types, blocks of 512 bytes, directories of 4 KiB',
    args: ['-m', 'crc=0', '-n', 'ftype=0', '-b', 'size=512', '-i', 'size=256'],
    names: 1300,
  },
  {
    name: 'version 4 with file types, directories of 8 KiB',
    args: ['-m', 'crc=0', '-n', 'ftype=1,size=8192', '-b', 'size=1024', '-i', 'size=256'],
    names: 1600,
  },
  {
    name: 'directories of 64 KiB, inodes of 2 KiB',
    args: ['-n', 'size=65536', '-i', 'size=2048'],
    names: 8300,
  },
]

async function makeImage(args: readonly string[]): Promise<string> {
  const image = join(temporaryFolder(), 'image')
  await makeXfs(image, 320, args)
  return writes(image, 'xfs')
}

/** Names of mixed lengths, no two alike, in an order that seems random. */
function namesOf(count: number, seed: number): string[] {
  let state = seed
  const random = (below: number) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
  const names = new Set<string>()
  while (names.size < count) {
    const length = random(20) === 0 ? 1 + random(255) : 1 + random(24)
    let name = ''
    while (name.length < length) {
      const byte = random(256)
      if (byte !== 0 && byte !== 0x2f) name += String.fromCharCode(byte)
    }
    if (name !== '.' && name !== '..') names.add(name)
  }
  return [...names]
}

/** `xfs_repair -n` says what it says of an untouched filesystem. */
async function repairSays(image: string): Promise<string[]> {
  const text = await runOk('xfs_repair', ['-n', '-f', image])
  return text.split('\n').filter(line => !/^ *- agno = /.test(line))
}

const tools = haveTool('mkfs.xfs') && haveTool('xfs_repair')

describe.skipIf(!tools)('directories of XFS', () => {
  for (const { name, args, names } of VARIANTS)
    test(`${name}: every form, up and down`, async () => {
      const image = await makeImage(args)
      const untouched = await repairSays(image)
      const all = namesOf(names, names)
      const forms: DirectoryForm[] = []
      const note = async (lab: DirectoryLab) => {
        const form = await lab.form()
        if (forms.at(-1) === form) return
        forms.push(form)
        await lab.checkParent()
      }
      let step = 0
      const wrap = stingy(() => 1 + (step++ % 9))
      await withXfsWriter(
        image,
        async writer => {
          const lab = await DirectoryLab.make(writer)
          await note(lab)
          for (const [index, each] of all.entries()) {
            await lab.add(each, index % 2 === 0 ? 0 : 1)
            await note(lab)
          }
          await lab.check()
        },
        wrap,
      )
      expect(forms).toEqual(['short', 'block', 'leaf', 'node'])
      expect(await repairSays(image)).toEqual(untouched)
      forms.length = 0
      for (const left of [names >> 1, 40, 0])
        await withXfsWriter(image, async writer => {
          const lab = await DirectoryLab.open(writer)
          expect(await lab.form()).toBe(forms.at(-1) ?? 'node')
          for (const [index, each] of namesOf(names, names).reverse().entries()) {
            if (lab.entries.size === left) break
            if (!lab.entries.has(each)) continue
            if (index % 7 === 0) await lab.replace(each, 1)
            await lab.remove(each)
            await note(lab)
          }
          await lab.check()
        }).then(async () => expect(await repairSays(image)).toEqual(untouched))
      expect(forms).toEqual(['node', 'leaf', 'block', 'short'])
    })
})
