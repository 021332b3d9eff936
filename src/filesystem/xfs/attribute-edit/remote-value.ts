import { bigEndian } from '../../../bytes/byte-view.ts'
import type { RemoteValue } from '../attr-entry.ts'
import {
  REMOTE_CRC_OFFSET,
  REMOTE_HEADER,
  readRemoteValue,
  remoteRoom,
  writeRemoteHeader,
} from '../attr-remote.ts'
import type { DaFork } from '../da-block.ts'
import type { ForkEditor } from '../fork/fork-edit.ts'

/** An attribute fork, and what changes it. */
export interface EditedFork {
  readonly fork: DaFork
  readonly editor: ForkEditor
}

/** Puts a value into blocks of its own, in the first hole of the attribute fork that holds them all. */
export async function writeRemoteValue(edited: EditedFork, value: Uint8Array): Promise<RemoteValue> {
  const { superblock, buffers } = edited.fork.volume
  const room = remoteRoom(superblock)
  const count = Math.ceil(value.length / room)
  const valueblk = await edited.editor.firstHole(0, count)
  await edited.editor.allocate(valueblk, count)
  const { fork } = edited
  const blocks = await fork.map.blocks(valueblk, count)
  for (const [index, block] of (blocks ?? []).entries()) {
    const part = value.subarray(index * room, (index + 1) * room)
    // In memory until the rest is written too: a rollback must find the block as it was, which may have been freed just before.
    const bytes = buffers.fresh([block], { at: 0, length: superblock.sb_blocksize, crcAt: REMOTE_CRC_OFFSET })
    fork.volume.trust(bytes)
    if (superblock.isV5)
      writeRemoteHeader(fork, bigEndian(bytes, 'xfs attribute value'), {
        block,
        at: index * room,
        length: part.length,
      })
    bytes.set(part, superblock.isV5 ? REMOTE_HEADER : 0)
  }
  return { valueblk, valuelen: value.length }
}

/** Frees the blocks of a value, once they are found to hold it: where a damaged attribute leads may be anything. */
export async function freeRemoteValue(edited: EditedFork, value: RemoteValue): Promise<void> {
  await readRemoteValue(edited.fork, value)
  const count = Math.ceil(value.valuelen / remoteRoom(edited.fork.volume.superblock))
  await edited.editor.unmap(value.valueblk, value.valueblk + count)
}
