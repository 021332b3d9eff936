/** Which subvolume mount options ask for (btrfs(5)). */
export interface SubvolumeOptions {
  /** Path from the top level, as written. */
  readonly subvol?: string
  readonly subvolid?: bigint
}

/** Of options that repeat, the last counts. `subvolid=0` is the top level, as 5 is. Anything else is passed over. */
export function subvolumeOptions(options: readonly string[]): SubvolumeOptions {
  let out: SubvolumeOptions = {}
  for (const option of options) {
    const path = /^subvol=(.*)$/s.exec(option)?.[1]
    if (path !== undefined && path !== '') out = { ...out, subvol: path }
    const number = /^subvolid=(0x[0-9a-f]+|\d+)$/i.exec(option)?.[1]
    if (number !== undefined) out = { ...out, subvolid: BigInt(number) === 0n ? 5n : BigInt(number) }
  }
  return out
}
