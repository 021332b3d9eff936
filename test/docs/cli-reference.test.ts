import { expect, test } from 'vitest'
import { cliReference } from '../support/cli-reference.ts'

// `npm run docs` writes the file.
test('docs/cli-reference.md is that of the commands as they are', async () => {
  await expect(await cliReference()).toMatchFileSnapshot('../../docs/cli-reference.md')
})
