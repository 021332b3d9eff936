import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { phonyGuest } from '../../native-fixtures/phony-guests.ts'
import { hostRecipes } from '../../src/library/recipes.ts'
import { steps } from '../../src/operations/steps/index.ts'
import { applyRecipe, loadRecipe, planRecipe } from '../../src/recipe/index.ts'
import { testHost } from './support/recipes.ts'

const text = readFileSync(new URL('../../docs/recipes.md', import.meta.url), 'utf8')
const examples = [...text.matchAll(/^```yaml\n(.*?)^```$/gms)].map(match => match[1] ?? '')
const shown = examples.map((example, i) => [`example ${i + 1}`, example] as const)

describe('every example of docs/recipes.md', () => {
  test('is found', () => expect(examples.length).toBeGreaterThanOrEqual(5))

  test.each(shown)('%s runs', async (_, example) => {
    const host = testHost()
    const read = {
      read: async (reference: string) =>
        reference === 'r'
          ? { file: 'r', text: example, host }
          : { ...(await hostRecipes.read(reference, undefined)), host },
    }
    const recipe = await loadRecipe('r', { read, steps, version: '0.1.0' })
    const given = recipe.variables.has('TOKEN') ? new Map([['TOKEN', 'abc']]) : new Map<string, string>()
    const plan = await planRecipe(recipe, given)
    expect(plan.problems).toEqual([])
    for (const family of ['debian', 'el9'] as const) {
      const guest = await phonyGuest(family)
      const report = await applyRecipe(guest, plan)
      expect(report.steps.length).toBeGreaterThan(0)
      if (given.size > 0) {
        expect(await guest.readText('/etc/site')).toBe(
          'a default small abc, and ${PLAIN} as it stands here\n',
        )
        expect(JSON.stringify(report)).not.toContain('abc')
      }
    }
  })
})
