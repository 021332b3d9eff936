import { expect, vi } from 'vitest'
import { type Dinode, FORMAT } from '../../src/filesystem/xfs/dinode.ts'
import { listNames, lookupName } from '../../src/filesystem/xfs/directory.ts'
import {
  addEntry,
  initDirectory,
  isEmptyDirectory,
  removeEntry,
  replaceEntry,
  setParent,
} from '../../src/filesystem/xfs/directory-edit/directory-edit.ts'
import { ForkMap } from '../../src/filesystem/xfs/fork-map.ts'
import { inTransaction } from '../../src/filesystem/xfs/transaction.ts'
import type { XfsWriter } from '../../src/filesystem/xfs/writer.ts'

export type DirectoryForm = 'short' | 'block' | 'leaf' | 'node'

const LEAF_OFFSET = 2 ** 35

/** Names as keys: one character for each byte. */
export function bytesOf(name: string): Uint8Array {
  return Uint8Array.from(name, character => character.charCodeAt(0))
}

export function nameOf(bytes: Uint8Array): string {
  return String.fromCharCode(...bytes)
}

/** A directory `d` of hard links to two files, `f0` and `f1` of the root, and what should be in it. */
export class DirectoryLab {
  readonly writer: XfsWriter
  readonly ino: number
  readonly files: readonly [number, number]
  readonly entries = new Map<string, number>()

  private constructor(writer: XfsWriter, ino: number, files: readonly [number, number]) {
    this.writer = writer
    this.ino = ino
    this.files = files
  }

  /** @param near in whose allocation group the inodes are to be; that of the root when left out. */
  static async make(writer: XfsWriter, near?: number): Promise<DirectoryLab> {
    return inTransaction(writer, async () => {
      const rootino = writer.volume.superblock.sb_rootino
      const made: number[] = []
      for (const [name, mode, type] of [
        ['d', 0o040755, 'directory'],
        ['f0', 0o100644, 'file'],
        ['f1', 0o100644, 'file'],
      ] as const) {
        const inode = await writer.inodeAllocator.allocate(near ?? rootino, mode)
        inode.di_nlink = type === 'directory' ? 2 : 1
        if (type === 'directory') initDirectory(writer, inode, rootino)
        const root = await writer.inodes.edit(rootino)
        await addEntry(writer, root, bytesOf(name), inode.ino, type)
        if (type === 'directory') root.di_nlink++
        made.push(inode.ino)
      }
      const [directory = 0, first = 0, second = 0] = made
      return new DirectoryLab(writer, directory, [first, second])
    })
  }

  /** The one that is there, made by the kernel. */
  static async open(writer: XfsWriter): Promise<DirectoryLab> {
    const lab = await DirectoryLab.known(writer)
    for await (const { name, ino } of listNames(writer, await lab.inode())) lab.entries.set(nameOf(name), ino)
    return lab
  }

  /** The one that is there, whatever is in it. */
  static async known(writer: XfsWriter): Promise<DirectoryLab> {
    const root = await writer.inodes.read(writer.volume.superblock.sb_rootino)
    const found = (name: string) => lookupName(writer, root, bytesOf(name))
    return new DirectoryLab(writer, await found('d'), [await found('f0'), await found('f1')])
  }

  async inode(): Promise<Dinode> {
    return this.writer.inodes.read(this.ino)
  }

  async add(name: string, which: 0 | 1 = 0): Promise<void> {
    const ino = this.files[which]
    await inTransaction(this.writer, async () => {
      await addEntry(this.writer, await this.writer.inodes.edit(this.ino), bytesOf(name), ino, 'file')
      ;(await this.writer.inodes.edit(ino)).di_nlink++
    })
    this.entries.set(name, ino)
  }

  async remove(name: string): Promise<void> {
    const ino = this.entries.get(name) ?? 0
    await inTransaction(this.writer, async () => {
      await removeEntry(this.writer, await this.writer.inodes.edit(this.ino), bytesOf(name), { ino })
      ;(await this.writer.inodes.edit(ino)).di_nlink--
    })
    this.entries.delete(name)
  }

  /** Removes a name that leads to one of the files, as it is found there. */
  async removeAny(name: string): Promise<void> {
    this.entries.set(name, await lookupName(this.writer, await this.inode(), bytesOf(name)))
    await this.remove(name)
  }

  async replace(name: string, which: 0 | 1): Promise<void> {
    const [before, after] = [this.entries.get(name) ?? 0, this.files[which]]
    await inTransaction(this.writer, async () => {
      await replaceEntry(this.writer, await this.writer.inodes.edit(this.ino), bytesOf(name), after, 'file')
      ;(await this.writer.inodes.edit(before)).di_nlink--
      ;(await this.writer.inodes.edit(after)).di_nlink++
    })
    this.entries.set(name, after)
  }

  /** Told by what is mapped, and for a directory of blocks by the magic number of its hashes. */
  async form(): Promise<DirectoryForm> {
    const { volume } = this.writer
    const inode = await this.inode()
    if (inode.data.format === FORMAT.LOCAL) return 'short'
    const map = new ForkMap(volume, inode, inode.data)
    const { sb_blocksize, dirBlockSize } = volume.superblock
    const blocks = await map.blocks(LEAF_OFFSET / sb_blocksize, dirBlockSize / sb_blocksize)
    if (blocks === undefined) return 'block'
    const bytes = await volume.buffer(blocks)
    return [0xd2f1, 0x3df1].includes((bytes[8] ?? 0) * 256 + (bytes[9] ?? 0)) ? 'leaf' : 'node'
  }

  /** `..` leads to the root, and elsewhere for a while. */
  async checkParent(): Promise<void> {
    const { geometry, superblock } = this.writer.volume
    const { sb_rootino } = superblock
    // As if the volume were large enough for a number of more than 32 bits.
    const place = geometry.inodePlace.bind(geometry)
    const large = vi.spyOn(geometry, 'inodePlace')
    large.mockImplementation(ino => place(ino === 2 ** 40 ? sb_rootino : ino))
    for (const parent of [sb_rootino + 1, 2 ** 40, sb_rootino]) {
      await inTransaction(this.writer, async () =>
        setParent(this.writer, await this.writer.inodes.edit(this.ino), parent),
      )
      expect(await lookupName(this.writer, await this.inode(), bytesOf('..'))).toBe(parent)
    }
    large.mockRestore()
  }

  /** Every name is listed once and found, others are not. */
  async check(): Promise<void> {
    const inode = await this.inode()
    const listed = new Map<string, number>()
    let count = 0
    for await (const { name, ino, type } of listNames(this.writer, inode)) {
      expect(type).toBe('file')
      listed.set(nameOf(name), ino)
      count++
    }
    expect(count).toBe(this.entries.size)
    expect(listed).toEqual(this.entries)
    expect(await isEmptyDirectory(this.writer, inode)).toBe(count === 0)
    for (const [name, ino] of this.entries)
      expect(await lookupName(this.writer, inode, bytesOf(name)), name).toBe(ino)
    await expect(lookupName(this.writer, inode, bytesOf('no such name'))).rejects.toMatchObject({
      code: 'ENOENT',
    })
  }
}
