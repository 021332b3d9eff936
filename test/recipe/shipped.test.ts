import { describe, expect, test } from 'vitest'
import { type PhonyGuestName, phonyGuest, phonyGuests } from '../../native-fixtures/phony-guests.ts'
import { hostRecipes, shippedRecipeNames } from '../../src/cli/recipes.ts'
import { steps } from '../../src/operations/steps/index.ts'
import { applyRecipe, loadRecipe, planRecipe } from '../../src/recipe/index.ts'
import { watched } from '../operations/support/operations.ts'
import { testHost } from './support/recipes.ts'

const names = await shippedRecipeNames()

const REQUIRED: Readonly<Record<string, string>> = {
  DIB_CLOUD_INIT_DATASOURCES: 'Ec2, ConfigDrive, OpenStack',
  DIB_CLOUD_INIT_GROWPART_DEVICES: '[/dev/vda1]',
}

/** Every branch of each recipe is taken. */
const MORE: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  devuser: {
    DIB_DEV_USER_PASSWORD: 'pass:word',
    DIB_DEV_USER_PWDLESS_SUDO: 'yes',
    DIB_DEV_USER_SHELL: '/bin/sh',
  },
  modprobe: { DIB_MODPROBE_BLACKLIST: 'igb ixgbe' },
  'local-config': { http_proxy: 'http://proxy:3128', https_proxy: 'http://proxy:3129' },
  'openstack-guest': { CLOUD_USER: 'admin', ROOT_PASSWORD: 'locked' },
}

async function shippedPlan(name: string, variables: Readonly<Record<string, string>> = {}) {
  const read = {
    read: async (...args: Parameters<typeof hostRecipes.read>) => ({
      ...(await hostRecipes.read(...args)),
      host: testHost(),
    }),
  }
  const recipe = await loadRecipe(name, { read, steps, version: '0.1.0' })
  const given = Object.entries({ ...REQUIRED, ...variables }).filter(([one]) => recipe.variables.has(one))
  return { recipe, plan: await planRecipe(recipe, new Map(given)) }
}

test.each(names)('%s is without a mistake, and described', async name => {
  const { recipe, plan } = await shippedPlan(name, MORE[name])
  expect(plan.problems).toEqual([])
  expect(recipe.name).toBe(name)
  expect(recipe.description).not.toBe('')
  for (const declarations of recipe.variables.values())
    expect(declarations.some(one => one.description !== '')).toBe(true)
})

/** Guests that lack what a recipe is about say so. */
const LACKS = new Set(['ENOENT', 'ERR_UNSUPPORTED'])

describe.each(names)('%s', name => {
  test.each(Object.keys(phonyGuests) as PhonyGuestName[])('on %s, twice', async family => {
    const { plan } = await shippedPlan(name, MORE[name])
    const guest = await phonyGuest(family)
    try {
      await applyRecipe(guest, plan)
    } catch (error) {
      expect(error).toMatchObject({ code: expect.stringMatching(/^E/) })
      if (!LACKS.has((error as { code: string }).code)) throw error
      console.log(name, family, (error as Error).message)
      return
    }
    const again = watched(guest)
    const second = await applyRecipe(again.guest, plan)
    const changed = second.steps.filter(step => step.changes.some(change => !change.newSecret))
    expect(changed.filter(step => !/password/.test(step.operation))).toEqual([])
  })
})
