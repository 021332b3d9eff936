import { invalid } from './step.ts'

/** What a setting's value is: `flag` has none, `names` is a list with commas. */
export type SettingKind = 'text' | 'number' | 'names' | 'flag'

type ValueOf<K extends SettingKind> = K extends 'text'
  ? string
  : K extends 'number'
    ? number
    : K extends 'names'
      ? readonly string[]
      : true

export type Settings<Kinds extends Readonly<Record<string, SettingKind>>> = {
  readonly [Name in keyof Kinds]?: ValueOf<Kinds[Name]>
}

/**
 * `KEY=VALUE,KEY=VALUE,FLAG`: a comma begins a new setting only before a key that there is, so `groups=adm,wheel,shell=/bin/sh` and
 * `comment=Debian,,,` are what they look like.
 */
export function parseSettings<const Kinds extends Readonly<Record<string, SettingKind>>>(
  text: string,
  kinds: Kinds,
): Settings<Kinds> {
  const settings: Record<string, string | number | readonly string[] | true> = {}
  const keys = Object.keys(kinds)
  const known = keys.map(key => (kinds[key] === 'flag' ? `${key}(?=,|$)` : `${key}=`)).join('|')
  for (const part of text === '' ? [] : text.split(new RegExp(`,(?=${known})`))) {
    const equals = part.indexOf('=')
    const key = equals < 0 ? part : part.slice(0, equals)
    const value = equals < 0 ? '' : part.slice(equals + 1)
    const kind = kinds[key]
    if (!Object.hasOwn(kinds, key) || kind === undefined || (kind === 'flag') !== equals < 0)
      throw invalid(
        `"${part}" is none of the settings ${keys.map(one => (kinds[one] === 'flag' ? one : `${one}=…`)).join(', ')}`,
      )
    if (kind === 'number' && !/^-?\d{1,10}$/.test(value))
      throw invalid(`${key} is "${value}", not a whole number`)
    settings[key] =
      kind === 'flag' ? true : kind === 'number' ? Number(value) : kind === 'names' ? nameList(value) : value
  }
  return settings as Settings<Kinds>
}

/** Names with commas between them. */
export function nameList(text: string): string[] {
  return text
    .split(',')
    .map(name => name.trim())
    .filter(name => name !== '')
}

/** The part before the first colon, and what follows it: empty where there is no colon. */
export function nameAndRest(value: string, form: string): [string, string] {
  const colon = value.indexOf(':')
  const name = colon < 0 ? value : value.slice(0, colon)
  if (name === '') throw invalid(`"${value}" is not of the form ${form}`)
  return [name, colon < 0 ? '' : value.slice(colon + 1)]
}
