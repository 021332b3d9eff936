import { insertLines, joinLines, removeLines, splitLines } from './text.ts'

/** One source of packages: a line of a `.list` file, or a stanza of a `.sources` file (sources.list(5)). */
export interface AptSource {
  readonly types: readonly string[]
  readonly uris: readonly string[]
  readonly suites: readonly string[]
  readonly components: readonly string[]
  readonly enabled: boolean
  /** 1-based: the line, or that of the `URIs` field. */
  readonly line: number
}

/** `deb [options] uri suite component…`: options and the label of a disc are in brackets and may hold blanks; a comment may follow. */
const ONE_LINE = /^(\s*(deb|deb-src)\s+(?:\[[^\]]*\]\s*)?)(cdrom:\[[^\]]*\]\S*|\S+)(\s+)(\S+)([^#]*)(#.*)?$/

/** Sources in the one-line form of sources.list(5). */
export function parseAptList(text: string): AptSource[] {
  const sources: AptSource[] = []
  splitLines(text).forEach((line, i) => {
    const match = ONE_LINE.exec(line.text)
    if (!match || /^\s*#/.test(line.text)) return
    const [, , type = '', uri = '', , suite = '', components = ''] = match
    sources.push({
      types: [type],
      uris: [uri],
      suites: [suite],
      components: components.trim().split(/\s+/).filter(Boolean),
      enabled: true,
      line: i + 1,
    })
  })
  return sources
}

/** Puts another URI on one line. */
export function setAptListUri(text: string, line: number, uri: string): string {
  const lines = splitLines(text)
  const target = lines[line - 1]
  if (target)
    target.text = target.text.replace(
      ONE_LINE,
      (_, head: string, _type, _uri, gap: string, suite: string, rest: string, comment = '') =>
        `${head}${uri}${gap}${suite}${rest}${comment}`,
    )
  return joinLines(lines)
}

interface Field {
  readonly name: string
  readonly value: string
  readonly start: number
  readonly end: number
}

/** The stanzas of a deb822 file: fields with the lines that continue them; comments may stand anywhere (deb822(5)). */
function stanzas(text: string): Field[][] {
  const lines = splitLines(text)
  const found: Field[][] = [[]]
  for (let i = 0; i < lines.length; i++) {
    const source = lines[i]?.text ?? ''
    if (source.trim() === '') {
      if (found.at(-1)?.length) found.push([])
      continue
    }
    if (source.startsWith('#')) continue
    const field = /^([^\s:#][^\s:]*)\s*:[ \t]*((?:.*[^ \t])?)[ \t]*$/.exec(source)
    if (!field) continue
    const start = i
    const parts = [field[2] ?? '']
    while (i + 1 < lines.length && /^([ \t]+\S|#)/.test(lines[i + 1]?.text ?? '')) {
      const next = lines[++i]?.text ?? ''
      if (!next.startsWith('#')) parts.push(next.trim())
    }
    found.at(-1)?.push({ name: field[1] ?? '', value: parts.join(' ').trim(), start, end: i + 1 })
  }
  return found.filter(stanza => stanza.length > 0)
}

/** Sources in the deb822 form of sources.list(5). */
export function parseAptDeb822(text: string): AptSource[] {
  return stanzas(text).map(fields => {
    const field = (name: string) => fields.find(one => one.name.toLowerCase() === name)
    const words = (name: string) => (field(name)?.value ?? '').split(/\s+/).filter(Boolean)
    return {
      types: words('types'),
      uris: words('uris'),
      suites: words('suites'),
      components: words('components'),
      enabled: !/^(no|false|without|off|disable|0)$/i.test(field('enabled')?.value ?? 'yes'),
      line: (field('uris')?.start ?? fields[0]?.start ?? 0) + 1,
    }
  })
}

/** Puts other URIs into the stanza whose `URIs` field begins on a line; comments within the old field stay. */
export function setAptDeb822Uris(text: string, line: number, uris: readonly string[]): string {
  const lines = splitLines(text)
  const field = stanzas(text)
    .flat()
    .find(one => one.start === line - 1 && one.name.toLowerCase() === 'uris')
  const target = field && lines[field.start]
  if (!field || !target) return text
  const comments = lines.slice(field.start + 1, field.end).filter(one => one.text.startsWith('#'))
  target.text = target.text.replace(
    /^([^:]*:[ \t]*).*$/,
    (_, head: string) => `${/[ \t]$/.test(head) ? head : `${head} `}${uris.join(' ')}`,
  )
  removeLines(lines, field.start + 1, field.end - field.start - 1)
  insertLines(
    lines,
    field.start,
    comments.map(one => one.text),
  )
  return joinLines(lines)
}
