import type { DecodedText } from '../../config/text.ts'
import { encodeText } from '../../config/text.ts'
import { equalValues, isRecord, lookUp, type YamlEditor, yamlEditor } from '../../config/yaml-edit.ts'
import { DrydiskError } from '../../errors.ts'
import type { GuestFs } from '../../guest/guest-fs.ts'
import { matchesGlob } from '../glob.ts'
import { compareBytes, listFolder, readConfig, writeConfig } from '../guest-files.ts'
import type { ReportBuilder } from '../report.ts'

const FOLDER = '/etc/netplan'
const VENDOR_FOLDERS = ['/usr/lib/netplan', '/lib/netplan']
/** Sorts after an installer's 00-*.yaml and cloud-init's 50-cloud-init.yaml: a later file changes what earlier ones say. */
const DROP_IN = `${FOLDER}/90-drydisk.yaml`

interface PlanFile {
  readonly path: string
  readonly before: DecodedText
  text: string
}

/** By name, whichever folder they are in; one in /etc hides one of the same name (netplan(5), Directories). */
async function readPlans(guest: GuestFs): Promise<PlanFile[]> {
  const byName = new Map<string, PlanFile>()
  for (const folder of [FOLDER, ...VENDOR_FOLDERS])
    for (const path of await listFolder(guest, folder, /\.yaml$/)) {
      const name = path.slice(path.lastIndexOf('/') + 1)
      const before = byName.has(name) ? undefined : await readConfig(guest, path)
      if (before) byName.set(name, { path, before, text: before.text })
    }
  return [...byName].sort((a, b) => compareBytes(a[0], b[0])).map(([, file]) => file)
}

interface Definition {
  readonly id: string
  readonly value: Readonly<Record<string, unknown>>
}

function definitions(yaml: YamlEditor, file: PlanFile): Definition[] {
  const found = lookUp(yaml.parse(file.text, file.path), ['network', 'ethernets'])
  return Object.entries(isRecord(found) ? found : {}).map(([id, value]) => ({
    id,
    value: isRecord(value) ? value : {},
  }))
}

/** Without `match` the id is the interface's name; with it the id is any word. */
function isAbout({ id, value }: Definition, name: string): boolean {
  if (!isRecord(value.match)) return id === name || value['set-name'] === name
  const pattern = value.match.name
  const patterns = Array.isArray(pattern) ? pattern : [pattern]
  return (
    value['set-name'] === name ||
    patterns.some(one => typeof one === 'string' && matchesGlob(encodeText(one), encodeText(name)))
  )
}

function show(value: unknown): string | null {
  return value === undefined ? null : typeof value === 'string' ? value : JSON.stringify(value)
}

/** Edits of one interface's definition, each told of. */
class DefinitionEdit {
  readonly #yaml: YamlEditor
  readonly #file: PlanFile
  readonly #id: string
  readonly #report: ReportBuilder

  constructor(yaml: YamlEditor, file: PlanFile, id: string, report: ReportBuilder) {
    this.#yaml = yaml
    this.#file = file
    this.#id = id
    this.#report = report
  }

  get(...keys: string[]): unknown {
    const { text, path } = this.#file
    return lookUp(this.#yaml.parse(text, path), ['network', 'ethernets', this.#id, ...keys])
  }

  change(keys: readonly string[], value: unknown): void {
    const file = this.#file
    const old = this.get(...keys)
    const path = ['network', 'ethernets', this.#id, ...keys]
    // As YAML has it, `yes` is true already.
    if (equalValues(old, value)) return
    file.text =
      value === undefined
        ? this.#yaml.unset(file.text, path, file.path)
        : this.#yaml.set(file.text, path, value, file.path)
    this.#report.change(`netplan ${this.#id} ${keys.join('.')}`, show(old), show(value), file.path, {
      line: value === undefined ? undefined : this.#yaml.lineOf(file.text, path, file.path),
    })
  }

  /**
   * Takes MAC addresses out. A definition that nothing but its MAC address binds is bound by the name it gives, or where its id is
   * no name of an interface, to every Ethernet one.
   */
  unpin(): void {
    this.change(['macaddress'], undefined)
    const match = this.get('match')
    if (!isRecord(match) || match.macaddress === undefined) return
    if (Object.keys(match).length > 1) {
      this.change(['match', 'macaddress'], undefined)
      return
    }
    const named = this.get('set-name')
    const isName = /^(eth|en[opsx])\w*\d/.test(this.#id) && (named === undefined || named === this.#id)
    this.change(['set-name'], undefined)
    if (isName) this.change(['match'], undefined)
    else this.change(['match'], { name: 'e*' })
  }
}

function hasFixedAddresses(value: Readonly<Record<string, unknown>>): boolean {
  return ['addresses', 'gateway4', 'gateway6'].some(key => value[key] !== undefined)
}

/** DHCP on one interface or on every one of `ethernets`; how many definitions have it. */
export async function dhcpByNetplan(
  guest: GuestFs,
  wanted: string | undefined,
  make: boolean,
  report: ReportBuilder,
): Promise<number> {
  const files = await readPlans(guest)
  const yaml = files.length > 0 ? await yamlEditor() : undefined
  let count = 0
  for (const file of yaml ? files : []) {
    if (!yaml) break
    for (const definition of definitions(yaml, file)) {
      if (wanted !== undefined && !isAbout(definition, wanted)) continue
      count++
      if (!file.path.startsWith(`${FOLDER}/`)) {
        if (definition.value.dhcp4 !== true || hasFixedAddresses(definition.value))
          throw new DrydiskError(
            'ERR_NOT_EFFECTIVE',
            `${file.path} belongs to a package and configures ${definition.id}; copy it to ${FOLDER} first`,
            { path: file.path },
          )
        continue
      }
      const edit = new DefinitionEdit(yaml, file, definition.id, report)
      edit.change(['dhcp4'], true)
      for (const key of ['addresses', 'gateway4', 'gateway6']) edit.change([key], undefined)
      const routes = edit.get('routes')
      if (Array.isArray(routes)) {
        const kept = routes.filter(route => !isRecord(route) || !isDefault(route.to))
        if (kept.length < routes.length) edit.change(['routes'], kept.length > 0 ? kept : undefined)
        if (kept.length > 0) report.warn(`${file.path} still has fixed routes for ${definition.id}`)
      }
      if (edit.get('dhcp4') === true && edit.get('match') !== undefined) edit.unpin()
    }
  }
  await save(guest, files)
  if (count > 0 || !make) return count
  const definition = wanted === undefined ? 'all-ethernets:\n      match:\n        name: "e*"' : `${wanted}:`
  const text = `network:\n  version: 2\n  ethernets:\n    ${definition}\n      dhcp4: true\n`
  await guest.mkdir(FOLDER, { recursive: true })
  await writeConfig(guest, DROP_IN, await readConfig(guest, DROP_IN), text, { mode: 0o600 })
  report.change(`netplan ${wanted ?? 'every Ethernet interface'} dhcp4`, null, 'true', DROP_IN)
  return 1
}

function isDefault(to: unknown): boolean {
  return to === 'default' || to === '0.0.0.0/0' || to === '::/0' || to === '0/0'
}

async function save(guest: GuestFs, files: readonly PlanFile[]): Promise<void> {
  for (const file of files) await writeConfig(guest, file.path, file.before, file.text)
}

export async function unpinNetplan(guest: GuestFs, report: ReportBuilder): Promise<void> {
  const files = (await readPlans(guest)).filter(
    file => file.path.startsWith(`${FOLDER}/`) && /macaddress/.test(file.text),
  )
  if (files.length === 0) return
  const yaml = await yamlEditor()
  for (const file of files)
    for (const { id } of definitions(yaml, file)) new DefinitionEdit(yaml, file, id, report).unpin()
  await save(guest, files)
}
