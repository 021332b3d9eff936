import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { DrydiskError, type ErrorCode } from '../../src/errors.ts'
import { pattern } from './filesystem-contract.ts'
import type { Tree } from './mtools.ts'

export type FatCommand =
  | { do: 'create' | 'mkdir' | 'unlink' | 'rmdir'; path: string[] }
  | { do: 'rename'; path: string[]; to: string[] }
  | { do: 'write'; path: string[]; offset: number; length: number; seed: number }
  | { do: 'truncate'; path: string[]; size: number }

/** Of each kind of short name: itself in either case, with flags, with a number, outside of the code page. */
const NAMES = [
  'A',
  'a',
  'README.TXT',
  'readme.txt',
  'Readme.txt',
  'lower.CFG',
  'a long name with spaces.conf',
  'A Long Name With Dots.in.it.conf',
  'longname1.x',
  'longname2.x',
  'longname3.x',
  '.hidden',
  'a+b',
  'ünïcode.dat',
  'ÜNÏCODE.DAT',
  '日本語',
  '😀 smile',
  'x'.repeat(255),
  'y'.repeat(130),
]

const name = fc.constantFrom(...NAMES)
/** Few directories, so that what is done is done to something that is there. */
const path = fc.oneof(
  { weight: 3, arbitrary: fc.tuple(name) },
  { weight: 3, arbitrary: fc.tuple(fc.constantFrom('a', '日本語', 'Readme.txt'), name) },
  fc.tuple(fc.constantFrom('a', 'readme.TXT'), fc.constantFrom('a', 'lower.CFG'), name),
) as fc.Arbitrary<string[]>
const offset = fc.oneof(fc.nat(9000), fc.nat(70_000), fc.nat(900_000))

export function fatCommands(maxLength: number): fc.Arbitrary<FatCommand[]> {
  const length = fc.integer({ min: 1, max: 60_000 })
  const seed = fc.nat(1000)
  return fc.array(
    fc.oneof(
      { weight: 5, arbitrary: fc.record({ do: fc.constant('create' as const), path }) },
      { weight: 4, arbitrary: fc.record({ do: fc.constant('mkdir' as const), path }) },
      { weight: 2, arbitrary: fc.record({ do: fc.constant('unlink' as const), path }) },
      { weight: 1, arbitrary: fc.record({ do: fc.constant('rmdir' as const), path }) },
      { weight: 4, arbitrary: fc.record({ do: fc.constant('rename' as const), path, to: path }) },
      { weight: 6, arbitrary: fc.record({ do: fc.constant('write' as const), path, offset, length, seed }) },
      { weight: 3, arbitrary: fc.record({ do: fc.constant('truncate' as const), path, size: offset }) },
    ),
    { minLength: maxLength / 2, maxLength },
  )
}

interface Node {
  name: string
  /** Of a directory, by folded name. */
  readonly entries: Map<string, Node> | undefined
  content: Uint8Array
}

function fail(code: ErrorCode): never {
  throw new DrydiskError(code, code)
}

/** A tree with names as vfat has them: kept as written, found whatever the case. */
export class FatModel {
  readonly #root: Node = { name: '', entries: new Map(), content: new Uint8Array() }

  #at(path: readonly string[]): Node {
    let node = this.#root
    for (const name of path) node = this.#entries(node).get(name.toUpperCase()) ?? fail('ENOENT')
    return node
  }

  #entries(node: Node): Map<string, Node> {
    return node.entries ?? fail('ENOTDIR')
  }

  #file(path: readonly string[]): Node {
    const node = this.#at(path)
    if (node.entries) fail('EISDIR')
    return node
  }

  apply(command: FatCommand): void {
    if (command.do === 'write') {
      const node = this.#file(command.path)
      this.#resize(node, Math.max(node.content.length, command.offset + command.length))
      node.content.set(pattern(command.length, command.seed), command.offset)
      return
    }
    if (command.do === 'truncate') {
      this.#resize(this.#file(command.path), command.size)
      return
    }
    const parent = this.#at(command.path.slice(0, -1))
    const name = command.path.at(-1) ?? ''
    if (command.do === 'rename') {
      const to = this.#at(command.to.slice(0, -1))
      this.#rename(parent, name, to, command.to.at(-1) ?? '')
      return
    }
    const entries = this.#entries(parent)
    const key = name.toUpperCase()
    const present = entries.get(key)
    if (command.do === 'create' || command.do === 'mkdir') {
      if (present) fail('EEXIST')
      const made = command.do === 'mkdir' ? new Map<string, Node>() : undefined
      entries.set(key, { name, entries: made, content: new Uint8Array() })
      return
    }
    if (!present) fail('ENOENT')
    if (command.do === 'unlink' && present.entries) fail('EISDIR')
    if (command.do === 'rmdir' && !present.entries) fail('ENOTDIR')
    if (present.entries && present.entries.size > 0) fail('ENOTEMPTY')
    entries.delete(key)
  }

  #resize(node: Node, size: number): void {
    const content = new Uint8Array(size)
    content.set(node.content.subarray(0, size))
    node.content = content
  }

  #rename(from: Node, fromName: string, to: Node, toName: string): void {
    const source = this.#entries(from)
    const target = this.#entries(to)
    const node = source.get(fromName.toUpperCase()) ?? fail('ENOENT')
    if (this.#isWithin(to, node)) fail('EINVAL')
    const present = target.get(toName.toUpperCase())
    if (present === node) {
      node.name = toName
      return
    }
    if (present?.entries && this.#isWithin(from, present)) fail('ENOTEMPTY')
    if (present && node.entries && !present.entries) fail('ENOTDIR')
    if (present?.entries && !node.entries) fail('EISDIR')
    if (present?.entries && present.entries.size > 0) fail('ENOTEMPTY')
    source.delete(fromName.toUpperCase())
    // What is replaced leaves its name as it was written.
    node.name = present?.name ?? toName
    target.set(toName.toUpperCase(), node)
  }

  #isWithin(node: Node, ancestor: Node): boolean {
    if (node === ancestor) return true
    for (const child of ancestor.entries?.values() ?? []) if (this.#isWithin(node, child)) return true
    return false
  }

  tree(): Tree {
    const tree: Tree = {}
    const visit = (path: string, node: Node): void => {
      for (const child of node.entries?.values() ?? []) {
        const at = path === '' ? child.name : `${path}/${child.name}`
        const { content } = child
        tree[at] = child.entries
          ? 'directory'
          : `${content.length}:${createHash('sha256').update(content).digest('hex')}`
        visit(at, child)
      }
    }
    visit('', this.#root)
    return tree
  }
}
