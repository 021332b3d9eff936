import { DrydiskError } from '../../../errors.ts'
import { dropAttribute, storeAttribute } from '../attribute-edit/attribute-store.ts'
import type { VolumeWriter } from '../create-writer.ts'
import type { Dinode } from '../dinode.ts'
import { ForkEditor } from '../fork/fork-edit.ts'
import type { Soon } from '../soon.ts'
import type { XfsSpace } from '../space/space.ts'
import { inTransaction } from '../transaction.ts'
import { type Extent, OWN, type Owner, structureOwner } from '../writer.ts'
import { corruptLog } from './errors.ts'
import { exchangeMappings } from './exchange-mappings.ts'
import { type AttributeUpdate, type IntentStep, type MappingUpdate, parseIntent } from './intent-formats.ts'
import type { OpenIntent } from './intents.ts'

/** What a step leaves to be done when all steps of the log are done. */
type FollowUp = () => Soon<void>

/**
 * Does what the log's transactions promised and none did, as a mount does after the replay: all in the order of the log, then
 * what follows from it (Linux, xlog_recover_process_intents and xlog_finish_defer_ops). In one transaction of its own: where
 * one intent cannot be carried out, none is.
 *
 * @throws ERR_CORRUPT, ERR_UNSUPPORTED, ENOSPC: with the transaction that promised it.
 */
export async function finishIntents(writer: VolumeWriter, intents: readonly OpenIntent[]): Promise<void> {
  if (intents.length === 0) return
  const { geometry } = writer.volume
  const steps = intents.flatMap(intent =>
    naming(intent, () => parseIntent(intent, geometry)).map(step => ({ intent, step })),
  )
  await inTransaction(writer, async () => {
    const finisher = new Finisher(writer)
    const later: { intent: OpenIntent; work: FollowUp }[] = []
    for (const { intent, step } of steps)
      await namingAsync(intent, async () => {
        for (const work of await finisher.carryOut(step)) later.push({ intent, work })
      })
    for (const { intent, work } of later) await namingAsync(intent, work)
  })
}

class Finisher {
  readonly #writer: VolumeWriter
  readonly #space: XfsSpace

  constructor(writer: VolumeWriter) {
    this.#writer = writer
    this.#space = writer.space
  }

  async carryOut(step: IntentStep): Promise<readonly FollowUp[]> {
    switch (step.kind) {
      case 'free':
        // Whose the blocks were is not in the log (XFS_RMAP_OWN_UNKNOWN), or another intent has it.
        await this.#space.free(step.extent, structureOwner(OWN.UNKNOWN))
        return []
      case 'reverse map':
        await this.#reverseMap(step.action, step.extent, step.owner)
        return []
      case 'references':
        return this.#references(step.action, step.extent)
      case 'mapping':
        return this.#mapping(step.update)
      case 'attribute':
        return [() => this.#attribute(step.update)]
      case 'exchange':
        return [() => exchangeMappings(this.#writer, this.#space, step.exchange)]
    }
  }

  async #reverseMap(action: 'map' | 'unmap' | 'convert', extent: Extent, owner: Owner): Promise<void> {
    if (!this.#writer.volume.superblock.hasRmapbt)
      throw corruptLog('a reverse mapping is to be changed, and there are none')
    await this.#space[action](extent, owner)
  }

  async #references(
    action: 'increase' | 'decrease' | 'stage' | 'unstage',
    extent: Extent,
  ): Promise<readonly FollowUp[]> {
    if (!this.#writer.volume.superblock.hasReflink)
      throw corruptLog('a reference count is to be changed, and there are none')
    // The reverse mapping has intents of its own, for what is lost too (XFS_RMAP_OINFO_SKIP_UPDATE).
    if (action === 'decrease') {
      const lost = await this.#space.decrease(extent)
      return lost.map(run => () => this.#space.free(run, structureOwner(OWN.NULL)))
    }
    await this.#space[action](extent)
    return []
  }

  async #mapping({ action, ino, attribute, logical, extent, unwritten }: MappingUpdate) {
    const inode = await this.#edit(ino)
    const editor = new ForkEditor(this.#writer, inode, attribute ? 'attribute' : 'data')
    if (action === 'map') {
      await editor.place(logical, extent, unwritten)
      return [() => this.#space.map(extent, editor.owner(logical, unwritten))]
    }
    const parts = await editor.detach(logical, logical + extent.count)
    return parts.map(part => {
      const owner = editor.owner(part.br_startoff, part.unwritten)
      return () => this.#space.unmap({ start: part.br_startblock, count: part.br_blockcount }, owner)
    })
  }

  async #attribute({ ino, flags, name, value }: AttributeUpdate): Promise<void> {
    const inode = await this.#edit(ino)
    if (value === undefined) await dropAttribute(this.#writer, inode, { flags, name })
    else await storeAttribute(this.#writer, inode, { flags, name }, value)
    inode.ctime = this.#writer.now()
  }

  async #edit(ino: number): Promise<Dinode> {
    return this.#writer.inodes.edit(ino)
  }
}

function naming<T>(intent: OpenIntent, work: () => T): T {
  try {
    return work()
  } catch (error) {
    throw named(error, intent)
  }
}

async function namingAsync(intent: OpenIntent, work: () => Soon<void>): Promise<void> {
  try {
    await work()
  } catch (error) {
    throw named(error, intent)
  }
}

function named(error: unknown, { name, id, tid, left }: OpenIntent): unknown {
  if (!(error instanceof DrydiskError)) return error
  const transaction = `transaction 0x${tid.toString(16)}`
  return new DrydiskError(
    error.code,
    `${transaction} of the XFS log left ${left} (${name} 0x${id.toString(16)}), which cannot be done: ${error.message}`,
    { ...error.context, transaction: tid, intent: name },
    error,
  )
}
