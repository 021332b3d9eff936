import { DrydiskError } from '../errors.ts'
import { parsePlainValue } from './plain-yaml.ts'
import { insertLines, joinLines, splitLines } from './text.ts'
import { isRecord, yamlEditor } from './yaml-edit.ts'

/**
 * cloud-init's own merge (cloudinit/mergers: `list()+dict()+str()` with "no_replace", which always recurses into maps): the
 * earlier value wins, maps are joined key by key, lists are taken whole.
 */
export function mergeCloudConfig(highestFirst: readonly unknown[]): Record<string, unknown> {
  const merged: Record<string, unknown> = {}
  for (const value of highestFirst) if (isRecord(value)) mergeInto(merged, value)
  return merged
}

function mergeInto(into: Record<string, unknown>, from: Record<string, unknown>): void {
  for (const [key, value] of Object.entries(from)) {
    const old = into[key]
    if (!Object.hasOwn(into, key)) define(into, key, isRecord(value) ? mergeCloudConfig([value]) : value)
    else if (isRecord(old) && isRecord(value)) mergeInto(old, value)
  }
}

/** Keys come from an image: `__proto__` must be a key like any other. */
function define(into: Record<string, unknown>, key: string, value: unknown): void {
  Object.defineProperty(into, key, { value, enumerable: true, configurable: true, writable: true })
}

/** One change of a value in a cloud-config. */
export interface CloudConfigChange {
  /** Keys from the top, as in `system_info.default_user.name`. */
  readonly path: readonly string[]
  /** `add` and `remove` are for lists. */
  readonly action: 'set' | 'add' | 'remove'
  /** A YAML value. */
  readonly value: unknown
}

/** Keys whose value is a list, so that a word, or words with commas, mean a list of them. */
const LISTS = /^(datasource_list|cloud_(init|config|final)_modules)$/

/** `KEY=VALUE`, `KEY+=ITEM`, `KEY-=ITEM` with dots between the keys of maps, and a YAML value. */
export async function parseCloudConfigChange(text: string): Promise<CloudConfigChange> {
  const match = /^([A-Za-z0-9_-]+?(?:\.[A-Za-z0-9_ -]+?)*)\s*([+-]?)=(.*)$/s.exec(text)
  if (!match)
    throw new DrydiskError(
      'ERR_INVALID_ARGUMENT',
      `${JSON.stringify(text)} is not a cloud-init setting; expected KEY=VALUE, KEY+=ITEM or KEY-=ITEM, as in datasource_list=[OpenStack,None]`,
    )
  const [, key = '', sign, source = ''] = match
  let value: unknown = parsePlainValue(source) ?? (await yamlEditor()).parse(source, `the value of ${key}`)
  if (!sign && LISTS.test(key) && typeof value === 'string') value = value.split(',').map(item => item.trim())
  if (!sign && LISTS.test(key) && !Array.isArray(value))
    throw new DrydiskError('ERR_INVALID_ARGUMENT', `${key} is a list; expected ${key}=[A, B]`)
  return { path: key.split('.'), action: sign === '+' ? 'add' : sign === '-' ? 'remove' : 'set', value }
}

/**
 * Whether an item of a module list is that module: cloud-init takes `-` for `_`, and `[name, frequency]` for `name`
 * (cloudinit/config/modules.py).
 */
export function isSameItem(item: unknown, wanted: unknown): boolean {
  const name = (value: unknown) => {
    const first: unknown = Array.isArray(value) ? value[0] : value
    return typeof first === 'string' ? first.replace(/^cc_/, '').replaceAll('-', '_') : JSON.stringify(first)
  }
  return name(item) === name(wanted)
}

/**
 * The datasources that ds-identify sees in a file: it reads line by line, takes only a list on the line of its key, one space
 * after the colon, and splits what is left over into words (tools/ds-identify, check_config, parse_yaml_array and trim). A
 * comment behind the list leaves a `]` in its last word, and so does a second space a `[` in its first. `undefined` where no
 * line has the key.
 */
export function dsIdentifyList(text: string): string[] | undefined {
  let found: string[] | undefined
  for (const source of text.split('\n')) {
    // read strips blanks at both ends, and the comment is cut off after that.
    const line = (/^[ \t]*((?:.*[^ \t])?)/s.exec(source)?.[1] ?? '').replace(/#.*$/s, '')
    const match = /^datasource_list:(?:$| (.*)$)/s.exec(line)
    if (!match) continue
    const value = (match[1] ?? '').replace(/^\[/, '').replace(/\]$/, '')
    found = value
      .split(',')
      .map(item => item.trim().replace(/^(['"])(.*)\1$/, '$2'))
      .flatMap(item => item.split(/[ \t]+/))
      .filter(item => item !== '')
  }
  return found
}

/** Brings `datasource_list: [ … ]` lines into the form that ds-identify reads: one space, and comments on a line of their own. */
export function tidyDatasourceLines(text: string): string {
  const lines = splitLines(text)
  for (let i = lines.length - 1; i >= 0; i--) {
    const line = lines[i]
    const match = /^datasource_list:[ \t]*(\[[^\]#]*\])[ \t]*(#.*)?$/.exec(line?.text ?? '')
    if (!line || !match) continue
    line.text = `datasource_list: ${match[1]}`
    if (match[2] !== undefined) insertLines(lines, i, [match[2]])
  }
  return joinLines(lines)
}
