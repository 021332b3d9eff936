interface Entry<Key, Value> {
  readonly key: Key
  readonly value: Value
  readonly weight: number
  older: Entry<Key, Value> | undefined
  newer: Entry<Key, Value> | undefined
}

/**
 * A map bounded by the sum of its entries' weights. What was used longest ago goes first, through `onEvict`.
 * Entries must not be heavier than the bound by a whole: the newest entry always stays.
 *
 * The order is a linked list: taking a key out of a JavaScript Map and putting it back at every use makes V8 copy the whole
 * table again and again, microseconds for each use of a cache of thousands.
 */
export class LruCache<Key, Value> {
  readonly #entries = new Map<Key, Entry<Key, Value>>()
  readonly #capacity: number
  readonly #onEvict: ((key: Key, value: Value) => void) | undefined
  #oldest: Entry<Key, Value> | undefined
  #newest: Entry<Key, Value> | undefined
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
    if (entry !== this.#newest) {
      this.#unlink(entry)
      this.#append(entry)
    }
    return entry.value
  }

  /** Does not count as a use. */
  has(key: Key): boolean {
    return this.#entries.has(key)
  }

  set(key: Key, value: Value, weight = 1): void {
    this.delete(key)
    const entry: Entry<Key, Value> = { key, value, weight, older: undefined, newer: undefined }
    this.#entries.set(key, entry)
    this.#append(entry)
    this.#weight += weight
    while (this.#weight > this.#capacity && this.#entries.size > 1) {
      const oldest = this.#oldest
      if (oldest === undefined) break
      this.delete(oldest.key)
      this.#onEvict?.(oldest.key, oldest.value)
    }
  }

  /** Without `onEvict`. */
  delete(key: Key): boolean {
    const entry = this.#entries.get(key)
    if (entry === undefined) return false
    this.#weight -= entry.weight
    this.#unlink(entry)
    return this.#entries.delete(key)
  }

  /** Without `onEvict`. */
  clear(): void {
    this.#entries.clear()
    this.#oldest = undefined
    this.#newest = undefined
    this.#weight = 0
  }

  /** Oldest first. */
  *entries(): IterableIterator<[Key, Value]> {
    for (let entry = this.#oldest; entry; entry = entry.newer) yield [entry.key, entry.value]
  }

  #append(entry: Entry<Key, Value>): void {
    entry.older = this.#newest
    entry.newer = undefined
    if (this.#newest) this.#newest.newer = entry
    else this.#oldest = entry
    this.#newest = entry
  }

  #unlink(entry: Entry<Key, Value>): void {
    if (entry.older) entry.older.newer = entry.newer
    else this.#oldest = entry.newer
    if (entry.newer) entry.newer.older = entry.older
    else this.#newest = entry.older
  }
}
