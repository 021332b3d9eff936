import { dsIdentifyList, isSameItem, mergeCloudConfig, tidyDatasourceLines } from '../config/cloud-config.ts'
import { findPlainKey, isPlainFile, type PlainLookup, renderPlainValue } from '../config/plain-yaml.ts'
import { appendLine, type DecodedText, replaceRange } from '../config/text.ts'
import { equalValues, isRecord, lookUp, yamlEditor } from '../config/yaml-edit.ts'
import { DrydiskError } from '../errors.ts'
import type { GuestFs } from '../guest/guest-fs.ts'
import { compareBytes, listFolder, readConfig, writeConfig } from './guest-files.ts'
import type { ReportBuilder } from './report.ts'

const MAIN = '/etc/cloud/cloud.cfg'
const FOLDER = '/etc/cloud/cloud.cfg.d'
/** Of these files the one that sorts last wins; installers name theirs 99-installer.cfg and the like. */
const DROP_IN = `${FOLDER}/99-zz-drydisk.cfg`
const DROP_IN_HEADER = '# Settings made by drydisk. Of the files here the last name wins.\n'

interface CloudFile {
  readonly path: string
  readonly before: DecodedText | undefined
  text: string
}

export async function hasCloudInit(guest: GuestFs): Promise<boolean> {
  return (await guest.exists(MAIN)) || (await guest.exists(FOLDER))
}

/** cloud-init's system configuration: cloud.cfg, and cloud.cfg.d by name over it. */
export class CloudConfig {
  readonly #guest: GuestFs
  /** The strongest first. */
  readonly #files: CloudFile[]

  private constructor(guest: GuestFs, files: CloudFile[]) {
    this.#guest = guest
    this.#files = files
  }

  /** `undefined` where the guest has no cloud-init. */
  static async load(guest: GuestFs): Promise<CloudConfig | undefined> {
    if (!(await hasCloudInit(guest))) return undefined
    const files: CloudFile[] = []
    for (const path of [MAIN, ...(await listFolder(guest, FOLDER, /\.cfg$/))]) {
      const before = await readConfig(guest, path)
      if (before) files.unshift({ path, before, text: before.text })
    }
    return new CloudConfig(guest, files)
  }

  async effective(path: readonly string[]): Promise<unknown> {
    const [key = ''] = path
    if (path.length === 1) {
      const plain = this.#files
        .map(file => findPlainKey(file.text, key))
        .find(found => found.kind !== 'absent')
      if (!plain) return undefined
      if (plain.kind === 'value') return plain.value
    }
    const editor = await yamlEditor()
    const values = this.#mentioning(key).map(file => editor.parse(file.text, file.path))
    return lookUp(mergeCloudConfig(values), path)
  }

  /** Only a file that has the first key somewhere can set it: the others need not be parsed. */
  #mentioning(key: string): CloudFile[] {
    return this.#files.filter(file => file.text.includes(key) || /\\[xuU]/.test(file.text))
  }

  /** The strongest file that has the key, and the line. */
  async place(path: readonly string[]): Promise<{ file: string; line: number | undefined } | undefined> {
    const file = await this.#deciding(path)
    if (!file) return undefined
    const plain = path.length === 1 ? findPlainKey(file.text, path[0] ?? '') : undefined
    if (plain?.kind === 'value') return { file: file.path, line: plain.line }
    return { file: file.path, line: (await yamlEditor()).lineOf(file.text, path, file.path) }
  }

  async #deciding(path: readonly string[]): Promise<CloudFile | undefined> {
    const [key = ''] = path
    for (const file of this.#mentioning(key)) {
      const plain: PlainLookup = path.length === 1 ? findPlainKey(file.text, key) : { kind: 'unknown' }
      if (plain.kind === 'absent') continue
      if (plain.kind === 'value') return file
      if (lookUp((await yamlEditor()).parse(file.text, file.path), path) !== undefined) return file
    }
    return undefined
  }

  async set(path: readonly string[], value: unknown): Promise<void> {
    if (await this.#has(path, value)) return
    await this.#setIn(this.#dropIn(), path, value)
    // A file that sorts later, or lists elsewhere, still wins: change the value where it stands.
    for (let tries = 0; tries < this.#files.length && !(await this.#has(path, value)); tries++) {
      const rival = path[0] === 'datasource_list' ? this.#lastForDsIdentify() : await this.#deciding(path)
      if (!rival) break
      await this.#setIn(rival, path, value)
      if (path[0] === 'datasource_list') rival.text = tidyDatasourceLines(rival.text)
    }
    if (await this.#has(path, value)) return
    const place = await this.place(path)
    throw new DrydiskError(
      'ERR_NOT_EFFECTIVE',
      `${path.join('.')} still is ${JSON.stringify(await this.effective(path))} by ${place?.file}:${place?.line}; edit that file by hand`,
      { path: place?.file, line: place?.line },
    )
  }

  async #setIn(file: CloudFile, path: readonly string[], value: unknown): Promise<void> {
    const [key = ''] = path
    const rendered = path.length === 1 && /^[A-Za-z_][\w-]*$/.test(key) ? renderPlainValue(value) : undefined
    const plain = findPlainKey(file.text, key)
    if (rendered !== undefined && plain.kind === 'value')
      file.text = replaceRange(file.text, plain.start, plain.end, rendered)
    else if (rendered !== undefined && plain.kind === 'absent' && isPlainFile(file.text))
      file.text = appendLine(file.text, `${key}: ${rendered}`)
    else file.text = (await yamlEditor()).set(file.text, path, value, file.path)
  }

  /** Whether the value is in force; of a map, whether all that was asked for is. */
  async #has(path: readonly string[], value: unknown): Promise<boolean> {
    if (!holds(await this.effective(path), value)) return false
    if (path.join('.') !== 'datasource_list') return true
    // ds-identify decides before cloud-init starts, and reads less YAML.
    const seen = this.#lastForDsIdentify()
    return seen !== undefined && equalValues(dsIdentifyList(seen.text), value)
  }

  #lastForDsIdentify(): CloudFile | undefined {
    // The shell's *.cfg leaves out names that begin with a dot; cloud-init does not.
    return this.#files.find(
      file => !file.path.startsWith(`${FOLDER}/.`) && dsIdentifyList(file.text) !== undefined,
    )
  }

  /** What ds-identify takes for the list of datasources, before cloud-init starts, and the file that it finds it in. */
  seenByDsIdentify(): { list: string[]; file: string } | undefined {
    const file = this.#lastForDsIdentify()
    return file && { list: dsIdentifyList(file.text) ?? [], file: file.path }
  }

  /** The files with their texts, the strongest first. */
  get files(): readonly { readonly path: string; readonly text: string }[] {
    return this.#files
  }

  /** Edits the list in the file that decides it, with its comments kept. */
  async changeList(path: readonly string[], action: 'add' | 'remove', item: unknown): Promise<void> {
    const list = await this.effective(path)
    const file = await this.#deciding(path)
    if (!file || !Array.isArray(list)) {
      if (action === 'remove') return
      throw new DrydiskError(
        'ERR_INVALID_ARGUMENT',
        `${path.join('.')} is not a list in this guest's cloud-init configuration; set it whole`,
      )
    }
    const editor = await yamlEditor()
    const matching = list.flatMap((present, i) => (isSameItem(present, item) ? [i] : []))
    if (action === 'add' && matching.length === 0)
      file.text = editor.addItem(file.text, path, item, file.path)
    if (action === 'remove' && matching.length > 0)
      file.text = editor.removeItems(file.text, path, matching, file.path)
  }

  #dropIn(): CloudFile {
    let dropIn = this.#files.find(file => file.path === DROP_IN)
    if (!dropIn) {
      dropIn = { path: DROP_IN, before: undefined, text: DROP_IN_HEADER }
      this.#files.push(dropIn)
      const main = this.#files.filter(file => file.path === MAIN)
      const others = this.#files.filter(file => file.path !== MAIN)
      others.sort((a, b) => compareBytes(b.path, a.path))
      this.#files.splice(0, this.#files.length, ...others, ...main)
    }
    return dropIn
  }

  async save(): Promise<void> {
    for (const file of this.#files) {
      if (!file.before && file.text === DROP_IN_HEADER) continue
      if (!file.before) await this.#guest.mkdir(FOLDER, { recursive: true })
      await writeConfig(this.#guest, file.path, file.before, file.text)
    }
  }
}

function holds(present: unknown, wanted: unknown): boolean {
  if (isRecord(present) && isRecord(wanted))
    return Object.entries(wanted).every(
      ([key, value]) => Object.hasOwn(present, key) && holds(present[key], value),
    )
  return equalValues(present, wanted)
}

export function showValue(value: unknown): string | null {
  if (value === undefined) return null
  return typeof value === 'string' ? value : JSON.stringify(value)
}

/** Sets one top-level value, for operations that keep cloud-init from undoing them. Nothing without cloud-init. */
export async function setCloudConfig(
  guest: GuestFs,
  key: string,
  value: unknown,
  report: ReportBuilder,
): Promise<void> {
  const config = await CloudConfig.load(guest)
  if (!config) return
  const before = await config.effective([key])
  await config.set([key], value)
  await config.save()
  const place = await config.place([key])
  report.change(
    `cloud-init ${key}`,
    showValue(before),
    showValue(await config.effective([key])),
    place?.file ?? DROP_IN,
    {
      line: place?.line,
      note: 'so that cloud-init does not undo it at first boot',
    },
  )
}
