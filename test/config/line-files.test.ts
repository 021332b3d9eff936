import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  accountEntries,
  addAccountLine,
  findAccount,
  findPasswd,
  setAccountField,
} from '../../src/config/accounts.ts'
import { addAuthorizedKeys, keyOfLine } from '../../src/config/authorized-keys.ts'
import { blsMenu, extlinuxMenu, grubLegacyMenu, mergeBlsOptions } from '../../src/config/boot-entries.ts'
import { readGrubConfig } from '../../src/config/grub-config.ts'
import { readGrubEnvironment, setGrubVariable } from '../../src/config/grub-environment.ts'
import { checkHostname, renameHost } from '../../src/config/hosts.ts'
import { getIniValue, setIniValue, unsetIniValue } from '../../src/config/ini.ts'
import { changeKernelArguments, kernelArguments } from '../../src/config/kernel-arguments.ts'
import { parseUnit, unitList, unitWords } from '../../src/config/systemd-unit.ts'
import { appendLine, decodeText, encodeText, joinLines, splitLines } from '../../src/config/text.ts'
import { haveTool, peersFolder, propertySettings, runOk, temporaryFolder } from '../support/native.ts'

const peers = peersFolder()

interface AugeasCase {
  file: string
  lens: string
  kind: string
  input: string
  tree: string
}

function augeasCases(file: string): AugeasCase[] {
  const json = execFileSync('xz', ['-dc', join(peers ?? '', 'augeas-cases.json.xz')], { maxBuffer: 64 << 20 })
  return (JSON.parse(json.toString()) as AugeasCase[]).filter(
    c => c.file === `test_${file}.aug` && c.kind === 'get',
  )
}

describe('text', () => {
  it('survives decoding and encoding, byte for byte (property)', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), bytes => {
        const { text, encoding } = decodeText(bytes)
        expect(encodeText(text, encoding)).toEqual(bytes)
        expect(joinLines(splitLines(text))).toBe(text)
      }),
      propertySettings(500),
    )
  })

  it('appends after a missing newline, in the file’s own endings', () => {
    expect(appendLine('', 'x')).toBe('x\n')
    expect(appendLine('a', 'x')).toBe('a\nx\n')
    expect(appendLine('a\r\n', 'x')).toBe('a\r\nx\r\n')
    expect(appendLine('a\r\nb', 'x')).toBe('a\r\nb\r\nx\r\n')
  })

  it('keeps new UTF-8 text whole in a Latin-1 file', () => {
    const { text, encoding } = decodeText(Uint8Array.of(0xe4, 0x0a))
    expect(encodeText(`${text}ä€`, encoding)).toEqual(Uint8Array.of(0xe4, 0x0a, 0xe4, 0xe2, 0x82, 0xac))
  })
})

describe('account files', () => {
  const SHADOW = '# c\nroot:*:1:0:99999:7:::\r\nrootless:!:1\n\n+nis\nshort:x'
  it('finds and sets fields, and nothing else', () => {
    expect(findAccount(SHADOW, 'root')).toMatchObject({ line: 2 })
    expect(findAccount(SHADOW, 'roo')).toBeUndefined()
    expect(findAccount('', 'root')).toBeUndefined()
    expect(setAccountField(SHADOW, 'shadow', 'root', 'password', '$6$x')).toBe(SHADOW.replace('*', '$6$x'))
    expect(setAccountField(SHADOW, 'shadow', 'short', 'lastchg', '5')).toBe(`${SHADOW}:5`)
    expect(addAccountLine(SHADOW, ['new', '*'])).toBe(SHADOW.replace('+nis', 'new:*\n+nis'))
    expect(accountEntries(SHADOW, 'shadow').map(e => e.fields[0])).toEqual(['root', 'rootless', 'short'])
    expect(() => setAccountField(SHADOW, 'shadow', 'root', 'password', 'a:b')).toThrow(/colon/)
    expect(() => findPasswd('a:x:abc:0::/:\n', 'a')).toThrow(/uid/)
  })
})

describe('authorized_keys', () => {
  const blob = 'AAAAC3NzaC1lZDI1NTE5AAAAIE5vdEFSZWFsS2V5Tm90QVJlYWxLZXlOb3RBUmVhbEtl'
  const key = `ssh-ed25519 ${blob}`
  it('finds keys behind options', () => {
    for (const line of [
      key,
      `${key} comment`,
      `command="a \\"b\\" ssh-ed25519 c",no-pty ${key} x`,
      `  ${key}`,
    ])
      expect(keyOfLine(line)).toBe(key)
    for (const line of ['', `#${key}`, 'ssh-ed25519', `ssh-rsa ${blob}`, 'ssh-ed25519 !!!!'])
      expect(keyOfLine(line)).toBeUndefined()
  })
  it('adds what is not there', () => {
    expect(addAuthorizedKeys('', `${key} me\n`).text).toBe(`${key} me\n`)
    expect(addAuthorizedKeys(`x`, key).text).toBe(`x\n${key}\n`)
    expect(addAuthorizedKeys(`no-pty ${key} other\n`, `${key} me`).added).toEqual([])
    expect(() => addAuthorizedKeys('', 'rubbish')).toThrow(/not an SSH public key/)
    expect(() => addAuthorizedKeys('', '-----BEGIN OPENSSH PRIVATE KEY-----\n')).toThrow(/private/)
    expect(() => addAuthorizedKeys('', '# nothing\n')).toThrow(/no SSH public key/)
  })
  it.skipIf(!haveTool('ssh-keygen'))("accepts ssh-keygen's keys", async () => {
    const folder = temporaryFolder()
    for (const [type, bits] of [
      ['ed25519', '256'],
      ['ecdsa', '384'],
      ['rsa', '2048'],
    ] as const) {
      await runOk('ssh-keygen', ['-q', '-t', type, '-b', bits, '-N', '', '-f', join(folder, type)])
      const made = await runOk('cat', [join(folder, `${type}.pub`)])
      expect(addAuthorizedKeys('', made).text).toBe(made)
    }
  })
  it.skipIf(!peers)("gives augeas's cases back unchanged where nothing is added", () => {
    for (const { input } of augeasCases('authorized_keys'))
      expect(addAuthorizedKeys(`${input}${key}\n`, key).text).toBe(`${input}${key}\n`)
  })
})

describe('kernel arguments', () => {
  it('splits as the kernel does', () => {
    expect(kernelArguments('a  b="c d" e\tf="g').map(a => a.text)).toEqual(['a', 'b="c d"', 'e', 'f="g'])
  })
  const cases: [string, Parameters<typeof changeKernelArguments>[1][number], string][] = [
    ['ro quiet', { action: 'set', argument: 'x=1' }, 'ro quiet x=1'],
    ['ro x=2 quiet', { action: 'set', argument: 'x=1' }, 'ro x=1 quiet'],
    ['x=2 ro x=3', { action: 'set', argument: 'x=1' }, 'ro x=1'],
    ['a-b=2', { action: 'set', argument: 'a_b=1' }, 'a_b=1'],
    ['ro console=tty0', { action: 'set', argument: 'console=ttyS0' }, 'ro console=tty0 console=ttyS0'],
    ['ro  quiet  x', { action: 'remove', argument: 'quiet' }, 'ro   x'],
    ['quiet ro', { action: 'remove', argument: 'quiet' }, 'ro'],
    ['x=1 x=2', { action: 'remove', argument: 'x=1' }, 'x=2'],
    ['x=1 x=2', { action: 'remove', argument: 'x' }, ''],
    ['ro -- x', { action: 'set', argument: 'y' }, 'ro y -- x'],
    ['ro -- x', { action: 'remove', argument: 'x' }, 'ro -- x'],
    ['', { action: 'set', argument: 'y' }, 'y'],
    [
      'console=ttyS0 console=tty0',
      { action: 'last', arguments: ['console=tty0', 'console=ttyS0'] },
      'console=tty0 console=ttyS0',
    ],
    [
      'console=ttyS0,9600 ro',
      { action: 'last', arguments: ['console=ttyS0,115200'] },
      'ro console=ttyS0,115200',
    ],
    [
      'console=tty1 console=tty0 console=ttyS0 ro',
      { action: 'last', arguments: ['console=tty0', 'console=ttyS0'] },
      'console=tty1 console=tty0 console=ttyS0 ro',
    ],
  ]
  for (const [line, change, expected] of cases)
    it(`${JSON.stringify(change)} of ${JSON.stringify(line)}`, () => {
      expect(changeKernelArguments(line, [change])).toBe(expected)
    })
  it('refuses to add behind a quote that is never closed', () => {
    expect(() => changeKernelArguments('a="b c', [{ action: 'set', argument: 'd' }])).toThrow(/never closed/)
  })
  it('settles at once (property)', () => {
    const argument = fc.constantFrom(
      'a',
      'a=1',
      'a=2',
      'b',
      'console=tty0',
      'console=ttyS0',
      'console=ttyS0,9',
      'q="x y"',
      '--',
    )
    const line = fc
      .array(fc.tuple(argument, fc.constantFrom(' ', '  ', '\t')))
      .map(parts => parts.flat().join(''))
    const plain = fc.constantFrom('a', 'a=1', 'b=3', 'console=tty0')
    const change = fc.oneof(
      fc.record({
        action: fc.constantFrom('set' as const, 'append' as const, 'remove' as const),
        argument: plain,
      }),
      fc.constant({ action: 'last' as const, arguments: ['console=tty0', 'console=ttyS0'] }),
    )
    fc.assert(
      fc.property(line, change, (source, one) => {
        const result = changeKernelArguments(source, [one])
        expect(changeKernelArguments(result, [one])).toBe(result)
      }),
      propertySettings(500),
    )
  })
})

describe('boot configuration', () => {
  it('finds kernel lines with their titles', () => {
    const at = (text: string, entries: readonly { title: string; start: number; end: number }[]) =>
      entries.map(e => [e.title, text.slice(e.start, e.end)])
    const grub =
      "menuentry 'It'\\''s' --class x {\n\tlinuxefi /vmlinuz a b\n}\n#\tlinux /x y\nmenuentry \"Two\" {\n linux ($root)/v\n}\n"
    expect(at(grub, readGrubConfig(grub).kernelLines)).toEqual([
      ["It's", 'a b'],
      ['Two', ''],
    ])
    const legacy = 'title One\n kernel --no-mem-option /v a b\ntitle=Two\nkernel=/v c\n# kernel /v no\n'
    expect(
      at(
        legacy,
        grubLegacyMenu(legacy).flatMap(entry => entry.kernel ?? []),
      ),
    ).toEqual([
      ['One', 'a b'],
      ['Two', 'c'],
    ])
    const ext = 'label a\n  append x y\nLABEL hd\n APPEND -\n'
    expect(
      at(
        ext,
        extlinuxMenu(ext).flatMap(entry => entry.kernel ?? []),
      ),
    ).toEqual([['a', 'x y']])
    const bls = 'title T\nlinux /v\noptions a b\noptions c\n'
    expect(mergeBlsOptions(bls)).toBe('title T\nlinux /v\noptions a b c\n')
    expect(at(bls, [blsMenu(bls, 't.conf').kernel ?? []].flat())).toEqual([['T', 'a b']])
  })

  it('keeps the environment block whole', () => {
    const block = encodeText('# GRUB Environment Block\na=1\nb=x\\\\y\\\nz\n'.padEnd(1024, '#'))
    expect([...readGrubEnvironment(block)]).toEqual([
      ['a', '1'],
      ['b', 'x\\y\nz'],
    ])
    const set = setGrubVariable(block, 'a', 'two\\')
    expect(set.length).toBe(1024)
    expect([...readGrubEnvironment(set)]).toEqual([
      ['a', 'two\\'],
      ['b', 'x\\y\nz'],
    ])
    expect([...readGrubEnvironment(setGrubVariable(block, 'a', undefined))]).toEqual([['b', 'x\\y\nz']])
    expect(
      readGrubEnvironment(
        setGrubVariable(encodeText('# GRUB Environment Block\n'.padEnd(1024, '#')), 'k', 'v'),
      ).get('k'),
    ).toBe('v')
    expect(() => readGrubEnvironment(new Uint8Array(1024))).toThrow(/environment block/)
    expect(() => setGrubVariable(block, 'c', 'x'.repeat(1000))).toThrow(/1024 bytes/)
  })

  it.skipIf(!haveTool('grub-editenv'))('agrees with grub-editenv', async () => {
    const file = join(temporaryFolder(), 'grubenv')
    await runOk('grub-editenv', [file, 'create'])
    await runOk('grub-editenv', [file, 'set', 'saved_entry=x', 'kernelopts=a b\\c'])
    const { readFileSync, writeFileSync } = await import('node:fs')
    const made = new Uint8Array(readFileSync(file))
    expect(readGrubEnvironment(made).get('kernelopts')).toBe('a b\\c')
    writeFileSync(file, setGrubVariable(made, 'kernelopts', 'd \\ e'))
    expect((await runOk('grub-editenv', [file, 'list'])).trim().split('\n')).toEqual([
      'saved_entry=x',
      'kernelopts=d \\ e',
    ])
    await runOk('grub-editenv', [file, 'set', 'kernelopts=d \\ e'])
    expect(new Uint8Array(readFileSync(file))).toEqual(setGrubVariable(made, 'kernelopts', 'd \\ e'))
  })
})

describe('hosts', () => {
  it('renames with and without a domain', () => {
    const hosts = '127.0.0.1 localhost\n127.0.1.1\told.example.org\told # old\n#1.1.1.1 old\n::1 oldie old\n'
    expect(renameHost(hosts, 'old', 'new')).toBe(
      '127.0.0.1 localhost\n127.0.1.1\tnew.example.org\tnew # old\n#1.1.1.1 old\n::1 oldie new\n',
    )
    expect(renameHost(hosts, 'old.example.org', 'web.example.com')).toContain('\tweb.example.com\tweb #')
    expect(renameHost(hosts, 'localhost', 'new')).toBe(hosts)
    const short = '127.0.1.1\told\n10.0.0.1 db old # old\n'
    const long = '127.0.1.1\tweb.example.com web\n10.0.0.1 db web.example.com web # old\n'
    expect(renameHost(short, 'old', 'web.example.com')).toBe(long)
    expect(renameHost(long, 'web.example.com', 'web.example.com')).toBe(long)
  })
  it('refuses what is no name', () => {
    for (const name of ['', '-a', 'a_b', 'a..b', 'a.', 'x'.repeat(65), 'ä', 'a\nb'])
      expect(() => checkHostname(name), name).toThrow()
    for (const name of ['a', 'web-1.example.com']) expect(() => checkHostname(name), name).not.toThrow()
  })
  it.skipIf(!peers)("leaves augeas's cases alone where the name is not there", () => {
    for (const { input } of augeasCases('hosts')) expect(renameHost(input, 'no-such-host', 'x')).toBe(input)
  })
})

describe('ini', () => {
  it('sets and unsets in place', () => {
    const text = '# c\n[general]\nverbose = true\n# block-rpcs=x\n\n[other]\nverbose=1\n'
    expect(getIniValue(text, 'general', 'verbose')).toEqual({ value: 'true', line: 3 })
    expect(setIniValue(text, 'general', 'verbose', 'false')).toBe(text.replace('= true', '= false'))
    expect(setIniValue(text, 'general', 'new', '1')).toBe(text.replace('= true\n', '= true\nnew=1\n'))
    expect(setIniValue('', 'general', 'a', 'b')).toBe('[general]\na=b\n')
    expect(setIniValue('[x]\ny=1', 'general', 'a', 'b')).toBe('[x]\ny=1\n\n[general]\na=b\n')
    expect(unsetIniValue(text, 'other', 'verbose')).toBe(text.replace('verbose=1\n', ''))
  })
})

describe('systemd units', () => {
  it('reads continuations, resets and quotes', () => {
    const unit = parseUnit(
      '[Service]\nExecStart=/bin/a \\\n# comment\n  --b \\\n  c\nExecStart=\nExecStart=/bin/d "e f" \'g\'h\n;no\n[Install]\nAlias=x\n',
    )
    expect(unit.map(e => e.value)).toEqual(['/bin/a --b c', '', '/bin/d "e f" \'g\'h', 'x'])
    expect(unitList(unit, 'Service', 'ExecStart')).toEqual(['/bin/d "e f" \'g\'h'])
    expect(unitWords('/bin/d "e f" \'g\'h --x="y z"')).toEqual(['/bin/d', 'e f', 'gh', '--x=y z'])
  })
  it.skipIf(!peers)("finds the keys of augeas's cases", () => {
    let keys = 0
    for (const { input, lens, tree } of augeasCases('systemd')) {
      if (lens !== 'Systemd.lns') continue
      for (const { key } of parseUnit(input)) {
        expect(tree).toContain(`"${key}"`)
        keys++
      }
    }
    expect(keys).toBeGreaterThan(20)
  })
})
