/** As written in text, and in names of systemd's units, where a dash is `\x2d` (systemd-escape). */
export function spellings(uuid: string): string[] {
  return [uuid, uuid.replaceAll('-', '\\x2d')]
}

/** @param renamed lower-case UUIDs, to ones of the same length. */
export function replaceUuids(
  text: string,
  renamed: ReadonlyMap<string, string>,
): { text: string; count: number } {
  let count = 0
  const replaced = text.replace(
    /(?<![0-9a-f])[0-9a-f]{8}(-|\\x2d)[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{12}(?![0-9a-f])/gi,
    (uuid, dash: string) => {
      const next = renamed.get(uuid.replaceAll(dash, '-').toLowerCase())
      if (next === undefined) return uuid
      count++
      return next.replaceAll('-', dash)
    },
  )
  return { text: replaced, count }
}
