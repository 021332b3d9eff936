/**
 * rpm's comparison of versions (rpmio/rpmvercmp.c, and GRUB's blscfg, which sorts by it): runs of digits as numbers, runs of letters as text, a
 * digit run after a letter run is newer; `~` sorts before everything, `^` after the end. Negative: `a` is older.
 */
export function compareVersions(a: string, b: string): number {
  const left = segments(a)
  const right = segments(b)
  for (let i = 0; ; i++) {
    const [x, y] = [left[i], right[i]]
    if (x === undefined && y === undefined) return 0
    if (x === '~' || y === '~') {
      if (x !== '~') return 1
      if (y !== '~') return -1
      continue
    }
    if (x === '^' || y === '^') {
      if (x === undefined) return -1
      if (y === undefined) return 1
      if (x !== '^') return 1
      if (y !== '^') return -1
      continue
    }
    if (x === undefined) return -1
    if (y === undefined) return 1
    const [xDigits, yDigits] = [/^\d/.test(x), /^\d/.test(y)]
    if (xDigits !== yDigits) return xDigits ? 1 : -1
    if (xDigits) {
      const [p, q] = [x.replace(/^0+/, ''), y.replace(/^0+/, '')]
      if (p.length !== q.length) return p.length - q.length
      if (p !== q) return p < q ? -1 : 1
    } else if (x !== y) return x < y ? -1 : 1
  }
}

function segments(version: string): string[] {
  return version.match(/\d+|[A-Za-z]+|[~^]/g) ?? []
}
