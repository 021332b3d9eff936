import type { SnapshotChoice } from '../image/qcow2/snapshot-device.ts'
import { UsageError } from './errors.ts'

/** A snapshot as `-l` names it: by identifier or name, or as `snapshot.id=…,snapshot.name=…`. */
export function parseSnapshot(text: string): SnapshotChoice {
  if (!/^snapshot\.(id|name)=/.test(text)) return text
  const choice: { id?: string; name?: string } = {}
  for (const part of text.split(',')) {
    const [, key, value] = /^snapshot\.(id|name)=(.*)$/s.exec(part) ?? []
    if ((key !== 'id' && key !== 'name') || value === undefined)
      throw new UsageError(`"${text}" is not of the form snapshot.id=…,snapshot.name=…`)
    choice[key] = value
  }
  return choice
}
