import { describe, expect, test } from 'vitest'
import { type PhonyGuestName, phonyGuest, phonyGuests } from '../../native-fixtures/phony-guests.ts'
import { isDrydiskError } from '../../src/errors.ts'
import { steps } from '../../src/operations/steps/index.ts'
import { testHost } from '../recipe/support/recipes.ts'
import { watched } from './support/operations.ts'
import { stepFiles, stepValues } from './support/step-values.ts'

test('every step has a value here', () => {
  expect(steps.map(step => step.name).filter(name => stepValues[name] === undefined)).toEqual([])
})

// Each step on each family: what it could not do it says with a typed error, and what it did it does not do again.
describe.each(Object.keys(phonyGuests) as PhonyGuestName[])('on %s', family => {
  test.each(steps.flatMap(step => (stepValues[step.name] ?? []).map(value => ({ step, value }))))(
    '$step.name $value',
    async ({ step, value }) => {
      const guest = await phonyGuest(family)
      const host = testHost(stepFiles)
      try {
        await (await step.plan(value, host))(guest)
      } catch (error) {
        if (isDrydiskError(error)) return expect(error.code).not.toBe('ERR_INTERNAL')
        throw error
      }
      const again = watched(guest)
      const second = await (await step.plan(value, testHost(stepFiles)))(again.guest)
      expect(second.changes).toEqual([])
      expect(again.writes).toEqual([])
    },
  )
})
