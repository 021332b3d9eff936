import type { BlockDevice } from '../../device/block-device.ts'
import { DrydiskError } from '../../errors.ts'
import type { Ext4Context } from './context.ts'
import type { FastCommitRecord } from './fast-commit-records.ts'
import { scanFastCommits } from './fast-commit-scan.ts'
import { JournalFile } from './journal-file.ts'
import { locateJournal } from './journal-location.ts'
import { JournalOverlayDevice } from './journal-overlay.ts'
import { writeHome } from './journal-replay.ts'
import { scanJournal } from './journal-scan.ts'
import { STATE, SUPERBLOCK_OFFSET, SUPERBLOCK_SIZE, Superblock } from './superblock.ts'

/** What became of a journal. */
export interface JournalRecovery {
  /**
   * The volume as its committed transactions say. Writable: the context's own device, with everything written home and the
   * journal empty. Read-only: an overlay over it, nothing written. The context is out of date in both cases: open a new one.
   */
  readonly device: BlockDevice
  /** Changes since the last transaction: applied on a read-only `device`, still to be applied on a writable one. */
  readonly fastCommits: readonly FastCommitRecord[]
  /** Blocks that the journal had newer content for. */
  readonly blocks: number
  readonly transactions: number
  readonly warnings: readonly string[]
}

/**
 * Recovers the internal journal of a filesystem that was not unmounted cleanly; of one that was, empties what is left in
 * the journal if it may write. `undefined` when there was nothing to do and the context stays valid.
 *
 * Everything is checked before the first write: a journal that is damaged where it matters gives `ERR_CORRUPT` and a volume
 * as it was. A journal on another device that needs recovery gives `ERR_UNSUPPORTED`.
 * @param rehearse is called before anything is written: checks that the recovered volume is one, applies fast commits over
 * it, without writing to it, and returns a device that shows the result.
 */
export async function recoverJournal(
  ctx: Ext4Context,
  rehearse: (recovered: BlockDevice, commits: readonly FastCommitRecord[]) => Promise<BlockDevice>,
): Promise<JournalRecovery | undefined> {
  const { superblock } = ctx
  const needsRecovery = superblock.has('needs_recovery')
  if (!superblock.has('has_journal')) {
    if (!needsRecovery) return undefined
    throw new DrydiskError(
      'ERR_CORRUPT',
      'ext4: the journal is to be replayed (needs_recovery), but there is no journal (has_journal is off); run e2fsck',
      { structure: 'superblock' },
    )
  }
  if (superblock.s_journal_inum === 0 || superblock.s_journal_uuid.some(byte => byte !== 0)) {
    if (!needsRecovery) return undefined
    throw new DrydiskError(
      'ERR_UNSUPPORTED',
      'ext4: the journal is on another device (journal_dev) and has to be replayed first; mount the filesystem once or run e2fsck -j',
      { feature: 'journal_dev' },
    )
  }
  if (!needsRecovery) {
    if (ctx.writable) await emptyLeftover(ctx)
    return undefined
  }
  const journal = await JournalFile.open(ctx.device, ctx.blockSize, await locateJournal(ctx))
  const plan = await scanJournal(journal, superblock.s_blocks_count)
  const fastCommits = await scanFastCommits(journal, plan.endSequence, superblock.s_inode_size)
  const warnings = journalWarnings(journal)
  const counts = { blocks: plan.blocks.size, transactions: plan.transactions, fastCommits, warnings }
  const overlay = new JournalOverlayDevice(journal, plan.blocks)
  const recovered = await rehearse(overlay, fastCommits)
  if (!ctx.writable) return { device: recovered, ...counts }
  await writeHome(ctx.device, overlay, plan.blocks, ctx.blockSize)
  await emptyJournal(journal, plan.endSequence)
  await clearNeedsRecovery(ctx.device, warnings.length > 0)
  return { device: ctx.device, ...counts }
}

function journalWarnings(journal: JournalFile): string[] {
  const { errno } = journal.superblock
  return errno === 0 ? [] : [`the journal was stopped by error ${errno}: run e2fsck on the filesystem`]
}

/** Without needs_recovery what is in the journal does not count, and the kernel empties it (jbd2_journal_wipe). */
async function emptyLeftover(ctx: Ext4Context): Promise<void> {
  const journal = await JournalFile.open(ctx.device, ctx.blockSize, await locateJournal(ctx))
  if (journal.superblock.start === 0) return
  // Damage in what does not count is no reason to refuse the filesystem.
  const plan = await scanJournal(journal, ctx.superblock.s_blocks_count).catch(() => undefined)
  await emptyJournal(journal, plan?.endSequence ?? journal.superblock.sequence)
}

/** The next transaction gets a number that no commit block in the log has (jbd2_journal_recover). */
async function emptyJournal(journal: JournalFile, endSequence: number): Promise<void> {
  const { superblock } = journal
  superblock.sequence = endSequence + 1
  superblock.start = 0
  superblock.errno = 0
  await journal.writeSuperblock()
}

/** On the volume, not in the context: the superblock may have been in the journal. */
async function clearNeedsRecovery(device: BlockDevice, hadError: boolean): Promise<void> {
  const superblock = new Superblock(new Uint8Array(SUPERBLOCK_SIZE))
  await device.read(SUPERBLOCK_OFFSET, superblock.bytes)
  superblock.setFeature('needs_recovery', false)
  // As ext4_clear_journal_err: what stopped the journal may have left the filesystem damaged.
  if (hadError) superblock.s_state |= STATE.ERROR
  superblock.updateChecksum()
  await device.write(SUPERBLOCK_OFFSET, superblock.bytes)
}
