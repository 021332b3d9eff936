import type { PatternNode } from './pattern-syntax.ts'

/** Nodes of the automaton of one pattern; a policy's longest have a few hundred. */
const MAX_NODES = 10_000
/** Remembered states of one pattern; with more of them what is remembered is dropped and found again. */
const MAX_STATES = 256

/** What matching may cost, in steps: a hostile policy must not keep anyone waiting. */
export interface Budget {
  /** Throws when there is nothing left. */
  spend(steps: number): void
}

const MATCH = -1
const SPLIT = -2

/**
 * Matches whole texts (one character per byte) in linear time: a Thompson automaton whose sets of nodes become the states of
 * a deterministic one as they are met. No pattern makes it run longer than text times pattern.
 */
export class Pattern {
  /** Per node: the index of its set, or what it is. */
  readonly #operation: number[] = []
  readonly #next: number[] = []
  readonly #other: number[] = []
  readonly #sets: Uint8Array[] = []
  readonly #classOf: Uint8Array
  readonly #classes: number
  /** A byte of each class. */
  readonly #example: readonly number[]
  readonly #start: readonly number[]

  #states = new Map<string, number>()
  #members: (readonly number[])[] = []
  #accepting: boolean[] = []
  /** By state times the number of byte classes; -1 where not known yet. */
  #moves: number[] = []
  readonly #budget: Budget

  private constructor(node: PatternNode, budget: Budget) {
    this.#budget = budget
    const end = this.#add(MATCH, 0, 0)
    // `$` matches before a newline that ends the text, too (pcre2pattern(3), without DOLLAR_ENDONLY).
    const newline = new Uint8Array(256)
    newline[0x0a] = 1
    const last = this.#add(SPLIT, this.#add(this.#setIndex(newline), end, 0), end)
    const first = this.#build(node, last)
    const { classOf, classes } = byteClasses(this.#sets)
    this.#classOf = classOf
    this.#classes = classes
    this.#example = Array.from({ length: classes }, (_, one) => classOf.indexOf(one))
    this.#start = this.#closure([first])
    this.#state(this.#start)
  }

  /** `undefined` for a pattern that needs too large an automaton. */
  static compile(node: PatternNode, budget: Budget): Pattern | undefined {
    try {
      return new Pattern(node, budget)
    } catch (error) {
      if (error instanceof TooLarge) return undefined
      throw error
    }
  }

  matches(text: string): boolean {
    this.#budget.spend(text.length)
    let state = this.#state(this.#start)
    for (let i = 0; i < text.length; i++) {
      const byteClass = this.#classOf[text.charCodeAt(i) & 0xff] ?? 0
      const known = this.#moves[state * this.#classes + byteClass] ?? -1
      state = known >= 0 ? known : this.#move(state, byteClass)
      if (this.#members[state]?.length === 0) return false
    }
    return this.#accepting[state] ?? false
  }

  #move(state: number, byteClass: number): number {
    const members = this.#members[state] ?? []
    this.#budget.spend(members.length)
    const reached: number[] = []
    const example = this.#example[byteClass] ?? 0
    for (const node of members) {
      const operation = this.#operation[node] ?? MATCH
      if (operation >= 0 && this.#sets[operation]?.[example]) reached.push(this.#next[node] ?? 0)
    }
    const closed = this.#closure(reached)
    if (this.#members.length >= MAX_STATES) {
      this.#states = new Map()
      this.#members = []
      this.#accepting = []
      this.#moves = []
      return this.#state(closed)
    }
    const to = this.#state(closed)
    this.#moves[state * this.#classes + byteClass] = to
    return to
  }

  /** The number of a set of nodes as a state. */
  #state(members: readonly number[]): number {
    const key = members.join(' ')
    const known = this.#states.get(key)
    if (known !== undefined) return known
    const state = this.#members.length
    this.#states.set(key, state)
    this.#members.push(members)
    this.#accepting.push(members.some(node => this.#operation[node] === MATCH))
    for (let i = 0; i < this.#classes; i++) this.#moves.push(-1)
    return state
  }

  /** The nodes that wait for a byte or accept, in order, from some nodes without reading anything. */
  #closure(from: readonly number[]): number[] {
    const seen = new Set<number>()
    const waiting: number[] = []
    const pending = [...from]
    for (let node = pending.pop(); node !== undefined; node = pending.pop()) {
      if (seen.has(node)) continue
      seen.add(node)
      if (this.#operation[node] === SPLIT) pending.push(this.#next[node] ?? 0, this.#other[node] ?? 0)
      else waiting.push(node)
    }
    this.#budget.spend(seen.size)
    return waiting.sort((a, b) => a - b)
  }

  #add(operation: number, next: number, other: number): number {
    if (this.#operation.length >= MAX_NODES) throw new TooLarge()
    this.#next.push(next)
    this.#other.push(other)
    return this.#operation.push(operation) - 1
  }

  #setIndex(set: Uint8Array): number {
    return this.#sets.push(set) - 1
  }

  /** Builds what matches `node` and goes on at `then`; the node to begin at. */
  #build(node: PatternNode, then: number): number {
    switch (node.kind) {
      case 'set':
        return this.#add(this.#setIndex(node.set), then, 0)
      case 'sequence':
        return node.nodes.reduceRight((next, part) => this.#build(part, next), then)
      case 'choice':
        return node.nodes
          .map(part => this.#build(part, then))
          .reduceRight((other, one) => this.#add(SPLIT, one, other))
      case 'repeat': {
        let next = then
        if (node.max === Infinity) {
          const loop = this.#add(SPLIT, then, then)
          this.#next[loop] = this.#build(node.node, loop)
          next = loop
        } else
          for (let i = node.min; i < node.max; i++)
            next = this.#add(SPLIT, this.#build(node.node, next), then)
        // Each turn adds a node, so that a repetition of nothing ends at the limit as well.
        for (let i = 0; i < node.min; i++) next = this.#build(node.node, this.#add(SPLIT, next, next))
        return next
      }
    }
  }
}

class TooLarge extends Error {}

/** Bytes that no set of the pattern tells apart are one class: the tables stay small. */
function byteClasses(sets: readonly Uint8Array[]): { classOf: Uint8Array; classes: number } {
  let classOf = new Uint8Array(256)
  let classes = 1
  for (const set of new Set(sets)) {
    const renamed = new Map<number, number>()
    const refined = new Uint8Array(256)
    for (let byte = 0; byte < 256; byte++) {
      const pair = (classOf[byte] ?? 0) * 2 + (set[byte] ?? 0)
      let name = renamed.get(pair)
      if (name === undefined) {
        name = renamed.size
        renamed.set(pair, name)
      }
      refined[byte] = name
    }
    classOf = refined
    classes = renamed.size
    if (classes === 256) break
  }
  return { classOf, classes }
}
