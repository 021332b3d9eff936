import type { BmbtRecord } from '../btree-kinds.ts'
import { DIFLAG2, type Dinode } from '../dinode.ts'
import { ForkEditor } from '../fork/fork-edit.ts'
import type { XfsSpace } from '../space/space.ts'
import type { XfsWriter } from '../writer.ts'
import { corruptLog, unsupportedLog } from './errors.ts'
import { EXCHANGE, type ExchangedFile, type MappingExchange } from './intent-formats.ts'

/**
 * Two files exchange what is mapped in a range of each, holes too (Linux, xfs_exchmaps.c). What an intent says is what is left
 * of it: the steps that were done are no longer in its range.
 */
export async function exchangeMappings(
  writer: XfsWriter,
  space: XfsSpace,
  { files, count, flags }: MappingExchange,
): Promise<void> {
  if ((flags & EXCHANGE.ATTR_FORK) !== 0)
    throw unsupportedLog('attributes are to be exchanged, which only an online repair does')
  const [one, two] = [await exchanged(writer, files[0]), await exchanged(writer, files[1])]
  const [editorOne, editorTwo] = [new ForkEditor(writer, one, 'data'), new ForkEditor(writer, two, 'data')]
  const away = files[1].logical - files[0].logical
  for (const [from, to] of await ranges(editorOne, files[0].logical, count, flags)) {
    const ofOne = await editorOne.detach(from, to)
    const ofTwo = await editorTwo.detach(from + away, to + away)
    await disown(space, editorOne, ofOne)
    await disown(space, editorTwo, ofTwo)
    await place(space, editorOne, ofTwo, -away)
    await place(space, editorTwo, ofOne, away)
  }
  if ((flags & EXCHANGE.SET_SIZES) !== 0) {
    one.di_size = files[0].size
    two.di_size = files[1].size
  }
  if ((flags & EXCHANGE.CLEAR_INO1_REFLINK) !== 0) one.di_flags2 &= ~DIFLAG2.REFLINK
  if ((flags & EXCHANGE.CLEAR_INO2_REFLINK) !== 0) two.di_flags2 &= ~DIFLAG2.REFLINK
}

async function exchanged(writer: XfsWriter, { ino, generation }: ExchangedFile): Promise<Dinode> {
  const inode = await writer.inodes.edit(ino)
  if (inode.di_gen !== generation)
    throw corruptLog(`inode ${ino} has generation ${inode.di_gen}, and one of ${generation} is meant`)
  return inode
}

/** All of it, or what the first file has written there (XFS_EXCHMAPS_INO1_WRITTEN). */
async function ranges(
  editor: ForkEditor,
  logical: number,
  count: number,
  flags: number,
): Promise<[number, number][]> {
  if ((flags & EXCHANGE.INO1_WRITTEN) === 0) return count > 0 ? [[logical, logical + count]] : []
  const found: [number, number][] = []
  for await (const run of editor.map.runs(logical, logical + count))
    if (run.block !== undefined && !run.unwritten) found.push([run.logical, run.logical + run.count])
  return found
}

async function disown(space: XfsSpace, editor: ForkEditor, parts: readonly BmbtRecord[]): Promise<void> {
  for (const { br_startoff, br_startblock, br_blockcount, unwritten } of parts)
    await space.unmap({ start: br_startblock, count: br_blockcount }, editor.owner(br_startoff, unwritten))
}

async function place(
  space: XfsSpace,
  editor: ForkEditor,
  parts: readonly BmbtRecord[],
  away: number,
): Promise<void> {
  for (const { br_startoff, br_startblock, br_blockcount, unwritten } of parts) {
    const extent = { start: br_startblock, count: br_blockcount }
    await editor.place(br_startoff + away, extent, unwritten)
    await space.map(extent, editor.owner(br_startoff + away, unwritten))
  }
}
