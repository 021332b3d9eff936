/**
 * A map bounded by the sum of its entries' weights. What was used longest ago goes first, through `onEvict`.
 * Entries must not be heavier than the bound by a whole: the newest entry always stays.
 */
export class LruCache<Key, Value> {
  readonly #entries = new Map<Key, { readonly value: Value; readonly weight: number }>()
  readonly #capacity: number
  readonly #onEvict: ((key: Key, value: Value) => void) | undefined
  #weight = 0

  /** @param capacity sum of weights (entries, when `set` is called without a weight). */
  constructor(capacity: number, onEvict?: (key: Key, value: Value) => void) {
    this.#capacity = capacity
    this.#onEvict = onEvict
  }

  get size(): number {
    return this.#entries.size
  }

  get weight(): number {
    return this.#weight
  }

  /** Counts as a use. */
  get(key: Key): Value | undefined {
    const entry = this.#entries.get(key)
    if (entry === undefined) return undefined
    // A Map iterates in insertion order, so taking out and putting back makes it the newest.
    this.#entries.delete(key)
    this.#entries.set(key, entry)
    return entry.value
  }

  /** Does not count as a use. */
  has(key: Key): boolean {
    return this.#entries.has(key)
  }

  set(key: Key, value: Value, weight = 1): void {
    this.delete(key)
    this.#entries.set(key, { value, weight })
    this.#weight += weight
    while (this.#weight > this.#capacity && this.#entries.size > 1) {
      const oldest = this.#entries.entries().next().value
      if (oldest === undefined) break
      this.#entries.delete(oldest[0])
      this.#weight -= oldest[1].weight
      this.#onEvict?.(oldest[0], oldest[1].value)
    }
  }

  /** Without `onEvict`. */
  delete(key: Key): boolean {
    const entry = this.#entries.get(key)
    if (entry === undefined) return false
    this.#weight -= entry.weight
    return this.#entries.delete(key)
  }

  /** Without `onEvict`. */
  clear(): void {
    this.#entries.clear()
    this.#weight = 0
  }

  /** Oldest first. */
  *entries(): IterableIterator<[Key, Value]> {
    for (const [key, { value }] of this.#entries) yield [key, value]
  }
}
