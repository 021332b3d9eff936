import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { bigEndian } from '../../src/bytes/byte-view.ts'
import { dirDataMagic } from '../../src/filesystem/xfs/dir-data.ts'
import { nameHash, nameRules } from '../../src/filesystem/xfs/dir-name.ts'
import { DataBlock } from '../../src/filesystem/xfs/directory-edit/data-block.ts'
import { checkFreeBlock, FreeBlock } from '../../src/filesystem/xfs/directory-edit/free-block.ts'
import { DirLayout, NO_BLOCK } from '../../src/filesystem/xfs/directory-edit/layout.ts'
import { LoneLeafBlock } from '../../src/filesystem/xfs/directory-edit/leaf-block.ts'
import {
  readShortForm,
  type ShortForm,
  shortFormSize,
  storeShortForm,
  withEntry,
} from '../../src/filesystem/xfs/directory-edit/short-form.ts'
import { SingleBlock } from '../../src/filesystem/xfs/directory-edit/single-block.ts'
import { propertySettings } from '../support/native.ts'
import { nameOf } from '../support/xfs-directory.ts'

const layouts = fc
  .record({
    isV5: fc.boolean(),
    hasFtype: fc.boolean(),
    dirBlockSize: fc.constantFrom(4096, 8192, 65_536),
  })
  .map(shape => new DirLayout(shape, 99))

const lengths = fc.oneof(fc.integer({ min: 1, max: 30 }), fc.integer({ min: 1, max: 255 }))
const moves = fc.array(fc.record({ length: lengths, pick: fc.nat(), add: fc.boolean() }), {
  maxLength: 400,
  size: 'max',
})

function block(layout: DirLayout) {
  return bigEndian(new Uint8Array(layout.blockSize), 'block')
}

/** A name of its own for each number. */
function named(length: number, n: number): Uint8Array {
  const name = new Uint8Array(length).fill(0x61)
  for (const [index, digit] of [...String(n)].entries()) name[index % length] = digit.charCodeAt(0)
  return name
}

/** A volume that has every inode. */
const EVERYWHERE = { inodePlace: () => ({ agno: 0, agbno: 0, index: 0 }) }

function checkSingle(single: SingleBlock): void {
  single.data.check(EVERYWHERE)
  single.check(nameRules(false))
}

describe('blocks of XFS directories', () => {
  test('entries come and go, and the list of free spaces stays right', () => {
    fc.assert(
      fc.property(layouts, moves, (layout, list) => {
        const data = new DataBlock(block(layout), layout, false)
        data.clear()
        const model = new Map<number, { name: string; ino: number; filetype: number }>()
        for (const [n, { length, pick, add }] of list.entries()) {
          const name = named(length, n)
          const space = data.spaceFor(layout.entrySize(name))
          if (add && space !== undefined) {
            const filetype = layout.hasFtype ? n % 8 : 0
            data.insert({ name, ino: n + 1, filetype }, space)
            model.set(space.offset, { name: nameOf(name), ino: n + 1, filetype })
          } else if (model.size > 0) {
            const offset = [...model.keys()][pick % model.size] ?? 0
            data.remove(offset)
            model.delete(offset)
          }
          data.check(EVERYWHERE)
          expect(data.isEmpty).toBe(model.size === 0)
        }
        const found = [...data.entries()].map(({ offset, name, ...rest }) => [
          offset,
          { ...rest, name: nameOf(name) },
        ])
        expect(new Map(found as never)).toEqual(model)
      }),
      propertySettings(60),
    )
  })

  test('a single block holds entries and hashes, and gives the hashes away and takes them back', () => {
    fc.assert(
      fc.property(layouts, moves, (layout, list) => {
        const view = block(layout)
        view.setU32(0, dirDataMagic(layout.isV5, true))
        const single = new SingleBlock(view, layout)
        single.fill([], nameHash)
        const model: Uint8Array[] = []
        for (const [n, { length, pick, add }] of list.entries()) {
          const name = named(length, n)
          if (add) {
            const room = [...single.data.unused()].some(
              ({ length: free }) => free >= layout.entrySize(name) + 8,
            )
            const added = single.add({ name, ino: n + 1, filetype: 1 }, nameHash(name))
            if (added) model.push(name)
            else expect(room && single.data.lastSpace !== undefined).toBe(false)
          } else if (model.length > 0) {
            const [name] = model.splice(pick % model.length, 1)
            const entry = [...single.data.entries()].find(
              each => nameOf(each.name) === nameOf(name ?? named(1, 0)),
            )
            single.remove(nameHash(name ?? named(1, 0)), entry?.offset ?? 0)
          }
          checkSingle(single)
        }
        const before = view.bytes.slice()
        const hashes = single.takeHashes()
        new DataBlock(view, layout, false).check(EVERYWHERE)
        expect(hashes.map(({ hash }) => hash)).toEqual(model.map(nameHash).sort((a, b) => a - b))
        expect(single.giveHashes(hashes)).toBe(true)
        checkSingle(single)
        expect(Buffer.compare(view.slice(layout.blockSize - 8, 8), before.subarray(-8))).toBe(0)
        expect([...single.data.entries()].length).toBe(model.length)
      }),
      propertySettings(30),
    )
  })

  test('stale hashes are given back before anything is added', () => {
    const layout = new DirLayout({ isV5: true, hasFtype: true, dirBlockSize: 4096 }, 99)
    const single = new SingleBlock(block(layout), layout)
    single.fill([], nameHash)
    const names = Array.from({ length: 90 }, (_, n) => named(10, n))
    for (const [n, name] of names.entries())
      expect(single.add({ name, ino: n + 1, filetype: 1 }, nameHash(name))).toBe(true)
    // What Linux leaves: the entry is free space, its hash has no address.
    for (const { offset, name } of [...single.data.entries()].filter((_, n) => n % 2 === 0)) {
      const { count, hash, address } = single.hashes
      for (let index = 0; index < count; index++)
        if (hash(index) === nameHash(name) && address(index) * 8 === offset)
          single.view.setU32(4096 - 8 - (count - index) * 8 + 4, 0)
      single.view.setU32(4096 - 4, single.view.u32(4096 - 4) + 1)
      single.data.remove(offset)
    }
    checkSingle(single)
    expect(single.count).toBe(90)
    expect(single.add({ name: named(200, 500), ino: 500, filetype: 1 }, nameHash(named(200, 500)))).toBe(true)
    expect(single.count).toBe(46)
    checkSingle(single)
  })

  test('a lone leaf and a block of free space keep their tables', () => {
    const bests = fc.array(fc.oneof(fc.constant(NO_BLOCK), fc.integer({ min: 0, max: 4000 })), {
      minLength: 1,
      maxLength: 60,
    })
    fc.assert(
      fc.property(
        layouts,
        bests,
        fc.array(fc.nat({ max: 59 }), { maxLength: 20 }),
        (layout, list, removed) => {
          const leaf = new LoneLeafBlock(block(layout), layout)
          leaf.bests = list
          leaf.insert({ hash: 5, address: 9 })
          leaf.insert({ hash: 3, address: 8 })
          expect(leaf.live).toEqual([
            { hash: 3, address: 8 },
            { hash: 5, address: 9 },
          ])
          expect(leaf.blockFor(2000)).toBe(
            list.findIndex(best => best >= 2000 && best !== NO_BLOCK) < 0
              ? undefined
              : list.findIndex(best => best >= 2000 && best !== NO_BLOCK),
          )
          const model: number[] = []
          const free = new FreeBlock(block(layout), layout)
          for (const [entry, best] of [...list.entries()].reverse())
            if (best !== NO_BLOCK) {
              free.setBest(entry, best)
              while (model.length <= entry) model.push(NO_BLOCK)
              model[entry] = best
            }
          for (const entry of removed) {
            if ((model[entry] ?? NO_BLOCK) === NO_BLOCK) continue
            free.remove(entry)
            leaf.setBest(entry, NO_BLOCK)
            model[entry] = NO_BLOCK
            while (model.at(-1) === NO_BLOCK) model.pop()
          }
          expect(free.bests).toEqual(model)
          checkFreeBlock(free.view, layout, 0)
          leaf.trimBests()
          expect(leaf.bests).toEqual(model)
          expect(leaf.live.length).toBe(2)
        },
      ),
      propertySettings(60),
    )
  })

  test('a directory in an inode: offsets in order, inode numbers of 4 or 8 bytes', () => {
    fc.assert(
      fc.property(layouts, moves, fc.boolean(), (layout, list, far) => {
        const literal = bigEndian(new Uint8Array(1800), 'inode')
        let form: ShortForm = { parent: far ? 2 ** 40 : 128, entries: [] }
        for (const [n, { length, pick, add }] of list.slice(0, 60).entries()) {
          const ino = pick % 5 === 0 ? 2 ** 33 + n : n + 1
          const grown = add
            ? withEntry(form, { name: named(length, n), ino, filetype: layout.hasFtype ? 1 : 0 }, layout)
            : { ...form, entries: form.entries.toSpliced(pick % (form.entries.length + 1), 1) }
          if (grown === undefined || shortFormSize(grown, layout.hasFtype) > 1800) continue
          form = grown
          storeShortForm(literal, form, layout.hasFtype)
          const long = [form.parent, ...form.entries.map(entry => entry.ino)].filter(each => each >= 2 ** 32)
          expect([literal.u8(0), literal.u8(1)]).toEqual([form.entries.length, long.length])
          const read = readShortForm(literal, shortFormSize(form, layout.hasFtype), layout)
          expect(read).toEqual(form)
          let least = layout.firstEntry
          for (const { offset, name } of read.entries) {
            expect(offset).toBeGreaterThanOrEqual(least)
            least = offset + layout.entrySize(name)
          }
          expect(least + (read.entries.length + 2) * 8 + 8).toBeLessThanOrEqual(layout.blockSize)
        }
      }),
      propertySettings(15),
    )
  })
})
