/** Values of login.defs(5): a name, blanks, a value that may stand in double quotes; the last line of a name wins. */
export type LoginDefs = ReadonlyMap<string, string>

/** The values of login.defs(5). Of several files, later ones count. */
export function parseLoginDefs(...texts: readonly string[]): LoginDefs {
  const values = new Map<string, string>()
  for (const text of texts)
    for (const line of text.split('\n')) {
      const match = /^[ \t]*([^ \t#\r][^ \t\r]*)[ \t"]+([^"\r]*)/.exec(line)
      if (match) values.set(match[1] ?? '', (match[2] ?? '').trimEnd())
    }
  return values
}

/** A number as strtol of base 0 reads it: decimal, `0` octal, `0x` hexadecimal. What is none, or absent, is `fallback`. */
export function loginNumber<T>(defs: LoginDefs, name: string, fallback: T): number | T {
  const text = defs.get(name)
  if (text === undefined || !/^-?(0x[0-9a-f]{1,8}|\d{1,12})$/i.test(text)) return fallback
  const negative = text.startsWith('-')
  const digits = negative ? text.slice(1) : text
  const octal = /^0[0-7]+$/.test(digits)
  const value = octal ? Number.parseInt(digits, 8) : Number(digits)
  return negative ? -value : value
}

/** Numbers of users or groups, both ends included. */
export interface IdRange {
  readonly min: number
  readonly max: number
}

/** Where new ids come from: useradd(8) and groupadd(8) with their own defaults. `kind` is `UID` or `GID`. */
export function idRange(defs: LoginDefs, kind: 'UID' | 'GID', system: boolean): IdRange {
  const firstUser = loginNumber(defs, `${kind}_MIN`, 1000)
  return system
    ? {
        min: loginNumber(defs, `SYS_${kind}_MIN`, 101),
        max: loginNumber(defs, `SYS_${kind}_MAX`, firstUser - 1),
      }
    : { min: firstUser, max: loginNumber(defs, `${kind}_MAX`, 60000) }
}

/**
 * A free id: people get the one after the highest, system accounts the one below the lowest, as shadow-utils chooses; where that
 * leaves the range, a free one in between. `undefined` when the range is full.
 */
export function chooseId(used: ReadonlySet<number>, range: IdRange, system: boolean): number | undefined {
  const { min, max } = range
  const taken = [...used].filter(id => id >= min && id <= max).sort((a, b) => a - b)
  const step = system ? -1 : 1
  const beyond = (system ? (taken[0] ?? max + 1) : (taken[taken.length - 1] ?? min - 1)) + step
  if (beyond >= min && beyond <= max) return beyond
  // No more ids are taken than the account file has lines, so this ends.
  for (let id = system ? max : min; id >= min && id <= max; id += step) if (!used.has(id)) return id
  return undefined
}

/** subuid(5): `owner:first:count`. */
export interface SubordinateRange {
  readonly owner: string
  readonly first: number
  readonly count: number
  /** 1-based. */
  readonly line: number
}

/** The ranges of subuid(5) or subgid(5). */
export function parseSubordinate(text: string): SubordinateRange[] {
  return text.split('\n').flatMap((line, i) => {
    const match = /^([^:#]+):(\d{1,10}):(\d{1,10})\r?$/.exec(line)
    return match
      ? [{ owner: match[1] ?? '', first: Number(match[2]), count: Number(match[3]), line: i + 1 }]
      : []
  })
}

/** The first gap of `count` ids, or `undefined` where there is none. */
export function chooseSubordinate(
  ranges: readonly SubordinateRange[],
  { min, max }: IdRange,
  count: number,
): number | undefined {
  let low = min
  for (const { first, count: length } of [...ranges].sort((a, b) => a.first - b.first)) {
    if (first - low >= count) break
    low = Math.max(low, first + length)
  }
  return low + count - 1 <= max ? low : undefined
}
