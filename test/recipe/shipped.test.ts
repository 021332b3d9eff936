import { describe, expect, test } from 'vitest'
import { type PhonyGuestName, phonyGuest, phonyGuests } from '../../native-fixtures/phony-guests.ts'
import { hostRecipes, shippedRecipeNames } from '../../src/library/recipes.ts'
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

const all = Object.keys(phonyGuests) as PhonyGuestName[]
const some: readonly PhonyGuestName[] = ['el6', 'el7', 'el9', 'debian', 'ubuntu', 'leap', 'alpine']

describe.each(names)('%s', name => {
  test.each(name.startsWith('openstack-') ? all : some)('on %s, twice', async family => {
    const { plan } = await shippedPlan(name, MORE[name])
    const guest = await phonyGuest(family)
    const guestHasSudo = await guest.exists('/etc/sudoers')
    if (name === 'devuser' && !guestHasSudo) {
      await expect(applyRecipe(guest, plan)).rejects.toMatchObject({
        code: 'ENOENT',
        message: expect.stringContaining('sudo is not installed'),
      })
      return
    }
    await applyRecipe(guest, plan)
    const again = watched(guest)
    const second = await applyRecipe(again.guest, plan)
    const changed = second.steps.filter(step => step.changes.some(change => !change.newSecret))
    expect(changed.filter(step => !/password/.test(step.operation))).toEqual([])
  })
})

test('openstack-centos does what the guide does by hand on EL7', async () => {
  const guest = await phonyGuest('el7')
  const { plan } = await shippedPlan('openstack-centos', { ROOT_PASSWORD: 'locked' })
  const { steps: done } = await applyRecipe(guest, plan)
  expect(await guest.readText('/etc/sysconfig/network')).toMatch(/^NOZEROCONF=yes$/m)
  const grub = await guest.readText('/boot/grub2/grub.cfg')
  expect(grub).toMatch(/^\tlinux16 .* console=tty0 console=ttyS0,115200n8/m)
  expect(grub).not.toMatch(/^\tlinux16 .*(rhgb|quiet)/m)
  expect(await guest.readText('/etc/machine-id')).toBe('')
  expect(await guest.readText('/etc/shadow')).toMatch(/^root:!/m)
  expect(done.at(-1)).toMatchObject({ operation: 'sysprep', label: "this machine's own" })
})

test('openstack-ubuntu on Ubuntu: data sources, consoles, no machine ID', async () => {
  const guest = await phonyGuest('ubuntu')
  const { plan } = await shippedPlan('openstack-ubuntu', { CLOUD_USER: 'admin', INSTALL_MISSING: 'yes' })
  const { steps: done } = await applyRecipe(guest, plan)
  expect(await guest.readText('/etc/cloud/cloud.cfg.d/99-zz-drydisk.cfg')).toMatch(
    /^datasource_list: \[ ?ConfigDrive, OpenStack, Ec2, None ?\]$/m,
  )
  expect(await guest.readText('/boot/grub/grub.cfg')).toMatch(
    /^\s*linux\s.*console=tty0 console=ttyS0,115200n8/m,
  )
  expect(await guest.readText('/etc/machine-id')).toBe('')
  expect(done.map(step => step.operation)).toContain('firstboot-install')
})
