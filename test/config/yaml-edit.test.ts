import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  dsIdentifyList,
  isSameItem,
  mergeCloudConfig,
  parseCloudConfigChange,
} from '../../src/config/cloud-config.ts'
import { findPlainKey, isPlainFile, parsePlainValue, renderPlainValue } from '../../src/config/plain-yaml.ts'
import { lookUp, yamlEditor } from '../../src/config/yaml-edit.ts'
import { haveTool, propertySettings, run } from '../support/native.ts'

const editor = await yamlEditor()

const CFG = `# top comment
users:
   - default   # the usual one

disable_root: true   # why

# modules
cloud_init_modules:
 - migrator
 - seed_random   # early
 # about growpart
 - growpart
 - [resizefs, always]

system_info:
   # This will affect which distro class gets used
   distro: debian
   default_user:
     name: debian
     groups: [adm, "audio"]   # groups
   paths: {cloud_dir: /var/lib/cloud, x: 1}
empty:
other: |
  text
    # no comment
`

describe('YAML edits', () => {
  const sets: [string, unknown, string, string][] = [
    ['disable_root', false, 'disable_root: true   # why', 'disable_root: false   # why'],
    ['system_info.default_user.name', 'admin', '     name: debian', '     name: admin'],
    ['system_info.default_user.groups', ['wheel'], '[adm, "audio"]', '[ wheel ]'],
    ['system_info.paths.x', 2, 'x: 1}', 'x: 2}'],
    ['system_info.paths.z', 3, 'x: 1}', 'x: 1, z: 3 }'],
    ['empty', ['a'], 'empty:\n', 'empty: [ a ]\n'],
    ['system_info.default_user.shell', '/bin/sh', '# groups\n', '# groups\n     shell: /bin/sh\n'],
    ['new.deep.key', true, '    # no comment\n', '    # no comment\nnew: { deep: { key: true } }\n'],
    [
      'users',
      ['a b', 'c'],
      'users:\n   - default   # the usual one\n',
      'users: [ a b, c ]   # the usual one\n',
    ],
    ['disable_root', 'no', 'disable_root: true   # why', 'disable_root: "no"   # why'],
  ]
  for (const [key, value, from, to] of sets)
    it(`sets ${key} to ${JSON.stringify(value)} and leaves the rest`, () => {
      expect(CFG).toContain(from)
      const result = editor.set(CFG, key.split('.'), value, 'cloud.cfg')
      expect(lookUp(editor.parse(result, 'cloud.cfg'), key.split('.'))).toEqual(value)
      expect(result).toBe(CFG.replace(from, to))
    })

  it('edits lists item by item', () => {
    const path = ['cloud_init_modules']
    const added = editor.addItem(CFG, path, 'growpart2', 'f')
    expect(added).toBe(CFG.replace(' - [resizefs, always]\n', ' - [resizefs, always]\n - growpart2\n'))
    expect(editor.removeItems(CFG, path, [1, 3], 'f')).toBe(
      CFG.replace(' - seed_random   # early\n', '').replace(' - [resizefs, always]\n', ''),
    )
    expect(editor.parse(editor.removeItems('a:\n - b\n', ['a'], [0], 'f'), 'f')).toEqual({ a: [] })
    expect(editor.addItem('a: [b]\n', ['a'], 'c', 'f')).toBe('a: [ b, c ]\n')
  })

  it('starts from nothing, from comments, and keeps CRLF', () => {
    expect(editor.set('', ['a'], 1, 'f')).toBe('a: 1\n')
    expect(editor.set('# c\n', ['a', 'b'], 1, 'f')).toBe('# c\na: { b: 1 }\n')
    expect(editor.set('a: 1\r\nb: 2\r\n', ['b'], 3, 'f')).toBe('a: 1\r\nb: 3\r\n')
    expect(editor.set('a: 1', ['b'], 3, 'f')).toBe('a: 1\nb: 3')
  })

  it('reads YAML 1.1 as PyYAML does, and names what is wrong', () => {
    expect(editor.parse('a: yes\nb: No\nc: 0o17\nd: 010\ne: on\n', 'f')).toMatchObject({
      a: true,
      b: false,
      d: 8,
      e: true,
    })
    expect(() => editor.parse('a: [1\nb: 2\n', 'cloud.cfg')).toThrow(/cloud\.cfg:\d+: not valid YAML/)
  })

  it('bounds aliases that multiply', () => {
    const bomb = [
      'a: &a [x,x,x,x,x,x,x,x,x]',
      ...'bcdefghi'
        .split('')
        .map((c, i) => `${c}: &${c} [${`*${'abcdefghi'[i]},`.repeat(8)}*${'abcdefghi'[i]}]`),
    ]
    expect(() => editor.parse(`${bomb.join('\n')}\n`, 'f')).toThrow(/refers to itself too often/)
  })

  it('gives back what was set, anywhere (property)', () => {
    const key = fc.constantFrom('a', 'b', 'c')
    const leaf = fc.oneof(
      fc.boolean(),
      fc.integer({ min: -99, max: 99 }),
      fc.string({ maxLength: 8 }),
      fc.constantFrom('yes', 'null', '~', '- x', 'a: b', '# c', '0x10'),
    )
    const { tree } = fc.letrec<{ tree: unknown }>(tie => ({
      tree: fc.oneof(
        { maxDepth: 3 },
        leaf,
        fc.array(leaf, { maxLength: 3 }),
        fc.dictionary(key, tie('tree'), { maxKeys: 3 }),
      ),
    }))
    fc.assert(
      fc.property(
        fc.dictionary(key, tree, { minKeys: 1 }),
        fc.array(key, { minLength: 1, maxLength: 3 }),
        fc.oneof(leaf, fc.array(leaf)),
        fc.boolean(),
        (before, path, value, flow) => {
          const source = flow ? `# c\n${stringifyFlow(before)}\n` : blockOf(before, '')
          expect(editor.parse(source, 'f')).toEqual(before)
          const result = editor.set(source, path, value, 'f')
          expect(lookUp(editor.parse(result, 'f'), path)).toEqual(value)
          expect(editor.set(result, path, value, 'f')).toBe(result)
        },
      ),
      propertySettings(120),
    )
  })

  it('takes a key out, and with it the maps that it leaves empty', () => {
    const source =
      '# top\na:\n  b: # why\n    c: 1\n    # of d\n    d: |\n      x # no comment\n\n  e: {f: 1, g: [1, 2]}\nh: 2\n'
    expect(editor.unset(source, ['a', 'b', 'd'], 'f')).toBe(
      '# top\na:\n  b: # why\n    c: 1\n    # of d\n\n  e: {f: 1, g: [1, 2]}\nh: 2\n',
    )
    expect(editor.unset(source, ['a', 'e', 'f'], 'f')).toContain('  e: { g: [ 1, 2 ] }\n')
    const rest = editor.unset(editor.unset(source, ['a', 'b'], 'f'), ['a', 'e'], 'f')
    expect(rest).toBe('# top\nh: 2\n')
    expect(editor.unset(source, ['a', 'x'], 'f')).toBe(source)
    expect(() => editor.unset('a: &x 1\nb: *x\n', ['a'], 'f')).toThrow()
  })

  it('takes out what is there and nothing else, or refuses (property)', () => {
    const key = fc.constantFrom('a', 'b', 'c')
    const leaf = fc.oneof(
      fc.integer({ min: -9, max: 9 }),
      fc.constantFrom('x', '# c', ''),
      fc.array(fc.nat(3), { maxLength: 2 }),
    )
    const maps = fc.dictionary(key, fc.oneof(leaf, fc.dictionary(key, leaf, { minKeys: 1 })), { minKeys: 2 })
    fc.assert(
      fc.property(maps, fc.tuple(key, key), fc.boolean(), (before, path, flow) => {
        const source = flow ? `# c\n${stringifyFlow(before)}\n` : blockOf(before, '')
        let result: string
        try {
          result = editor.unset(source, path, 'f')
        } catch (error) {
          expect(error).toMatchObject({ code: 'ERR_UNSUPPORTED' })
          return
        }
        const after = editor.parse(result, 'f')
        expect(lookUp(after, path)).toBeUndefined()
        expect(editor.unset(result, path, 'f')).toBe(result)
        for (const other of Object.keys(before))
          if (other !== path[0]) expect(lookUp(after, [other])).toEqual(before[other])
      }),
      propertySettings(150),
    )
  })
})

function stringifyFlow(value: unknown): string {
  return JSON.stringify(value)
}

function blockOf(value: unknown, indent: string): string {
  if (Array.isArray(value))
    return value.length === 0
      ? ' []\n'
      : `\n${value.map(item => `${indent}- ${JSON.stringify(item)}  # c\n`).join('')}`
  if (typeof value !== 'object' || value === null) return ` ${JSON.stringify(value)}\n`
  const entries = Object.entries(value)
  if (entries.length === 0) return ' {}\n'
  const lines = entries
    .map(([key, inner]) => `${indent}# about ${key}\n${indent}${key}:${blockOf(inner, `${indent}  `)}`)
    .join('')
  return indent === '' ? lines : `\n${lines}`
}

describe('plain YAML', () => {
  it('is unknown, or what the whole parser says (property)', () => {
    const line = fc.constantFrom(
      'k: true',
      'k: yes # c',
      'k: [ A, None ]',
      'k: [A,B]',
      'k: word',
      'k: 10',
      'k:',
      'k: "q"',
      "k: 'q'",
      '# k: 1',
      ' k: 2',
      '  - k',
      '- x',
      'other: 1',
      'm:',
      '  x: y',
      "m: 'a",
      "k: b'",
      'x: |',
      '  k: 3',
      'k: a',
      '  b',
      '"k": 4',
      'k: [a',
      'b]',
      'k: 0x10',
      'k: y',
      'k: {a: 1}',
      '',
      'k: a#b',
      'kk: 1',
      '{k: 1}',
      '? k',
      ': v',
    )
    let plain = 0
    fc.assert(
      fc.property(fc.array(line, { maxLength: 4 }), fc.constantFrom('\n', '\r\n'), (lines, ending) => {
        const text = lines.map(l => l + ending).join('')
        const found = findPlainKey(text, 'k')
        if (found.kind === 'unknown') return
        let whole: unknown
        try {
          whole = editor.parse(text, 'f')
        } catch {
          return
        }
        plain++
        expect(found.kind === 'value' ? found.value : undefined, JSON.stringify(text)).toEqual(
          lookUp(whole, ['k']),
        )
        if (found.kind === 'value') {
          expect(editor.lineOf(text, ['k'], 'f')).toBe(found.line)
          expect(parsePlainValue(text.slice(found.start, found.end))).toEqual(found.value)
        }
        if (isPlainFile(text) && found.kind === 'absent')
          expect(lookUp(editor.parse(`${text}k: 1\n`, 'f'), ['k'])).toBe(1)
      }),
      propertySettings(2000),
    )
    expect(plain).toBeGreaterThan(200)
  })

  it('renders what it reads, and nothing else', () => {
    for (const value of [true, false, 0, 12, 'word', 'a/b.c-d', [], ['A', 'None'], [1, true]]) {
      const source = renderPlainValue(value)
      expect(source).toBeDefined()
      expect(editor.parse(source ?? '', 'f')).toEqual(value)
      expect(parsePlainValue(source ?? '')).toEqual(value)
    }
    for (const value of ['yes', 'y', 'null', '', '1', 'a b', '-x', 1.5, -1, null, {}, ['a b'], [['a']]])
      expect(renderPlainValue(value)).toBeUndefined()
  })
})

describe('cloud-config', () => {
  it('merges as cloud-init does: the stronger file wins, maps are joined, lists are not', () => {
    expect(
      mergeCloudConfig([
        { a: 1, m: { x: 1 }, l: [1] },
        null,
        'text',
        { a: 2, b: 2, m: { x: 2, y: 2 }, l: [2, 3] },
      ]),
    ).toEqual({ a: 1, b: 2, m: { x: 1, y: 2 }, l: [1] })
    expect(Object.hasOwn(mergeCloudConfig([JSON.parse('{"__proto__":{"polluted":1}}')]), '__proto__')).toBe(
      true,
    )
    expect('polluted' in {}).toBe(false)
  })

  it('reads settings', async () => {
    expect(await parseCloudConfigChange('datasource_list=OpenStack, None')).toEqual({
      path: ['datasource_list'],
      action: 'set',
      value: ['OpenStack', 'None'],
    })
    expect((await parseCloudConfigChange('system_info.default_user.name=a')).path).toEqual([
      'system_info',
      'default_user',
      'name',
    ])
    expect(await parseCloudConfigChange('cloud_init_modules+=growpart')).toMatchObject({
      action: 'add',
      value: 'growpart',
    })
    expect(await parseCloudConfigChange('cloud_init_modules-=growpart')).toMatchObject({ action: 'remove' })
    expect((await parseCloudConfigChange('ssh_pwauth=yes')).value).toBe(true)
    await expect(parseCloudConfigChange('x')).rejects.toThrow(/KEY=VALUE/)
  })

  it('knows a module by its names', () => {
    expect(isSameItem('growpart', 'growpart')).toBe(true)
    expect(isSameItem('ssh-import-id', 'ssh_import_id')).toBe(true)
    expect(isSameItem(['scripts-user', 'always'], 'scripts_user')).toBe(true)
    expect(isSameItem('growpart', 'resizefs')).toBe(false)
  })

  it('sees what ds-identify sees', () => {
    expect(dsIdentifyList('datasource_list: [ NoCloud, "None" ]\n')).toEqual(['NoCloud', 'None'])
    // The comment is cut off and the blank before it is not: the bracket is not the last character.
    expect(dsIdentifyList('datasource_list: [ NoCloud, None ] # c\n')).toEqual(['NoCloud', 'None', ']'])
    expect(dsIdentifyList('datasource_list:\n - NoCloud\n')).toEqual([])
    expect(dsIdentifyList('#datasource_list: [ A ]\n')).toBeUndefined()
  })

  it.skipIf(!haveTool('python3'))('is valid for PyYAML', async context => {
    const result = editor.set(
      editor.addItem(CFG, ['cloud_init_modules'], 'x', 'f'),
      ['a'],
      { b: ['c: d', 'yes', '#'] },
      'f',
    )
    const python = await run(
      'python3',
      ['-c', 'import sys,yaml,json; print(json.dumps(yaml.safe_load(sys.stdin)))'],
      result,
    )
    context.skip(python.stderr.includes('ModuleNotFoundError'), 'python3 has no yaml module')
    expect(JSON.parse(python.stdout)).toEqual(editor.parse(result, 'f'))
  })
})
