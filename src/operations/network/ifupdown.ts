import {
  appendInterfaces,
  type InterfacesStanza,
  parseInterfaces,
  removeInterfaceOptions,
  setInterfaceMethod,
} from '../../config/interfaces.ts'
import { type DecodedText, joinLines, removeLines, splitLines } from '../../config/text.ts'
import type { GuestFs } from '../../guest/guest-fs.ts'
import { glob } from '../glob.ts'
import { displayPath, listFolder, readConfig, writeConfig } from '../guest-files.ts'
import type { ReportBuilder } from '../report.ts'
import { INTERFACES } from './stack.ts'

interface InterfacesFile {
  readonly path: string
  readonly before: DecodedText
  text: string
}

const MAX_FILES = 100

/** /etc/network/interfaces and what it sources, in that order (interfaces(5), INCLUDING OTHER FILES). */
async function readInterfaces(guest: GuestFs, others: readonly string[] = []): Promise<InterfacesFile[]> {
  const files: InterfacesFile[] = []
  const read = async (path: string): Promise<void> => {
    if (files.length >= MAX_FILES || files.some(file => file.path === path)) return
    const before = await readConfig(guest, path)
    if (!before) return
    files.push({ path, before, text: before.text })
    for (const { keyword, words } of parseInterfaces(before.text))
      for (const word of words) {
        const target = word.startsWith('/') ? word : `/etc/network/${word}`
        if (keyword === 'source')
          for (const found of await glob(guest, target)) await read(displayPath(found))
        // Names as run-parts takes them: no dots, so no backups.
        if (keyword === 'source-directory' || keyword === 'source-dir')
          for (const found of await glob(guest, target))
            for (const name of await listFolder(guest, displayPath(found), /^[A-Za-z0-9_-]+$/))
              await read(name)
      }
  }
  await read(INTERFACES)
  for (const path of others) await read(path)
  return files
}

const ADDRESS = /^(address|netmask|broadcast|network|gateway|pointopoint|peer|scope|metric)$/
const ADDRESS6 = /^(address|netmask|gateway|autoconf|accept_ra)$/
const MAC = /^(hwaddress|ethernet-hwaddr|hwaddress-random)$/

/** Names that are no Ethernet interface of their own. */
const VIRTUAL = /^(lo|bond|br|tun|tap|vlan|dummy|ppp|wl|docker|veth|virbr)\d*|[.:@]/

function isEthernet(stanza: InterfacesStanza): boolean {
  const options = stanza.options.map(option => option.name)
  return (
    !VIRTUAL.test(stanza.words[0] ?? '') &&
    !options.some(name => /^(bridge|bond|vlan)[-_]/.test(name)) &&
    /^(static|dhcp|manual)$/.test(stanza.words[2] ?? '')
  )
}

/** DHCP on one interface or on every Ethernet one that has a stanza; how many have one. */
export async function dhcpByInterfaces(
  guest: GuestFs,
  wanted: string | undefined,
  report: ReportBuilder,
): Promise<number> {
  const files = await readInterfaces(guest)
  const done = new Set<string>()
  const started = new Set<string>()
  for (const file of files) {
    for (const { keyword, words } of parseInterfaces(file.text))
      if (keyword === 'auto' || keyword === 'allow-auto' || keyword === 'allow-hotplug')
        for (const word of words) started.add(word)
    for (const stanza of parseInterfaces(file.text).reverse()) {
      const [name = '', family, method] = stanza.words
      if (stanza.keyword !== 'iface' || (wanted === undefined ? !isEthernet(stanza) : name !== wanted))
        continue
      if (family === 'inet6' && method !== 'static') continue
      if (family !== 'inet' && family !== 'inet6') continue
      const after = family === 'inet' ? 'dhcp' : 'auto'
      const pattern = family === 'inet' ? ADDRESS : ADDRESS6
      const doomed = stanza.options.filter(option => pattern.test(option.name) || MAC.test(option.name))
      file.text = setInterfaceMethod(
        removeInterfaceOptions(
          file.text,
          doomed.map(option => option.line),
        ),
        stanza.line,
        after,
      )
      for (const option of doomed) report.change(`${option.name} of ${name}`, option.value, null, file.path)
      report.change(`method of ${name} (${family})`, method ?? null, after, file.path, { line: stanza.line })
      if (family === 'inet') done.add(name)
    }
  }
  const main = files[0]
  const missing = [...(wanted === undefined || done.has(wanted) ? [] : [wanted])]
  for (const name of missing) done.add(name)
  if (done.size === 0) return 0
  const target = main ?? { path: INTERFACES, before: undefined, text: 'auto lo\niface lo inet loopback\n' }
  for (const name of done) {
    const lines = [
      ...(started.has(name) ? [] : [`auto ${name}`]),
      ...(missing.includes(name) ? [`iface ${name} inet dhcp`] : []),
    ]
    if (lines.length === 0) continue
    target.text = appendInterfaces(target.text, lines)
    if (missing.includes(name)) report.change(`method of ${name} (inet)`, null, 'dhcp', target.path)
    else report.change(`start of ${name} at boot`, null, 'auto', target.path)
  }
  if (!main) await guest.mkdir('/etc/network', { recursive: true })
  for (const file of main ? files : [target]) await writeConfig(guest, file.path, file.before, file.text)
  return done.size
}

/** Takes `hwaddress` lines out, and mappings by MAC address are told of. */
export async function unpinInterfaces(guest: GuestFs, report: ReportBuilder): Promise<void> {
  // Also what nothing sources yet.
  const folder = await listFolder(guest, `${INTERFACES}.d`, /^[^.]/)
  for (const file of await readInterfaces(guest, folder)) {
    const lines: number[] = []
    for (const { keyword, words, options, line } of parseInterfaces(file.text)) {
      if (keyword === 'rename' && words.some(word => /^(mac\/|[^=]*=?mac\/)/.test(word)))
        report.warn(`${file.path}:${line} renames an interface by its MAC address; left as it is`)
      for (const option of options)
        if (/^(hwaddress|ethernet-hwaddr)$/.test(option.name) && /[0-9a-f]{2}:/i.test(option.value)) {
          lines.push(option.line)
          report.change(`${option.name} of ${words[0] ?? ''}`, option.value, null, file.path)
        }
    }
    await writeConfig(guest, file.path, file.before, removeInterfaceOptions(file.text, lines))
  }
}

/** Rules that name interfaces by MAC address: 70-persistent-net.rules of EL6, Debian 8, SUSE 12, and cloud-init's own. */
export async function unpinUdevRules(guest: GuestFs, report: ReportBuilder): Promise<void> {
  for (const path of await listFolder(guest, '/etc/udev/rules.d', /\.rules$/)) {
    const before = await readConfig(guest, path)
    if (!before) continue
    const lines = splitLines(before.text)
    let dropped = 0
    for (let i = lines.length - 1; i >= 0; i--) {
      const text = lines[i]?.text ?? ''
      if (/^\s*#/.test(text) || !/\bNAME:?="[^"]*"/.test(text)) continue
      const mac = /\bATTRS?\{address\}=="([^"]*)"/.exec(text)?.[1]
      if (mac === undefined) continue
      removeLines(lines, i, 1)
      dropped++
    }
    if (dropped === 0) continue
    const generated = /persistent-net(-cloud-init)?\.rules$/.test(path)
    const left = lines.some(line => line.text.trim() !== '' && !/^\s*#/.test(line.text))
    // What the generator made alone is made again at the next boot.
    if (generated && !left) await guest.unlink(path)
    else await writeConfig(guest, path, before, joinLines(lines))
    report.always(`interface names by MAC address`, `${dropped}`, null, path)
  }
}
