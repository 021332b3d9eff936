import { readdirSync, readFileSync } from 'node:fs'

export interface Block {
  /** Behind the opening fence: `sh`, `sh runs`, `ts`, … */
  readonly kind: string
  readonly line: number
  readonly text: string
}

/** The pages that people read: README and docs/. */
export const pages: readonly string[] = [
  'README.md',
  ...readdirSync('docs')
    .filter(name => name.endsWith('.md'))
    .map(name => `docs/${name}`),
]

/** The fenced blocks of a page, in order. */
export function blocksOf(page: string): Block[] {
  const blocks: Block[] = []
  let begun: { kind: string; line: number; text: string[] } | undefined
  for (const [index, line] of readFileSync(page, 'utf8').split('\n').entries()) {
    if (begun === undefined) {
      const [, kind] = /^```(.*)$/.exec(line) ?? []
      if (kind !== undefined) begun = { kind: kind.trim(), line: index + 1, text: [] }
    } else if (line === '```') {
      blocks.push({ ...begun, text: `${begun.text.join('\n')}\n` })
      begun = undefined
    } else begun.text.push(line)
  }
  return blocks
}
