import fc from 'fast-check'
import { expect, test } from 'vitest'
import { MemoryFileSystem } from '../../../src/filesystem/memory/memory-filesystem.ts'
import { applyToBoth, fileSystemCommands } from '../../support/filesystem-commands.ts'
import { snapshot } from '../../support/filesystem-snapshot.ts'
import { propertySettings } from '../../support/native.ts'

test('the model agrees with itself, and its accounting holds after any commands', async () => {
  await fc.assert(
    fc.asyncProperty(fileSystemCommands(40), async commands => {
      const [a, b] = [new MemoryFileSystem(), new MemoryFileSystem()]
      for (const command of commands) await applyToBoth(a, b, command)
      const tree = await snapshot(a)
      expect(await snapshot(b)).toEqual(tree)
      const inodes = new Set(Object.values(tree).map(entry => entry.sameAs))
      const { inodes: total, freeInodes } = await a.statfs()
      expect(total - freeInodes).toBe(inodes.size)
      for (const [path, entry] of Object.entries(tree)) {
        const names = Object.values(tree).filter(other => other.sameAs === entry.sameAs).length
        const children = Object.entries(tree).filter(
          ([other, { type }]) =>
            other !== '/' && type === 'directory' && (other.slice(0, other.lastIndexOf('/')) || '/') === path,
        ).length
        expect(entry.nlink).toBe(entry.type === 'directory' ? 2 + children : names)
      }
    }),
    propertySettings(100),
  )
})
