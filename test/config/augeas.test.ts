import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import {
  parseAptDeb822,
  parseAptList,
  setAptDeb822Uris,
  setAptListUri,
} from '../../src/config/apt-sources.ts'
import { renameHost } from '../../src/config/hosts.ts'
import { getIniValue, iniEntries, setIniValue } from '../../src/config/ini.ts'
import {
  appendInterfaces,
  parseInterfaces,
  removeInterfaceOptions,
  setInterfaceMethod,
} from '../../src/config/interfaces.ts'
import { changeKernelArguments } from '../../src/config/kernel-arguments.ts'
import {
  parseRepoFile,
  removeRepoSection,
  removeRepoValue,
  setRepoValue,
} from '../../src/config/repo-file.ts'
import { getShellValue, parseAssignments, setShellValue } from '../../src/config/shell-assignments.ts'
import { parseSshdLine } from '../../src/config/sshd-config.ts'
import { peersFolder } from '../support/native.ts'

/** One test of a lens of augeas: what a text reads as (`get`), or what it is after commands (`put`). */
interface AugeasCase {
  readonly file: string
  readonly lens: string
  readonly kind: 'get' | 'put'
  readonly input: string
  readonly tree?: string
  readonly cmds?: readonly (readonly string[])[]
  readonly output?: unknown
}

const peers = peersFolder()

function load(): AugeasCase[] {
  if (!peers) return []
  const json = execFileSync('xz', ['-dc', join(peers, 'augeas-cases.json.xz')], { maxBuffer: 64 << 20 })
  return JSON.parse(json.toString()) as AugeasCase[]
}

const all = load()

function cases(lens: string, kind: AugeasCase['kind']): AugeasCase[] {
  // A `*` says that augeas reads it, and not as what.
  const found = all.filter(one => one.lens === lens && one.kind === kind && one.tree !== '*')
  expect(found.length, `${lens} has cases`).toBeGreaterThan(0)
  return found
}

describe.skipIf(!peers)("augeas's cases", () => {
  it('yum: every key is read, and set to what it is changes no byte', () => {
    let keys = 0
    for (const { input, tree = '' } of [...cases('Yum.lns', 'get'), ...cases('Puppet.lns', 'get')])
      for (const section of parseRepoFile(input)) {
        expect(tree).toContain(`"${section.id}"`)
        for (const [key, { value }] of section.values) {
          expect(tree).toContain(`"${key}"`)
          keys++
          if (!value.includes('\n')) expect(setRepoValue(input, section.id, key, value)).toBe(input)
        }
      }
    expect(keys).toBeGreaterThan(15)
  })

  it('yum: set and rm give the same bytes', () => {
    let same = 0
    const placed: string[] = []
    for (const { input, cmds = [], output } of cases('Yum.lns', 'put')) {
      // `insa` adds a second node to a list, which is nothing that is done here.
      if (cmds.some(([command]) => command !== 'set' && command !== 'rm')) continue
      let text = input
      for (const [command, path = '', value = ''] of cmds) {
        const [section = '', key] = path.split('/')
        if (command === 'set') text = setRepoValue(text, section, key ?? '', value)
        else text = key === undefined ? removeRepoSection(text, section) : removeRepoValue(text, section, key)
      }
      if (text === output) same++
      else {
        placed.push(input)
        // A new key goes right below the section's last one, not behind the empty lines after it.
        expect(text.split('\n').sort()).toEqual(String(output).split('\n').sort())
      }
    }
    expect(same).toBe(5)
    expect(placed.length).toBe(1)
  })

  it('ini: what is set to what it is changes no byte', () => {
    let keys = 0
    for (const { input } of [
      ...cases('NetworkManager.lns', 'get'),
      ...cases('Systemd.lns', 'get'),
      ...cases('Odbc.lns', 'get'),
    ])
      for (const { section, key, value } of iniEntries(input)) {
        // Of a key that stands several times the last one counts.
        if (getIniValue(input, section, key)?.value !== value) continue
        expect(setIniValue(input, section, key, value)).toBe(input)
        keys++
      }
    expect(keys).toBeGreaterThan(20)
    const [put] = cases('NetworkManager.lns', 'put')
    expect(setIniValue(put?.input ?? 'x', 'wifi-security', 'psk', '#the key')).toBe(put?.output)
  })

  it('apt: one-line sources are read as they are, and set to what they are', () => {
    let sources = 0
    for (const { input, tree = '' } of cases('Aptsources.lns', 'get')) {
      const read = parseAptList(input)
      expect(read.length).toBe((tree.match(/"type"/g) ?? []).length)
      for (const { uris, suites, components, line } of read) {
        const [uri = ''] = uris
        for (const word of [uri, ...suites, ...components]) expect(tree).toContain(`"${word}"`)
        expect(setAptListUri(input, line, uri)).toBe(input)
        expect(
          parseAptList(setAptListUri(input, line, 'http://m/x')).filter(one => one.uris[0] === 'http://m/x')
            .length,
        ).toBe(1)
        sources++
      }
    }
    expect(sources).toBeGreaterThan(7)
    for (const { input, output } of cases('Aptsources.lns', 'put'))
      expect(setAptListUri(input, 1, parseAptList(input)[0]?.uris[0] ?? '')).toBe(output)
  })

  it('deb822: what has no URIs is left alone', () => {
    for (const { input } of [...cases('Debctrl.lns', 'get'), ...cases('DebCtrl.lns', 'get')]) {
      expect(parseAptDeb822(input).length).toBeGreaterThan(1)
      input.split('\n').forEach((_, i) => {
        expect(setAptDeb822Uris(input, i + 1, ['http://m'])).toBe(input)
      })
    }
  })

  it('interfaces: stanzas are read as they are, and set to what they are', () => {
    let interfaces = 0
    for (const { input, tree = '' } of cases('Interfaces.lns', 'get')) {
      // The cases came out of strings in which a backslash at the end of a line was lost.
      const text = input.replace(/(\n[^\n#]*[a-z0-9]+)[ ]*\n (?=\/usr\/local|loopback|WORK)/g, '$1 \\\n ')
      for (const { keyword, words, options, line } of parseInterfaces(text)) {
        if (keyword !== 'iface') continue
        interfaces++
        const [name = '', family = '', method = ''] = words
        expect(tree).toContain(`"iface" = "${name}"`)
        expect(tree).toContain(`"${family}"`)
        expect(tree).toContain(`"${method}"`)
        for (const option of options) expect(tree).toContain(`"${option.name}"`)
        if (method !== 'loopback') expect(setInterfaceMethod(text, line, method)).toBe(text)
      }
      expect(removeInterfaceOptions(text, [])).toBe(text)
    }
    expect(interfaces).toBeGreaterThan(5)
    const [iface, source] = cases('Interfaces.lns', 'put')
    expect(appendInterfaces('', ['iface eth0 inet dhcp'])).toBe(iface?.output)
    expect(appendInterfaces('', ['source /etc/network/conf.d/*.conf'])).toBe(source?.output)
  })

  it('hosts: a rename touches that name alone', () => {
    for (const { input } of cases('Hosts.lns', 'get'))
      expect(renameHost(input, 'no-such-host', 'x')).toBe(input)
    const [put] = cases('Hosts.record', 'put')
    expect(renameHost(put?.input ?? '', 'foo', 'bar')).toBe(put?.output)
  })

  it('shell variables: what is set to what it is changes no byte', () => {
    let names = 0
    for (const { input, kind, output } of all.filter(one =>
      /^test_(activemq_conf|activemq)\.aug$/.test(one.file),
    )) {
      for (const { name } of parseAssignments(input)) {
        const value = getShellValue(input, name)
        if (value?.literal) expect(setShellValue(input, name, value.text)).toBe(input)
        names++
      }
      if (kind === 'put')
        expect(setShellValue(input, 'ACTIVEMQ_HOME', '/usr/local/share/activemq')).toBe(output)
    }
    expect(names).toBeGreaterThan(1)
  })

  it('kernel arguments: set and rm give the same text', () => {
    const puts = all.filter(one => one.file === 'test_cmdline.aug' && one.kind === 'put')
    for (const { input, cmds = [], output } of puts) {
      const [[command, path = '', value = ''] = []] = cmds
      // Which of two equal keys is meant cannot be said here: a set replaces all of them.
      if (path.includes('[')) continue
      const argument = value === '' ? path : `${path}=${value}`
      const action = command === 'rm' ? 'remove' : 'set'
      expect(changeKernelArguments(input, [{ action, argument }])).toBe(output)
    }
    expect(puts.length).toBe(6)
  })

  it('ssh: keywords and their arguments are read as they are', () => {
    let keywords = 0
    for (const { input, tree = '' } of cases('Ssh.lns', 'get'))
      for (const line of input.split('\n')) {
        const parsed = parseSshdLine(line)
        if (!parsed) continue
        expect(tree.toLowerCase()).toContain(`"${parsed.keyword.toLowerCase()}"`)
        keywords++
      }
    expect(keywords).toBeGreaterThan(20)
  })
})
