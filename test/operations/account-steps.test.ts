import { describe, expect, it } from 'vitest'
import * as phony from '../../native-fixtures/phony-guests.ts'
import { verifyPassword } from '../../src/config/crypt.ts'
import type { HostAccess } from '../../src/operations/steps/host-access.ts'
import { steps } from '../../src/operations/steps/index.ts'
import { parseSettings } from '../../src/operations/steps/settings.ts'
import { memoryGuest, text } from './support/operations.ts'

const none = () => Promise.reject(new Error('not asked for'))

function hostOf(): HostAccess {
  return {
    readText: none,
    readBytes: none,
    source: () => {
      throw new Error('not asked for')
    },
    mode: none,
    tree: none,
    environment: () => undefined,
    inputLine: none,
    publicKey: none,
  }
}

async function apply(guest: Awaited<ReturnType<typeof memoryGuest>>, lines: readonly [string, string][]) {
  const host = hostOf()
  const planned = []
  for (const [name, value] of lines) {
    const step = steps.find(one => one.name === name)
    if (!step) throw new Error(`no step ${name}`)
    planned.push(await step.plan(value, host))
  }
  for (const run of planned) await run(guest)
}

describe('steps of accounts', () => {
  it('read their text forms', async () => {
    const guest = await memoryGuest({ ...phony.debian, '/etc/sudoers': '@includedir /etc/sudoers.d\n' })
    await apply(guest, [
      ['group-add', 'app:gid=1500,members=debian'],
      ['user-add', 'deploy:comment=Deploy, it,groups=adm,app,shell=/bin/sh,no-home'],
      ['user-mod', 'deploy:add=debian,remove=adm'],
      ['group-member', 'app:debian,-deploy'],
      ['sudo', 'deploy:password'],
      ['password-age', 'deploy:max=90,inactive=-1'],
      ['account-expire', 'deploy:2030-01-01'],
      ['password-expire', 'deploy'],
      ['user-lock', 'debian'],
      ['user-unlock', 'debian'],
      ['root-password', 'password:geheim'],
      ['enable-service', 'qemu-guest-agent, qemu-guest-agent.service'],
      ['user-add', 'gone'],
      ['user-del', 'gone:home'],
      ['group-add', 'nobodys'],
      ['group-del', 'nobodys'],
      // Wherever it stands it is for all passwords.
      ['password-crypto', 'sha256'],
    ])
    expect(await text(guest, '/etc/passwd')).toContain('deploy:x:1001:1001:Deploy, it:/home/deploy:/bin/sh\n')
    expect(await text(guest, '/etc/group')).toMatch(/^app:x:1500:debian$/m)
    expect(await text(guest, '/etc/group')).toMatch(/^debian:x:1000:deploy$/m)
    expect(await text(guest, '/etc/shadow')).toMatch(/^deploy:!:0:0:90:7::21915:$/m)
    expect(await text(guest, '/etc/sudoers.d/90-deploy')).toContain('deploy ALL=(ALL) ALL')
    const hash = /^root:([^:]*)/m.exec(await text(guest, '/etc/shadow'))?.[1] ?? ''
    expect(hash).toMatch(/^\$5\$/)
    expect(await verifyPassword('geheim', hash)).toBe(true)
  })

  it('say what is wrong with them', async () => {
    for (const [name, value, message] of [
      ['user-add', 'x:colour=red', /none of the settings uid=/],
      ['user-add', 'x:uid=many', /not a whole number/],
      ['user-add', ':uid=5', /not of the form/],
      ['user-add', 'x:system=yes', /none of the settings/],
      ['user-mod', 'x', /not of the form/],
      ['user-del', 'x:everything', /USER:home/],
      ['sudo', 'x:nopasswd', /USER:password/],
      ['group-member', 'g:', /names no user/],
      ['enable-service', ' , ', /no unit/],
      ['password-crypto', 'des', /sha512, sha256, md5, yescrypt/],
    ] as const) {
      const step = steps.find(one => one.name === name)
      await expect((async () => step?.plan(value, hostOf()))(), `${name} ${value}`).rejects.toThrow(message)
    }
  })

  it('keep the commas of values apart from those between settings', () => {
    const kinds = { comment: 'text', names: 'names', on: 'flag', n: 'number' } as const
    expect(parseSettings('comment=a,b,,on,names=x, y,,n=-3', kinds)).toEqual({
      comment: 'a,b,',
      on: true,
      names: ['x', 'y'],
      n: -3,
    })
    expect(parseSettings('', kinds)).toEqual({})
    expect(() => parseSettings('__proto__=x', kinds)).toThrow(/none of the settings/)
  })
})
