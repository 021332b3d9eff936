import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { haveXfsMounts, makeXfs, mountedXfs, quickFolder } from '../../native-fixtures/xfs-logs.ts'
import { bigEndian } from '../../src/bytes/byte-view.ts'
import type { Dinode } from '../../src/filesystem/xfs/dinode.ts'
import { inheritFrom } from '../../src/filesystem/xfs/inode-space/inherit.ts'
import { inTransaction } from '../../src/filesystem/xfs/transaction.ts'
import { runOk } from '../support/native.ts'
import { withWriter } from '../support/xfs-inodes.ts'

/** What xfs_io sets on a directory. */
const DIRECTORIES: Readonly<Record<string, readonly string[]>> = {
  plain: [],
  project: ['chproj 70000', 'chattr +P'],
  'project that is not passed on': ['chproj 77'],
  flags: ['chattr +dAs', 'chattr +f'],
  'hints for extents': ['extsize 65536', 'cowextsize 131072'],
  'no symlinks, streams': ['chattr +nS'],
  'all at once': ['chproj 9', 'chattr +PdAsf', 'extsize 32768'],
}

interface Inherited {
  readonly flags: number
  readonly flags2: bigint
  readonly project: number
  readonly extsize: number
  readonly cowextsize: number
}

function inherited(inode: Dinode): Inherited {
  const { di_flags: flags, di_flags2: flags2, di_projid: project, di_extsize: extsize } = inode
  return { flags, flags2, project, extsize, cowextsize: bigEndian(inode.bytes, 'inode').u32(128) }
}

describe.skipIf(!haveXfsMounts())('a new inode on XFS', () => {
  test('gets from its directory what the kernel gives', async () => {
    const image = join(quickFolder(), 'image')
    await makeXfs(image, 64, ['-m', 'reflink=1,bigtime=1'])
    const inos = new Map<string, number>()
    await mountedXfs(image, async folder => {
      for (const [name, commands] of Object.entries(DIRECTORIES)) {
        const directory = join(folder, name)
        await runOk('mkdir', [directory])
        for (const command of commands) await runOk('xfs_io', ['-c', command, directory])
        await runOk('mkdir', [join(directory, 'directory')])
        await runOk('touch', [join(directory, 'file')])
        await runOk('mkfifo', [join(directory, 'fifo')])
        for (const part of ['', 'directory', 'file', 'fifo'])
          inos.set(`${name}/${part}`, Number(await runOk('stat', ['-c', '%i', join(directory, part)])))
      }
    })
    const flags = new Set<number>()
    await withWriter(image, async writer => {
      for (const name of Object.keys(DIRECTORIES)) {
        const at = (part: string) => writer.inodes.read(inos.get(`${name}/${part}`) ?? 0)
        const parent = await at('')
        const types = { directory: 0o040755, file: 0o100644, fifo: 0o010644 }
        for (const [type, mode] of Object.entries(types))
          await inTransaction(writer, async () => {
            const inode = await writer.inodeAllocator.allocate(parent.ino, mode)
            inheritFrom(parent, inode)
            expect(inherited(inode), `${type} in ${name}`).toEqual(inherited(await at(type)))
            flags.add(inode.di_flags)
            await writer.inodeAllocator.free(inode)
          })
      }
    })
    expect(flags.size).toBeGreaterThan(6)
  })
})
