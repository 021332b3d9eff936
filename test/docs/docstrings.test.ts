import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { expect, test } from 'vitest'

/** Where each name that a module exports is declared, through all modules that pass it on. */
function exportsOf(file: string): Map<string, string> {
  const text = readFileSync(file, 'utf8')
  const found = new Map<string, string>()
  for (const [, , names, from] of text.matchAll(/^export (type )?(\*|\{[^}]*\})(?: from '(\.[^']+)')/gm)) {
    if (names === undefined || from === undefined) continue
    const source = exportsOf(join(dirname(file), from))
    if (names === '*') for (const [name, where] of source) found.set(name, where)
    else
      for (const item of names.slice(1, -1).split(',')) {
        const [, original = '', shown = original] =
          /^\s*(?:type )?(\w+)(?: as (\w+))?\s*$/.exec(item.replaceAll('\n', ' ')) ?? []
        if (original !== '')
          found.set(shown, source.get(original) ?? `${file}: ${original} has no declaration`)
      }
  }
  // The first of overloads has the docstring.
  for (const match of text.matchAll(
    /^export (?:declare )?(?:abstract )?(?:async )?(?:class|function\*?|const|interface|type|enum) (\w+)/gm,
  ))
    if (!found.has(match[1] ?? '')) found.set(match[1] ?? '', `${file}:${match.index}`)
  return found
}

/** Whether a docstring ends right before a declaration; one of overloads may have it. */
function documented(where: string): boolean {
  const [, file = '', index = ''] = /^(.*):(\d+)$/.exec(where) ?? []
  if (file === '') return false
  return /\*\/\n$/.test(readFileSync(file, 'utf8').slice(0, Number(index)))
}

/** Sources of what package.json exports. */
const entries = Object.values<string | { readonly default: string }>(
  JSON.parse(readFileSync('package.json', 'utf8')).exports,
).flatMap(target =>
  typeof target === 'string' ? [] : [target.default.replace('./dist/', 'src/').replace(/js$/, 'ts')],
)

test.each(entries)('every export of %s has a docstring', entry => {
  const names = [...exportsOf(entry)].filter(([, where]) => !where.startsWith(`${entry}:`))
  expect(names.length).toBeGreaterThan(entry === 'src/index.ts' ? 300 : 0)
  expect(
    names.filter(([, where]) => !documented(where)).map(([name, where]) => `${name} (${where})`),
  ).toEqual([])
})
