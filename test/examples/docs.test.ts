import { readdirSync, readFileSync } from 'node:fs'
import { expect, test } from 'vitest'

test('docs/library.md shows every example as it is', () => {
  const page = readFileSync('docs/library.md', 'utf8')
  for (const name of readdirSync('examples').filter(file => file.endsWith('.ts')))
    expect(page).toContain(
      `(../examples/${name})\n\n\`\`\`ts\n${readFileSync(`examples/${name}`, 'utf8').trimEnd()}\n\`\`\``,
    )
})
