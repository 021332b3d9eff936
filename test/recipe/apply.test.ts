import { describe, expect, test } from 'vitest'
import { families } from '../../native-fixtures/phony-guests.ts'
import type { DrydiskError } from '../../src/errors.ts'
import { memoryGuest } from '../../src/guest/memory-guest.ts'
import { applyRecipe } from '../../src/recipe/index.ts'
import { type Given, plan, problems } from './support/recipes.ts'

type Files = Readonly<Record<string, string>>

/** The names of the files that a recipe of `touch` steps makes. */
async function touched(recipe: string | Files, files: Parameters<typeof memoryGuest>[0], given: Given = {}) {
  const guest = await memoryGuest(files)
  const report = await applyRecipe(guest, await plan(recipe, given))
  return report.steps.flatMap(step => step.changes.map(change => change.file.slice(1)))
}

const touches = (conditions: Readonly<Record<string, string>>) =>
  `steps:\n${Object.entries(conditions)
    .map(([name, when]) => `  - touch: /${name}\n    when: ${when}\n`)
    .join('')}`

describe('conditions', () => {
  const byFamily = touches({
    debian: 'family == debian',
    ubuntu: 'distribution == ubuntu',
    rhel: 'family == rhel',
    el6: 'family == rhel and version == 6',
    el7: 'family == rhel and version <= 7 and version > 6',
    modern: 'family == rhel and not version < 9',
    fedora: 'distribution == fedora',
    suse: 'family == suse',
    alpine: 'family in [alpine, cirros]',
    systemd: 'init == systemd',
  })

  test.each(Object.entries(families))('%s', async (name, files) => {
    const found = await touched(byFamily, files)
    const expected: Record<string, string[]> = {
      debian: ['debian'],
      ubuntu: ['debian', 'ubuntu'],
      el6: ['rhel', 'el6'],
      el7: ['rhel', 'el7'],
      el8: ['rhel'],
      el9: ['rhel', 'modern'],
      el10: ['rhel', 'modern'],
      fedora: ['rhel', 'modern', 'fedora'],
      alpine: ['alpine'],
      cirros: ['alpine'],
    }
    const wanted = expected[name] ?? (name.match(/suse|sles|leap|tumbleweed/i) ? ['suse'] : undefined)
    if (wanted) expect(found.filter(one => one !== 'systemd')).toEqual(wanted)
    expect(found.includes('systemd')).toBe(!['el6', 'alpine', 'cirros'].includes(name))
  })

  test('versions are compared by as many numbers as are written', async () => {
    const guest = { '/etc/os-release': 'ID=rocky\nID_LIKE="rhel"\nVERSION_ID="9.4"\n' }
    const cases: Record<string, boolean> = {
      'version == 9': true,
      'version == 9.4': true,
      'version == 9.40': false,
      'version != 9': false,
      'version > 9': false,
      'version > 9.3': true,
      'version >= 9.10': false,
      'version <= 9': true,
      'version < 10': true,
      '9 <= version': true,
      '10 <= version': false,
      'version in [8, 9]': true,
      'version not in [8, 9]': false,
      'version in [9.3, 9.5]': false,
    }
    for (const [when, expected] of Object.entries(cases))
      expect(await touched(touches({ x: when }), guest), when).toEqual(expected ? ['x'] : [])
  })

  test('a rolling release has no version', async () => {
    const guest = { '/etc/os-release': 'ID=arch\n' }
    const recipe = touches({ a: 'version >= 1', b: 'version < 1', c: 'not version >= 1', d: 'version != 1' })
    expect(await touched(recipe, guest)).toEqual(['c', 'd'])
  })

  test('packages and files', async () => {
    const guest = {
      '/etc/os-release': 'ID=debian\nVERSION_ID="12"\n',
      '/var/lib/dpkg/status':
        'Package: acpid\nStatus: install ok installed\nVersion: 1\n\nPackage: gone\nStatus: deinstall ok config-files\n\nPackage: cloud-init\nPriority: optional\nStatus: hold ok installed\nVersion: 2\nDescription: x\n y\n',
      '/etc/netplan/50-cloud-init.yaml': '',
    }
    const recipe = touches({
      a: 'package(acpid)',
      b: 'package(gone)',
      c: 'package(cloud-init) and not package(cloud)',
      d: 'file(/etc/netplan/*.yaml)',
      e: 'file("/etc/netplan")',
      f: 'file(/etc/netplan/*.yml)',
      g: "package('acpid') or file(/nothing)",
      h: '(package(gone) or package(acpid)) and family == debian',
      i: 'package(gone) or package(acpid) and family == suse',
    })
    expect(await touched(recipe, guest)).toEqual(['a', 'c', 'd', 'e', 'g', 'h'])
    const el = {
      '/etc/redhat-release': 'CentOS release 6.10',
      '/usr/share/doc/acpid-1.0.10/README': '',
      '/usr/sbin/sshd': '',
    }
    expect(
      await touched(touches({ a: 'package(acpid)', b: 'package(openssh-server)', c: 'package(acp)' }), el),
    ).toEqual(['a', 'b'])
  })

  test('several are all needed, and files are looked for when the step is reached', async () => {
    const recipe =
      'steps:\n  - touch: /a\n    when: [not file(/a), family == unknown]\n  - touch: /b\n    when: file(/a)\n  - touch: /c\n    when: [file(/a), file(/c)]\n'
    expect(await touched(recipe, {})).toEqual(['a', 'b'])
  })

  test('what does not apply is reported', async () => {
    const guest = await memoryGuest({})
    const report = await applyRecipe(
      guest,
      await plan('steps:\n  - name: names it\n    hostname: a\n    when: family == suse\n'),
    )
    expect(report).toEqual({
      recipe: 'r',
      steps: [],
      skipped: [{ operation: 'hostname', label: 'names it', recipe: 'r:3', when: 'family == suse' }],
    })
  })
})

describe('variables', () => {
  const recipe =
    'variables:\n  A: {default: from-default, env: [LEGACY_A]}\n  B: short\nsteps:\n  - touch: "/${A}-${B}"\n'
  test.each<[string, Given, string]>([
    ['defaults', {}, 'from-default-short'],
    ['an environment of its own', { environment: { LEGACY_A: 'old' } }, 'old-short'],
    ['DRYDISK_VAR_', { environment: { LEGACY_A: 'old', DRYDISK_VAR_A: 'new' } }, 'new-short'],
    ['given', { environment: { DRYDISK_VAR_A: 'new' }, variables: { A: 'given' } }, 'given-short'],
    ['given empty', { environment: { DRYDISK_VAR_A: 'new' }, variables: { A: '' } }, '-short'],
    ['a value is only text', { variables: { A: '${B}' } }, '${B}-short'],
  ])('%s', async (_, given, expected) => {
    expect(await touched(recipe, {}, given)).toEqual([expected])
  })

  test('dollars', async () => {
    const text = 'variables: {A: a}\nsteps:\n  - write: "/x:$${A} $$ $A ${A}$ $$${A} \\\\$"\n'
    const guest = await memoryGuest({})
    await applyRecipe(guest, await plan(text))
    expect(await guest.readText('/x')).toBe('${A} $$ $A a$ $${A} \\$')
  })

  test('choices, and names that there are not', async () => {
    const text = 'variables:\n  A: {choices: [x, y], required: true}\nsteps:\n  - touch: "/${A}"\n'
    expect(await problems(text, { variables: { A: 'z', AB: 'x' } })).toEqual([
      'r:1:1: error: this recipe has no variable AB (did you mean "A"?)'.replace(' (did you mean "A"?)', ''),
      'r:2:3: error: A is "z"; expected one of x, y',
    ])
    expect(await touched(text, {}, { variables: { A: 'y' } })).toEqual(['y'])
  })

  test('decide whether a step runs; the value of one that does not is not read', async () => {
    const text =
      'variables:\n  PASSWORD: {secret: true}\n  ON: no\n  NEEDED: {required: true}\nsteps:\n  - root-password: password:${PASSWORD}\n    when: ${PASSWORD} != ""\n  - touch: /on\n    when: ${ON}\n  - touch: "/${NEEDED}"\n    when: ${ON} and family == debian\n'
    expect(await problems(text)).toEqual([])
    expect(await touched(text, {})).toEqual([])
    expect(await touched(text, {}, { variables: { ON: 'True', NEEDED: 'n' } })).toEqual(['on'])
    expect(await problems(text, { variables: { ON: 'yes' } })).toEqual([
      expect.stringContaining('r:10:14: error: the variable NEEDED has no value'),
    ])
    expect(await problems(text, { variables: { ON: 'perhaps' } })).toEqual([
      'r:9:11: error: ${ON}: this is neither yes nor no (true, false, 1, 0, on, off)',
      expect.stringContaining('r:11:11: error: ${ON} and family == debian: this is neither'),
      expect.stringContaining('NEEDED'),
    ])
  })

  test('secrets show nowhere', async () => {
    const text =
      'variables:\n  S: {secret: true, default: hunter22}\n  T: {secret: true, choices: [a, b]}\nsteps:\n  - append-line: "/etc/x:key=${S}"\n  - delete: /tmp/${S}${T}\n  - copy: "/${S}:/y"\n'
    const guest = await memoryGuest({ '/etc/x': '' })
    const planned = await plan(text, { variables: { T: 'b' } })
    const failed = await applyRecipe(guest, planned).catch((error: unknown) => error)
    expect(failed).toMatchObject({ code: 'ENOENT' })
    expect(String(failed)).not.toContain('hunter22')
    expect(JSON.stringify((failed as DrydiskError).context)).not.toContain('hunter22')
    expect(await guest.readText('/etc/x')).toBe('key=hunter22\n')
    const report = await applyRecipe(await memoryGuest({ '/hunter22': '', '/etc/x': '' }), planned)
    expect(JSON.stringify(report)).not.toContain('hunter22')
    expect(JSON.stringify(report)).toContain('key=(hidden)')
    expect((await problems(text, { variables: { T: 'secret-choice' } })).join()).not.toContain(
      'secret-choice',
    )
    expect((await problems(`${text}  - chmod: "\${S}:/etc"\n`)).join()).not.toContain('hunter22')
  })
})

describe('includes', () => {
  test('run where they stand; top ones first; conditions hold for all of them', async () => {
    const files = {
      r: 'include: a\nsteps:\n  - touch: /r1\n  - include: [b, {recipe: c, when: not file(/c)}]\n  - touch: /r2\n  - include: b\n    when: family == suse\n',
      a: 'steps:\n  - touch: /a\n',
      b: 'include: [c]\nsteps:\n  - touch: /b\n',
      c: 'steps:\n  - touch: /c\n  - touch: /c2\n    when: not file(/c2)\n',
    }
    // The condition of c is looked at once before it: b made /c already.
    expect(await touched(files, {})).toEqual(['a', 'r1', 'c', 'c2', 'b', 'r2'])
    expect(await touched({ ...files, b: 'steps: [touch: /b]' }, {})).toEqual([
      'a',
      'r1',
      'b',
      'c',
      'c2',
      'r2',
    ])
  })

  test('share variables; the outermost declaration decides the default', async () => {
    const files = {
      r: 'variables: {A: outer}\ninclude: a\n',
      a: 'variables:\n  A: {default: inner, env: AA}\n  B: b\nsteps:\n  - touch: "/${A}-${B}"\n',
    }
    expect(await touched(files, {})).toEqual(['outer-b'])
    expect(await touched(files, {}, { environment: { AA: 'x' }, variables: { B: 'y' } })).toEqual(['x-y'])
    expect(await problems(files)).toEqual([])
  })

  test('of themselves, and too many, are refused', async () => {
    expect(await problems('include: r')).toEqual(['r:1:10: error: includes itself: r → r'])
    expect(await problems({ r: 'include: a', a: 'steps:\n  - include: r' })).toEqual([
      'a:2:14: error: includes itself: r → a → r',
    ])
    const chain: Record<string, string> = { r: 'include: f0' }
    for (let i = 0; i < 30; i++) chain[`f${i}`] = `include: f${i + 1}`
    expect(await problems(chain)).toEqual(['f14:1:10: error: more than 16 files deep'])
    const tree: Record<string, string> = { r: 'include: [t0, t0]', t12: 'steps: [touch: /x]' }
    for (let i = 0; i < 12; i++) tree[`t${i}`] = `include: [t${i + 1}, t${i + 1}]`
    expect((await problems(tree)).join('\n')).toContain('more than 200 inclusions in all')
  })

  test('mistakes in them are told with their own file', async () => {
    expect(await problems({ r: 'include: a', a: 'steps:\n  - nonsense: x' })).toEqual([
      expect.stringContaining('a:2:5: error: no step "nonsense"'),
    ])
  })
})

test('a step is run once for each value of a list; fields make the same text', async () => {
  const guest = await memoryGuest({ '/etc/ssh/sshd_config': 'UsePAM yes\n' })
  const report = await applyRecipe(
    guest,
    await plan(
      'steps:\n  - mkdir: [/a, /b]\n  - write:\n      - {file: /a/x, content: "1:2=3,4"}\n      - file: /b/x\n        content: |\n          two\n          lines\n  - sshd: {key: X11Forwarding, value: no}\n  - serial-console: {device: ttyS1}\n    when: file(/boot)\n',
    ),
  )
  expect(report.steps.map(one => one.operation)).toEqual(['mkdir', 'mkdir', 'write', 'write', 'sshd'])
  expect(await guest.readText('/a/x')).toBe('1:2=3,4')
  expect(await guest.readText('/b/x')).toBe('two\nlines\n')
  expect(report.steps[4]).toMatchObject({
    recipe: 'r:9',
    changes: [{ setting: 'X11Forwarding', after: 'no' }],
  })
})

test('an error names the place in the recipe and the step', async () => {
  const guest = await memoryGuest({})
  await expect(
    applyRecipe(guest, await plan('steps:\n  - touch: /a\n  - copy: /b:/c\n')),
  ).rejects.toMatchObject({ code: 'ENOENT', message: expect.stringMatching(/^r:3: copy: \/b/) })
  await expect(applyRecipe(guest, await plan('steps:\n  - touc: /a\n  - x: y'))).rejects.toMatchObject({
    code: 'ERR_INVALID_ARGUMENT',
    message: expect.stringMatching(/^r:2:5: error: no step "touc".*\(and 1 more\)$/),
  })
})

test('files of the host come through the host', async () => {
  const guest = await memoryGuest({
    '/etc/passwd': 'root:x:0:0::/root:/bin/sh\n',
    '/etc/shadow': 'root:*:1::::::\n',
  })
  const recipe =
    'steps:\n  - upload: motd:/etc/motd\n  - copy-in: {localpath: motd, remotedir: /etc}\n  - root-password: file:secret\n'
  await applyRecipe(guest, await plan(recipe, { hostFiles: { motd: 'hi\n', secret: 'word\n' } }))
  expect(await guest.readText('/etc/motd')).toBe('hi\n')
  expect(await guest.readText('/etc/shadow')).toMatch(/^root:\$6\$/)
})
