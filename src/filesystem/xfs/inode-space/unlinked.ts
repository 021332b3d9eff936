import { isDrydiskError } from '../../../errors.ts'
import { NULL_AGINO, UNLINKED_BUCKETS } from '../agi.ts'
import type { Dinode } from '../dinode.ts'
import type { Soon } from '../soon.ts'
import { inTransaction } from '../transaction.ts'
import type { XfsWriter } from '../writer.ts'
import { GroupInodes } from './group-inodes.ts'
import { stateOf } from './inode-record.ts'

export interface UnlinkedResult {
  /** Inodes that were on the lists. */
  readonly count: number
  /** What was damaged, and so left. */
  readonly warnings: readonly string[]
}

/**
 * Finishes what a crash interrupted: files that were open and had no name any more are freed, as Linux does when it mounts
 * (xlog_recover_process_iunlinks). Afterwards the lists are empty, but for one whose file needs space to be freed. Not in a transaction: each inode is one.
 *
 * An inode that has links was never to be freed; it is only taken off, as by xfs_repair. A list that leads to no inode in use,
 * or to one of another list, ends there, and a file that cannot be freed stays: what only such a list knows of is
 * space that is lost until xfs_repair finds it, and no reason to refuse the filesystem. Linux too clears a list that it cannot follow.
 *
 * Every step takes the first inode off, and an inode that is freed is not in use any more: a list in a circle ends as well.
 * @param destroy frees an inode that is open for change, with all that it has.
 */
export async function finishUnlinked(
  writer: XfsWriter,
  destroy: (inode: Dinode) => Soon<void>,
): Promise<UnlinkedResult> {
  const { volume } = writer
  const warnings: string[] = []
  let count = 0
  for (let agno = 0; agno < volume.geometry.agCount; agno++) {
    const trees = new GroupInodes(volume, writer.space, agno)
    for (let bucket = 0; bucket < UNLINKED_BUCKETS; bucket++)
      for (;;) {
        const agino = (await volume.readAgi(agno)).unlinked(bucket)
        if (agino === NULL_AGINO) break
        const ino = volume.geometry.inodeNumber(agno, agino)
        const list = { agno, bucket }
        try {
          if (!(await isOf(list, agino, trees, writer))) {
            await inTransaction(writer, () => setFirst(writer, list, NULL_AGINO))
            warnings.push(
              `list ${bucket} of removed files in allocation group ${agno} leads to inode ${ino}, which is none of it: the rest of it is lost until xfs_repair is run`,
            )
            break
          }
          await inTransaction(writer, () => finishFirst(writer, list, ino, destroy))
          count++
        } catch (error) {
          if (isDrydiskError(error, 'ENOSPC')) {
            // Files can be removed now, and the next open has room for what this one had not.
            warnings.push(`removed file, inode ${ino}, waits to be freed until there is more space`)
            break
          }
          if (!isDrydiskError(error, 'ERR_CORRUPT', 'ERR_UNSUPPORTED')) throw error
          const left = await leaveFirst(writer, list, ino)
          warnings.push(`removed file, inode ${ino}, cannot be freed (${error.message})`)
          if (!left) break
        }
      }
  }
  return { count, warnings }
}

interface List {
  readonly agno: number
  readonly bucket: number
}

/** Whether an inode is in use and hashed into the list. */
async function isOf(
  { agno, bucket }: List,
  agino: number,
  trees: GroupInodes,
  { volume }: XfsWriter,
): Promise<boolean> {
  const { geometry, superblock } = volume
  if (agino % UNLINKED_BUCKETS !== bucket) return false
  if (agino >= geometry.agLength(agno) * superblock.sb_inopblock) return false
  const chunk = await trees.chunkOf(agino)
  return chunk !== undefined && stateOf(chunk, agino) === 'used'
}

async function setFirst({ volume }: XfsWriter, { agno, bucket }: List, agino: number): Promise<void> {
  const agi = await volume.editAgi(agno)
  agi.setUnlinked(bucket, agino)
}

async function takeFirst(writer: XfsWriter, list: List, ino: number): Promise<Dinode> {
  const inode = await writer.inodes.edit(ino)
  await setFirst(writer, list, inode.di_next_unlinked)
  inode.di_next_unlinked = NULL_AGINO
  return inode
}

async function finishFirst(
  writer: XfsWriter,
  list: List,
  ino: number,
  destroy: (inode: Dinode) => Soon<void>,
): Promise<void> {
  const inode = await takeFirst(writer, list, ino)
  if (inode.di_nlink === 0) await destroy(inode)
}

/**
 * Takes an inode off that could not be freed. Where it cannot even be read, the list ends.
 * @returns whether it goes on.
 */
async function leaveFirst(writer: XfsWriter, list: List, ino: number): Promise<boolean> {
  try {
    await inTransaction(writer, () => takeFirst(writer, list, ino))
    return true
  } catch (error) {
    if (!isDrydiskError(error, 'ERR_CORRUPT')) throw error
    await inTransaction(writer, () => setFirst(writer, list, NULL_AGINO))
    return false
  }
}
