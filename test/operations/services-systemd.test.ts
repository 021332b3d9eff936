import { lstatSync, mkdirSync, readdirSync, readlinkSync, symlinkSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { isDrydiskError } from '../../src/errors.ts'
import { HostFolderGuest } from '../../src/guest/host-folder-guest.ts'
import {
  disableService,
  enableService,
  maskService,
  unmaskService,
} from '../../src/operations/services/service-operations.ts'
import { serviceState } from '../../src/operations/services/service-state.ts'
import { haveTool, propertySettings, run, temporaryFolder } from '../support/native.ts'

const verbs = { enable: enableService, disable: disableService, mask: maskService, unmask: unmaskService }
type Verb = keyof typeof verbs

/** Units as packages bring them: what [Install] can say, each once. A value that starts with `->` is a link. */
const UNITS: Readonly<Record<string, string>> = {
  '/usr/lib/systemd/system/plain.service': '[Install]\nWantedBy=multi-user.target\n',
  '/usr/lib/systemd/system/two.service':
    '[Install]\nWantedBy=multi-user.target graphical.target\nRequiredBy=net.target\n',
  '/usr/lib/systemd/system/aliased.service':
    '[Install]\nWantedBy=multi-user.target\nAlias=other-name.service\n',
  '/usr/lib/systemd/system/only-alias.service': '[Install]\nAlias=dbus-org.example.service\n',
  '/usr/lib/systemd/system/with-socket.service':
    '[Install]\nWantedBy=multi-user.target\nAlso=with-socket.socket\n',
  '/usr/lib/systemd/system/with-socket.socket':
    '[Socket]\nListenStream=1\n[Install]\nWantedBy=sockets.target\n',
  '/usr/lib/systemd/system/also-only.service': '[Install]\nAlso=plain.service\n',
  '/usr/lib/systemd/system/also-missing.service':
    '[Install]\nWantedBy=multi-user.target\nAlso=not-there.service\n',
  '/usr/lib/systemd/system/static.service': '[Service]\nExecStart=/bin/true\n',
  '/usr/lib/systemd/system/empty-install.service': '[Install]\n',
  '/usr/lib/systemd/system/getty@.service': '[Install]\nWantedBy=getty.target\nDefaultInstance=tty1\n',
  '/usr/lib/systemd/system/user@.service': '[Install]\nWantedBy=multi-user.target\n',
  '/usr/lib/systemd/system/per@.service': '[Install]\nWantedBy=dev-%i.device\nAlias=per-alias@.service\n',
  '/usr/lib/systemd/system/reset.service': '[Install]\nWantedBy=multi-user.target\n',
  '/etc/systemd/system/reset.service.d/10-install.conf': '[Install]\nWantedBy=\nWantedBy=rescue.target\n',
  '/usr/lib/systemd/system/added.service': '[Service]\nExecStart=/bin/true\n',
  '/usr/lib/systemd/system/added.service.d/install.conf': '[Install]\nWantedBy=multi-user.target\n',
  '/etc/systemd/system/own.service': '[Install]\nWantedBy=multi-user.target\n',
  '/usr/lib/systemd/system/shadowed.service': '[Install]\nWantedBy=multi-user.target\n',
  '/etc/systemd/system/shadowed.service': '[Install]\nWantedBy=graphical.target\n',
  '/usr/lib/systemd/system/vendor-alias.service': '->plain.service',
  '/usr/lib/systemd/system/vendor-masked.service': '->/dev/null',
  '/opt/app/linked.service': '[Install]\nWantedBy=multi-user.target\n',
  '/etc/systemd/system/linked.service': '->/opt/app/linked.service',
  '/usr/local/lib/systemd/system/local.service': '[Install]\nWantedBy=multi-user.target\n',
  '/usr/lib/systemd/system/vendor-wanted.service': '[Service]\nExecStart=/bin/true\n',
  '/usr/lib/systemd/system/multi-user.target.wants/vendor-wanted.service': '->../vendor-wanted.service',
  '/usr/lib/systemd/system/fstrim.timer': '[Timer]\nOnCalendar=weekly\n[Install]\nWantedBy=timers.target\n',
  '/etc/machine-id': '0123456789abcdef0123456789abcdef\n',
}
for (const target of ['multi-user', 'graphical', 'net', 'sockets', 'getty', 'rescue', 'timers'])
  Object.assign(UNITS, { [`/usr/lib/systemd/system/${target}.target`]: '[Unit]\n' })

const NAMES = [
  ...Object.keys(UNITS)
    .filter(path => /system\/[^/]+$/.test(path) && !path.endsWith('.target') && !path.includes('@'))
    .map(path => basename(path)),
  'getty@.service',
  'getty@tty3.service',
  'user@1000.service',
  'per@sda.service',
  'absent.service',
]

function makeTree(root: string): void {
  for (const [path, text] of Object.entries(UNITS)) {
    mkdirSync(dirname(join(root, path)), { recursive: true })
    if (text.startsWith('->')) symlinkSync(text.slice(2), join(root, path))
    else writeFileSync(join(root, path), text)
  }
}

/** Every link below /etc/systemd/system, with the name of what it leads to. */
function links(root: string): string[] {
  const found: string[] = []
  const visit = (folder: string) => {
    for (const name of readdirSync(join(root, folder)).sort()) {
      const path = `${folder}/${name}`
      const stats = lstatSync(join(root, path))
      if (stats.isSymbolicLink()) found.push(`${path} -> ${readlinkSync(join(root, path))}`)
      else if (stats.isDirectory()) {
        found.push(`${path}/`)
        visit(path)
      }
    }
  }
  visit('/etc/systemd/system')
  return found
}

async function drydisk(root: string, verb: Verb, unit: string): Promise<string | undefined> {
  try {
    await verbs[verb].run(new HostFolderGuest(root), { units: [unit] })
    return undefined
  } catch (error) {
    if (!isDrydiskError(error)) throw error
    return error.code
  }
}

const systemctl = (root: string, verb: string, unit: string) =>
  run('systemctl', [`--root=${root}`, verb, unit])

/** What is-enabled calls a state that drydisk has another word for, because it asks for what happens at boot. */
const IS_ENABLED: Readonly<Record<string, string>> = {
  'vendor-alias.service': 'alias',
  'other-name.service': 'alias',
  // Linked, and of no link in a target.
  'linked.service': 'linked',
}

async function compareStates(theirs: string, ours: string): Promise<unknown[]> {
  const states = new Map<string, string>()
  for (const name of NAMES) states.set(name, (await serviceState(new HostFolderGuest(ours), name)).state)
  // systemctl says nothing more once it has met a unit that is not there.
  const [absent, present] = [true, false].map(there =>
    NAMES.filter(n => (states.get(n) === 'absent') === there),
  )
  const differences: unknown[] = []
  for (const name of absent ?? [])
    if ((await systemctl(theirs, 'is-enabled', name)).stdout !== '')
      differences.push({ name, state: 'absent' })
  const words = (await run('systemctl', [`--root=${theirs}`, 'is-enabled', ...(present ?? [])])).stdout
  for (const [i, word] of words.trim().split('\n').entries()) {
    const name = present?.[i] ?? ''
    const state = states.get(name)
    if (word !== state && word !== IS_ENABLED[name]) differences.push({ name, native: word, state })
  }
  expect(words.trim().split('\n').length).toBe(present?.length)
  return differences
}

describe.skipIf(!haveTool('systemctl'))('beside systemctl --root', () => {
  const trees = () => {
    const base = temporaryFolder()
    const [theirs, ours] = [join(base, 'theirs'), join(base, 'ours')]
    for (const root of [theirs, ours]) makeTree(root)
    return { theirs, ours }
  }

  it('leaves the same links for each verb on each unit, and calls the states the same', async () => {
    const { theirs, ours } = trees()
    expect(await compareStates(theirs, ours)).toEqual([])
    // drydisk masks the unit that an alias stands for: a mask on the alias alone lets the unit start.
    const names = NAMES.filter(name => name !== 'vendor-alias.service')
    for (const verb of ['enable', 'mask', 'unmask', 'disable'] as Verb[]) {
      for (const unit of names) {
        const native = await systemctl(theirs, verb, unit)
        const code = await drydisk(ours, verb, unit)
        expect(links(ours), `${verb} ${unit} ${native.stderr} ${code}`).toEqual(links(theirs))
      }
      expect(await compareStates(theirs, ours), `after ${verb}`).toEqual([])
    }
  }, 600_000)

  it('leaves the same links after any sequence', async () => {
    const step = fc.tuple(
      fc.constantFrom<Verb>('enable', 'enable', 'disable', 'mask', 'unmask'),
      fc.constantFrom(...NAMES.filter(name => name !== 'vendor-alias.service')),
    )
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 10, maxLength: 25 }), async sequence => {
        const { theirs, ours } = trees()
        for (const [verb, unit] of sequence) {
          await systemctl(theirs, verb, unit)
          await drydisk(ours, verb, unit)
          expect(links(ours), `${verb} ${unit}`).toEqual(links(theirs))
        }
      }),
      propertySettings(3),
    )
  }, 600_000)
})
