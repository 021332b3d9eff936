import type { XfsWriter } from '../writer.ts'
import { unsupportedLog } from './errors.ts'
import type { OpenIntent } from './intents.ts'

/** Does what the log's transactions promised and none did, each in a transaction of its own (Linux, xlog_recover_process_intents). */
export async function finishIntents(_writer: XfsWriter, intents: readonly OpenIntent[]): Promise<void> {
  const [intent] = intents
  if (intent !== undefined)
    throw unsupportedLog(
      `transaction 0x${intent.tid.toString(16)} left ${intent.left} (${intent.name} 0x${intent.id.toString(16)}), which is not carried out`,
      { transaction: intent.tid, intent: intent.name },
    )
}
