import { bareLvmId } from '../../volume/lvm/lvm-id.ts'

/**
 * Every spelling of ids of LVM2, to the same spelling of the new ones: as tools show them (metadata, GRUB's `lvmid/`, udev's
 * `lvm-pv-uuid-`), the same in names of systemd's units (systemd-escape), and without dashes behind what says that it is one (`LVM-` of the device
 * mapper, `PVID=` of lvmdevices(8)).
 */
export function lvmIdSpellings(
  ids: readonly { readonly before: string; readonly after: string }[],
): ReadonlyMap<string, string> {
  const spelled = (id: string) => [
    id,
    id.replaceAll('-', '\\x2d'),
    ...['LVM-', 'LVM\\x2d', 'PVID='].map(prefix => `${prefix}${bareLvmId(id)}`),
  ]
  return new Map(
    ids.flatMap(({ before, after }) => {
      const next = spelled(after)
      return spelled(before).map((text, index): [string, string] => [text, next[index] ?? text])
    }),
  )
}

/** @param spellings of `lvmIdSpellings`. */
export function replaceLvmIds(
  text: string,
  spellings: ReadonlyMap<string, string>,
): { text: string; count: number } {
  // An id may have `!` and `#`, which mean nothing in an expression; of what does, a spelling has the backslash alone.
  const known = [...spellings.keys()].map(spelling => spelling.replaceAll('\\', '\\\\')).join('|')
  let count = 0
  const replaced = text.replace(new RegExp(`(?:(?<![0-9A-Za-z])|(?<=\\\\x2d))(?:${known})`, 'g'), found => {
    count++
    return spellings.get(found) ?? found
  })
  return { text: replaced, count }
}
