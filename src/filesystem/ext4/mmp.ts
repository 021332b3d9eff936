import { littleEndian } from '../../bytes/byte-view.ts'
import { DrydiskError } from '../../errors.ts'
import type { Ext4Context } from './context.ts'

/** struct mmp_struct (fs/ext4/ext4.h). */
const MMP_MAGIC = 0x004d_4d50
const MMP_SEQ_CLEAN = 0xff4d_4d50
const MMP_SEQ_FSCK = 0xe24d_4d50

/**
 * Multiple mount protection: `ERR_IN_USE` when the filesystem says that somebody has it mounted or checks it. There is no
 * waiting for the sequence to stand still, as the kernel does: whoever holds an image may be a stopped machine.
 */
export async function refuseWhenInUse(ctx: Ext4Context): Promise<void> {
  if (!ctx.superblock.has('mmp')) return
  const view = littleEndian(await ctx.blocks.read(ctx.superblock.s_mmp_block), 'mmp block')
  if (view.u32(0) !== MMP_MAGIC)
    throw new DrydiskError(
      'ERR_CORRUPT',
      'ext4: the block of multiple mount protection has no magic number; run tune2fs -f -E clear_mmp',
      { structure: 'mmp', block: ctx.superblock.s_mmp_block },
    )
  const sequence = view.u32(4)
  if (sequence === MMP_SEQ_CLEAN) return
  const node = new TextDecoder().decode(view.slice(0x10, 64)).replace(/\0.*$/s, '')
  throw new DrydiskError(
    'ERR_IN_USE',
    sequence === MMP_SEQ_FSCK
      ? 'ext4: multiple mount protection says that e2fsck is at work on the filesystem'
      : `ext4: multiple mount protection says that ${JSON.stringify(node)} has the filesystem mounted; if it has not, run tune2fs -f -E clear_mmp`,
    { structure: 'mmp', sequence },
  )
}
