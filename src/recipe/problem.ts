/** Where something stands in a recipe. Lines and columns count from 1. */
export interface Place {
  readonly file: string
  readonly line: number
  readonly column: number
}

/** A mistake in a recipe, with its line and column. */
export interface RecipeProblem extends Place {
  readonly severity: 'error' | 'warning'
  readonly message: string
}

/** As compilers write it, so that editors find the place. */
export function problemText({ file, line, column, severity, message }: RecipeProblem): string {
  return `${file}:${line}:${column}: ${severity}: ${message}`
}

/** More than these are not told: a file that is no recipe has one at every line. */
const MAX_PROBLEMS = 100

/** Gathers what is wrong, so that a person sees all of it at once. */
export class Problems {
  readonly #list: RecipeProblem[] = []

  error(place: Place, message: string): void {
    this.#add({ ...place, severity: 'error', message })
  }

  warn(place: Place, message: string): void {
    this.#add({ ...place, severity: 'warning', message })
  }

  #add(problem: RecipeProblem): void {
    const known = this.#list.some(
      one =>
        one.message === problem.message &&
        one.file === problem.file &&
        one.line === problem.line &&
        one.column === problem.column,
    )
    if (!known && this.#list.length < MAX_PROBLEMS) this.#list.push(problem)
  }

  get list(): readonly RecipeProblem[] {
    return this.#list
  }

  get failed(): boolean {
    return this.#list.some(one => one.severity === 'error')
  }
}

/** The word among `known` that differs from `word` by at most two letters, as ` (did you mean "…"?)`; else the empty text. */
export function suggestion(word: string, known: Iterable<string>): string {
  let best: string | undefined
  let least = 3
  for (const one of known) {
    const distance = Math.abs(one.length - word.length) > 2 ? 3 : editDistance(word, one)
    if (distance < least && distance < one.length) {
      best = one
      least = distance
    }
  }
  return best === undefined ? '' : ` (did you mean "${best}"?)`
}

/** Levenshtein's distance, by one row at a time. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++)
      next[j] = Math.min(
        (row[j] ?? 0) + 1,
        (next[j - 1] ?? 0) + 1,
        (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1),
      )
    row = next
  }
  return row[b.length] ?? 0
}
