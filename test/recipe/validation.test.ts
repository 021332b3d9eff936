import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parseExpression } from '../../src/recipe/expression.ts'
import { TextProblem } from '../../src/recipe/template.ts'
import { propertySettings } from '../support/native.ts'
import { problems } from './support/recipes.ts'

describe('every mistake is told with its line and column', () => {
  test.each<[string, string, string]>([
    [
      'an unknown key',
      'name: x\nstep:\n  - hostname: a\nsteps: []',
      'r:2:1: error: a recipe has no "step" (did you mean "steps"?)',
    ],
    ['no steps', 'name: x', 'r:1:1: error: a recipe needs "steps" or "include"'],
    ['steps as text', 'steps: hostname', 'r:1:8: error: steps is a list'],
    [
      'an unknown step',
      'steps:\n  - hostnam: a',
      'r:2:5: error: no step "hostnam" (did you mean "hostname"?)',
    ],
    [
      'two steps at one dash',
      'steps:\n  - hostname: a\n    timezone: UTC',
      'r:3:5: error: "timezone" stands beside "hostname"',
    ],
    ['a step with no value', 'steps:\n  - hostname:', 'r:2:5: error: hostname needs HOSTNAME'],
    ['a value for a step without', 'steps:\n  - growroot: hard', 'r:2:15: error: growroot takes no value'],
    ['a wrong value', 'steps:\n  - chmod: 9:/etc', 'r:2:12: error: chmod: "9" are not octal'],
    [
      'a wrong value in a list',
      'steps:\n  - sshd:\n      - UsePAM=yes\n      - UsePAM',
      'r:4:9: error: sshd: "UsePAM" is not of the form KEY=VALUE',
    ],
    [
      'an unknown field',
      'steps:\n  - write: {file: /a, contents: b}',
      'r:2:23: error: write has no "contents" (did you mean "content"?); it has file, content',
    ],
    ['a missing field', 'steps:\n  - write: {file: /a}', 'r:2:12: error: write needs "content"'],
    [
      'a field with what ends it',
      'steps:\n  - write: {file: "/a:b", content: x}',
      'r:2:19: error: write: file cannot hold ":"',
    ],
    ['fields where there are none', 'steps:\n  - growroot: {a: b}', 'r:2:15: error: growroot takes no value'],
    [
      'a field that is a list',
      'steps:\n  - write: {file: [/a], content: b}',
      'r:2:19: error: file is a text',
    ],
    [
      'a list in a list',
      'steps:\n  - mkdir: [[/a]]',
      'r:2:13: error: mkdir takes a text, not a list in a list',
    ],
    [
      'an undeclared variable',
      'steps:\n  - hostname: ${NAME}',
      'r:2:15: error: the variable NAME is not declared',
    ],
    [
      'an undeclared variable in the midst',
      'steps:\n  - write: "/a:hello ${NAME}"',
      'r:2:22: error: the variable NAME is not declared',
    ],
    ['half a variable', 'steps:\n  - hostname: a${NAME', 'r:2:16: error: "${" begins a variable'],
    [
      'a missing variable',
      'variables:\n  NAME: {required: true}\nsteps:\n  - hostname: ${NAME}',
      'r:4:15: error: the variable NAME has no value: give it with --var NAME=VALUE',
    ],
    [
      'an unused variable',
      'variables:\n  NAME: a\nsteps: []',
      'r:2:3: warning: the variable NAME is used nowhere',
    ],
    ['a bad name', 'variables:\n  A-B: a\nsteps: []', 'r:2:3: error: "A-B" is no name of a variable'],
    [
      'an unknown key of a variable',
      'variables:\n  A: {defautl: a}\nsteps:\n - hostname: ${A}',
      'r:2:7: error: a variable has no "defautl" (did you mean "default"?)',
    ],
    [
      'a default beside the choices',
      'variables:\n  A: {default: a, choices: [b, c]}\nsteps:\n - hostname: ${A}',
      'r:2:3: error: the default of A is none of its choices: b, c',
    ],
    [
      'required with a default',
      'variables:\n  A: {default: a, required: true}\nsteps:\n - hostname: ${A}',
      'r:2:3: warning: A has a default',
    ],
    [
      'a flag that is none',
      'variables:\n  A: {required: maybe}\nsteps:\n - hostname: x${A}',
      'r:2:17: error: required is true or false',
    ],
    [
      'an empty value by variables',
      'variables: {A: ""}\nsteps:\n - hostname: ${A}',
      'r:3:14: error: hostname: HOSTNAME is empty',
    ],
    ['a key twice', 'name: a\nname: b\nsteps: []', 'r:2:1: error: "name" stands here twice, first on line 1'],
    [
      'a variable twice',
      'variables:\n  A: a\n  A: b\nsteps: [hostname: "${A}"]',
      'r:3:3: error: "A" stands here twice, first on line 2',
    ],
    ['broken YAML', 'steps:\n  - [', 'r:2:6: error: YAML: '],
    [
      'a tag',
      'steps:\n  - hostname: !!binary aGVsbG8=',
      'error: only texts, lists and mappings are expected',
    ],
    ['two documents', 'steps: []\n---\nsteps: []', 'r:2:1: error: YAML: '],
    ['a list as key', '? [a]\n: b', 'r:1:3: error: a key must be a word'],
    ['a list of a recipe', '- hostname: a', 'r:1:1: error: a recipe is a mapping'],
    ['an unknown anchor', 'steps: *none', 'r:1:8: error: no anchor &none'],
    ['a missing include', 'include: nothing', 'r:1:10: error: no recipe "nothing"'],
    ['a wrong include', 'include: [{file: a}]', 'r:1:11: error: an include needs "recipe"'],
    [
      'a missing file',
      'steps:\n  - root-password: file:none',
      'r:2:20: error: root-password: the file none cannot be read',
    ],
    [
      'a missing secret',
      'steps:\n  - root-password: env:NONE',
      'r:2:20: error: root-password: the environment has no variable NONE',
    ],
  ])('%s', async (_, text, expected) => {
    const found = await problems(text)
    expect(found.join('\n')).toContain(expected)
  })

  test.each<[string, string]>([
    ['user-add: bad name', '"bad name" is not a user name'],
    ['user-add: {user: deploy, settings: "home=relative"}', '"relative" is no home'],
    ['user-mod: deploy:name=a b', '"a b" is not a user name'],
    ['group-add: 12', '"12" is not a group name'],
    ['password-age: root:max=-5', 'max is -5'],
    ['account-expire: root:2027-02-30', '"2027-02-30" is not a day'],
    ['hostname: bad host', '"bad host" is not a hostname'],
    ['timezone: ../../etc', '"../../etc" is not a time zone'],
    ['locale: ding dong', '"ding dong" is not a locale'],
    ['keymap: /etc', '"/etc" is not a keyboard layout'],
    ['sysctl: ipforward=1', 'is no kernel parameter'],
    ['serial-console: tty0', 'tty0 at 115200 is not a serial console'],
    ['mirror: hello', '"hello" is not the URL of a mirror'],
    ['network-dhcp: eth/0', '"eth/0" is not the name of an interface'],
    ['modprobe-blacklist: a;b', 'is no name of a kernel module'],
    ['expect-packages: "-x"', '"-x" is no name of a package'],
    ['cloud-init-user: ROOT', '"ROOT" is not a name that useradd takes'],
    ['cloud-init-datasources: Openstak', 'cloud-init has no datasource "Openstak"'],
    ['firstboot-install: "a;b"', '"a;b" is not the name of a package'],
  ])('what no guest could take: %s', async (step, expected) => {
    const found = (await problems(`steps:\n  - ${step}`)).join('\n')
    expect(found).toMatch(/^r:2:\d+: error: /)
    expect(found).toContain(expected)
  })

  test.each<[string, string]>([
    ['familiy == debian', '11: error: "familiy" is nothing that a guest tells (did you mean "family"?)'],
    ['family == redhat', '21: error: family is never "redhat"'],
    ['family in [debian, ubuntu]', '30: error: family is never "ubuntu"'],
    ['init == initd', '19: error: init is never "initd"; it is one of'],
    ['family', '11: error: family has to be compared: family == …'],
    ['family ==', '20: error: the condition ends where a name or a value is expected'],
    ['version >= nine', '22: error: "nine" is no version'],
    [
      'version >= 9 version',
      '24: error: "version" stands where and, or, or the end of the condition is expected',
    ],
    ['(version >= 9', '24: error: the condition ends where ")" is expected'],
    ['pakage(acpid)', '11: error: no question "pakage(…)"'],
    ['file /etc/passwd', '16: error: "file" is no condition by itself'],
    ['version in 9', '22: error: "9" stands where "[" is expected'],
    ['version = 9', '19: error: "=" is not expected here'],
    ['', '11: error: the condition ends where a name or a value is expected'],
    [`${'not '.repeat(30)}version == 9`, 'error: a condition is at most 20 levels deep'],
    [`${'('.repeat(600)}`, 'error: a condition has at most 500 words'],
  ])('the condition %s', async (condition, expected) => {
    const found = await problems(`steps:\n  - hostname: a\n    when: ${condition}`)
    expect(found.join('\n')).toContain(expected)
  })
})

test('all mistakes are told at once, each once', async () => {
  expect(await problems('steps:\n  - hostnam: a\n  - chmod: x\n  - hostname:\nfoo: bar')).toEqual([
    expect.stringContaining('r:5:1: error: a recipe has no "foo"'),
    expect.stringContaining('r:2:5: error: no step "hostnam"'),
    'r:4:5: error: hostname needs HOSTNAME',
  ])
})

test('columns behind escapes and in blocks are those where the text begins', async () => {
  expect(await problems('steps:\n  - write: "/a:\\t${X}"')).toEqual([
    expect.stringContaining('r:2:12: error: the variable X'),
  ])
  expect(await problems('steps:\n  - write: |\n      /a:b\n      ${X}')).toEqual([
    expect.stringContaining('r:2:12: error: the variable X'),
  ])
})

test('YAML has no types here: no, 0644 and 1e3 are texts', async () => {
  expect(
    await problems(
      'steps:\n  - sshd: {key: UsePAM, value: no}\n  - chmod: {permissions: 0644, file: /etc/motd}\n  - hostname: 1e3\n  - no-zeroconf\n  - qemu-ga:\n',
    ),
  ).toEqual([])
})

describe('requires', () => {
  test.each([
    ['0.1', true],
    ['0.2', false],
    ['">=0.1"', true],
    ['">=0.1 <0.2"', true],
    ['"<0.1"', false],
    ['">1"', false],
  ])('%s with drydisk 0.1.3: %s', async (requires, met) => {
    const found = await problems(`requires: ${requires}\nsteps: []`, { version: '0.1.3' })
    expect(found.length === 0).toBe(met)
    if (!met) expect(found[0]).toMatch(/^r:1:11: error: this recipe requires drydisk .*; this is 0\.1\.3$/)
  })

  test('is a version', async () => {
    expect(await problems('requires: latest\nsteps: []')).toEqual([
      expect.stringContaining('r:1:11: error: "latest" is no version of drydisk'),
    ])
  })
})

describe('hostile YAML ends soon', () => {
  const soon = async (text: string) => {
    const start = performance.now()
    const found = await problems(text)
    expect(performance.now() - start).toBeLessThan(5000)
    return found.join('\n')
  }

  test('aliases of aliases', async () => {
    const levels = Array.from({ length: 12 }, (_, i) =>
      i === 0
        ? 'a0: &a0 [x, x, x, x, x, x, x, x, x]'
        : `a${i}: &a${i} [${Array(9)
            .fill(`*a${i - 1}`)
            .join(', ')}]`,
    )
    expect(await soon(levels.join('\n'))).toMatch(/more than 100 aliases|more than 20000 values/)
  })

  test('one alias very often', async () => {
    expect(await soon(`a: &a x\nsteps: [${Array(20_000).fill('*a').join(', ')}]`)).toContain(
      'more than 100 aliases',
    )
  })

  test('an alias of itself', async () => {
    expect(await soon('steps: &a [*a]')).not.toBe('')
  })

  test('lists in lists', async () => {
    expect(await soon('['.repeat(100_000))).not.toBe('')
    expect(await soon(`${'['.repeat(50)}${']'.repeat(50)}`)).toContain('more than 20 levels deep')
    expect(await soon(`${'{a: '.repeat(3000)}`)).not.toBe('')
  })

  test('too much of everything', async () => {
    expect(await soon(`steps: [${'a,'.repeat(200_000)}]`)).toContain('a recipe has at most')
    expect(await soon(`steps: [${'a,'.repeat(30_000)}]`)).toContain('more than 20000 values')
    expect((await soon('bad: 1\n'.repeat(20_000))).split('\n').length).toBeLessThanOrEqual(100)
    expect(await soon(`steps:\n  - hostname: ${'${'.repeat(50_000)}`)).toContain('"${" begins a variable')
  })
})

describe('whatever the text', () => {
  const word = fc.constantFrom(
    'steps',
    'include',
    'variables',
    'name',
    'when',
    '- ',
    ': ',
    '\n',
    '  ',
    '[',
    ']',
    '{',
    '}',
    '${A}',
    '$${',
    '"',
    "'",
    '|',
    '&a',
    '*a',
    '!!x',
    'write',
    'hostname',
    'family == debian',
    'not ',
    '(',
    ')',
    'r',
    '#',
    ',',
    '?',
    '\t',
    '\0',
    'é',
  )
  const recipe = fc.array(fc.oneof({ weight: 5, arbitrary: word }, fc.string({ maxLength: 5 })), {
    maxLength: 40,
  })

  test('mistakes are told, nothing is thrown', async () => {
    await fc.assert(
      fc.asyncProperty(recipe, fc.boolean(), async (parts, begun) => {
        const text = (begun ? 'variables: {A: a}\nsteps:\n' : '') + parts.join('')
        for (const one of await problems(text)) expect(one).toMatch(/^r:\d+:\d+: (error|warning): /)
      }),
      propertySettings(300),
    )
  })

  test('a condition is one, or says where it is none', () => {
    fc.assert(
      fc.property(recipe, parts => {
        const text = parts.join('')
        try {
          parseExpression(text)
        } catch (error) {
          expect(error).toBeInstanceOf(TextProblem)
          expect((error as TextProblem).index).toBeLessThanOrEqual(text.length)
        }
      }),
      propertySettings(1000),
    )
  })
})
