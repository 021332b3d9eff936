import {
  blsMenu,
  extlinuxDefault,
  extlinuxMenu,
  grubLegacyDefault,
  grubLegacyMenu,
  type MenuEntry,
  mergeBlsOptions,
} from '../config/boot-entries.ts'
import { type GrubConfig, isGrubDefault, readGrubConfig } from '../config/grub-config.ts'
import { readGrubEnvironment } from '../config/grub-environment.ts'
import { expandGrub, type GrubVariables } from '../config/grub-script.ts'
import { kernelArguments } from '../config/kernel-arguments.ts'
import { compareVersions } from '../config/version-compare.ts'
import { DrydiskError } from '../errors.ts'
import type { GuestFs } from '../guest/guest-fs.ts'
import { type BootSource, type BootSources, findBootSources, inSource } from './boot-sources.ts'
import { commandLineText, effectiveCommandLine } from './unified-images.ts'

/** Who starts an entry of a boot menu. */
export type BootLoader = 'grub2' | 'grub-legacy' | 'extlinux' | 'systemd-boot' | 'uki'

/** One entry of a boot menu of the guest. */
export interface BootEntry {
  /** As the menu shows it; titles of submenus before it are joined with ` > `. */
  readonly title: string
  readonly loader: BootLoader
  /** Paths as the boot loader sees them: from the root of the filesystem that they are on. */
  readonly kernel: string
  readonly initrd: readonly string[]
  /** The effective kernel command line: variables put in, one space between arguments. */
  readonly arguments: string
  /** As the file has it. */
  readonly written: string
  /** The guest path of the file that holds the arguments, and the 1-based line. */
  readonly file: string
  readonly line: number
  /** What is booted when nobody chooses. Each boot loader that is set up has one of its own. */
  readonly default: boolean
  /** Made for rescue (`single`, recovery mode). */
  readonly recovery: boolean
  /** Of another system on the same disk. */
  readonly foreign: boolean
}

/** Every entry of every boot menu of a guest that starts a Linux kernel, in the order of the menus. */
export async function bootEntries(guest: GuestFs): Promise<BootEntry[]> {
  return listBootEntries(await findBootSources(guest))
}

/** As `bootEntries`, of sources that were read (and edited) already. */
export function listBootEntries(sources: BootSources): BootEntry[] {
  const entries: BootEntry[] = []
  let blsListed = false
  for (const source of sources.files) {
    if (source.template) continue
    if (source.kind === 'grub') {
      const config = grubConfigOf(sources, source)
      const bls: Placed[] = config.blsIndex !== undefined && !blsListed ? blsEntries(sources) : []
      blsListed ||= bls.length > 0
      entries.push(...grubMenu(source, config, bls))
    } else if (source.kind === 'grub-legacy') entries.push(...legacyMenu(sources, source))
    else if (source.kind === 'extlinux') entries.push(...extlinuxEntries(source))
  }
  if (!blsListed) entries.push(...loaderEntries(sources))
  else entries.push(...unifiedEntries(sources, ''))
  return entries
}

/** A grub.cfg read with the environment block that GRUB loads for it: the one beside it, else the first. */
function grubConfigOf(sources: BootSources, source: BootSource): GrubConfig {
  const folder = source.path.slice(0, source.path.lastIndexOf('/'))
  const environment =
    sources.environments.find(e => e.path === `${folder}/grubenv`) ?? sources.environments[0]
  const variables = environment ? environmentOf(environment) : new Map<string, string>()
  return inSource(source, () => readGrubConfig(source.text, variables))
}

/** GRUB passes over an environment block that is none. */
function environmentOf(environment: { bytes: Uint8Array }): Map<string, string> {
  try {
    return readGrubEnvironment(environment.bytes)
  } catch (error) {
    if (error instanceof DrydiskError && error.code === 'ERR_CORRUPT') return new Map()
    throw error
  }
}

/**
 * The variables that entries of a source are expanded with; none where its boot loader knows no variables. Those of entries in
 * files of their own are worked out once.
 */
export function variablesReader(sources: BootSources): (source: BootSource) => GrubVariables | undefined {
  const menu = sources.files.find(file => file.kind === 'grub' && !file.template)
  const config = menu && grubConfigOf(sources, menu)
  const ofEntries = config?.blsIndex === undefined ? undefined : config.variables
  return source => {
    if (source.kind === 'grub') return grubConfigOf(sources, source).variables
    return source.kind === 'bls' ? ofEntries : undefined
  }
}

interface Placed {
  readonly source: BootSource
  readonly entry: MenuEntry
}

/** Arguments with one space between, as GRUB and the others hand them on. */
function effectiveArguments(written: string, variables: GrubVariables | undefined): string {
  const text = variables ? expandGrub(written, variables) : written
  return kernelArguments(text)
    .map(argument => argument.text)
    .join(' ')
}

function made(
  source: BootSource,
  loader: BootLoader,
  entry: { title: string; kernel: MenuEntry['kernel'] },
  isDefault: boolean,
  variables?: GrubVariables,
): BootEntry[] {
  const { kernel } = entry
  if (!kernel) return []
  const written = source.text.slice(kernel.start, kernel.end)
  return [
    {
      title: entry.title,
      loader,
      kernel: kernel.kernel,
      initrd: variables
        ? kernel.initrd.map(path => expandGrub(path, variables)).filter(path => path !== '')
        : kernel.initrd,
      arguments: effectiveArguments(written, variables),
      written,
      file: source.path,
      line: kernel.line,
      default: isDefault,
      recovery: kernel.recovery,
      foreign: kernel.foreign,
    },
  ]
}

/** Several `options` lines count as one. */
function blsEntries(sources: BootSources): Placed[] {
  return sources.files
    .filter(source => source.kind === 'bls')
    .map(source => {
      const merged = { ...source, text: mergeBlsOptions(source.text) }
      const name = source.path.slice(source.path.lastIndexOf('/') + 1)
      return { source: merged, entry: blsMenu(merged.text, name) }
    })
}

function grubMenu(source: BootSource, config: GrubConfig, bls: readonly Placed[]): BootEntry[] {
  const wanted = config.variables.get('default') ?? ''
  // blscfg sorts by the file's name, newest first, and puts its entries where it stands.
  const sorted = bls.toSorted((a, b) => compareVersions(b.entry.id, a.entry.id))
  const blsIndex = config.blsIndex ?? 0
  const places = [
    ...sorted.map(({ entry, source: file }, i) => ({
      index: blsIndex + i,
      titles: [entry.title],
      places: [{ index: blsIndex + i, id: entry.id }],
      make: (isDefault: boolean) => made(file, 'grub2', entry, isDefault, config.variables),
    })),
    ...config.entries.map(entry => {
      const [outer, ...inner] = entry.places
      const shift = outer && outer.index >= blsIndex && bls.length > 0 ? bls.length : 0
      const moved = outer ? [{ ...outer, index: outer.index + shift }, ...inner] : []
      return {
        index: moved[0]?.index ?? 0,
        titles: entry.titles,
        places: moved,
        make: (isDefault: boolean) =>
          made(
            source,
            'grub2',
            { title: entry.titles.join(' > '), kernel: entry.kernel },
            isDefault,
            config.variables,
          ),
      }
    }),
  ].sort((a, b) => a.index - b.index)
  const chosen = places.findIndex(place => isGrubDefault(wanted, place.titles, place.places))
  // A number may name a submenu: GRUB then shows that. What is not found is the first entry.
  return places.flatMap((place, i) => place.make(i === Math.max(chosen, 0)))
}

function legacyMenu(sources: BootSources, source: BootSource): BootEntry[] {
  const wanted = grubLegacyDefault(source.text)
  const id = wanted === 'saved' ? sources.savedLegacyDefault || '0' : wanted
  return grubLegacyMenu(source.text).flatMap(entry => made(source, 'grub-legacy', entry, entry.id === id))
}

function extlinuxEntries(source: BootSource): BootEntry[] {
  const menu = extlinuxMenu(source.text)
  const wanted = extlinuxDefault(source.text).toLowerCase()
  const named = menu.find(entry => entry.id.toLowerCase() === wanted)
  const chosen = named ?? menu.find(entry => entry.kernel)
  return menu.flatMap(entry => made(source, 'extlinux', entry, entry === chosen))
}

/** systemd-boot (and grub2-bls) shows type #1 entries and unified kernel images in one menu. */
function loaderEntries(sources: BootSources): BootEntry[] {
  const bls: Placed[] = blsEntries(sources).sort((a, b) => compareLoaderEntries(a.entry, b.entry))
  const grub = sources.loaderType === 'grub2-bls'
  const saved = sources.environments.map(e => environmentOf(e).get('saved_entry')).find(Boolean)
  const pattern = grub
    ? (saved ?? '')
    : (/^[ \t]*default[ \t]+(\S+)/m.exec(sources.loaderConf ?? '')?.[1] ?? '')
  const matches = globMatcher(pattern)
  const ids = [
    ...bls.map(({ entry }) => entry.id),
    ...sources.unifiedImages.map(image => image.path.slice(image.path.lastIndexOf('/') + 1)),
  ]
  const chosen = ids.find(id => matches(id) || matches(`${id}.conf`)) ?? ids[0] ?? ''
  return [
    ...bls.flatMap(({ source, entry }) =>
      made(source, grub ? 'grub2' : 'systemd-boot', entry, entry.id === chosen),
    ),
    ...unifiedEntries(sources, chosen),
  ]
}

/** The Boot Loader Specification, "Sorting": sort-key, then version from new to old; entries without a sort-key come last. */
function compareLoaderEntries(a: MenuEntry, b: MenuEntry): number {
  const [left, right] = [a.sortKey ?? '', b.sortKey ?? '']
  if ((left === '') !== (right === '')) return left === '' ? 1 : -1
  if (left !== right) return left < right ? -1 : 1
  return left === ''
    ? compareVersions(b.id, a.id)
    : compareVersions(b.version ?? '', a.version ?? '') || compareVersions(b.id, a.id)
}

/** `*` and `?` of a pattern, compared without a regular expression: the pattern comes from the image. */
function globMatcher(pattern: string): (name: string) => boolean {
  const wanted = pattern.toLowerCase()
  return name => {
    if (wanted === '') return false
    const text = name.toLowerCase()
    let [i, j, star, mark] = [0, 0, -1, 0]
    while (i < text.length) {
      if (wanted[j] === '*') [star, mark, j] = [j, i, j + 1]
      else if (j < wanted.length && (wanted[j] === '?' || wanted[j] === text[i])) [i, j] = [i + 1, j + 1]
      else if (star >= 0) [i, j, mark] = [mark + 1, star + 1, mark + 1]
      else return false
    }
    while (wanted[j] === '*') j++
    return j === wanted.length
  }
}

function unifiedEntries(sources: BootSources, chosen: string): BootEntry[] {
  return sources.unifiedImages.flatMap(image => {
    const id = image.path.slice(image.path.lastIndexOf('/') + 1)
    const lines = image.commandLines.length > 0 ? image.commandLines : [{ text: '' }]
    return lines.map(({ text }, i) => ({
      title: i === 0 ? image.title : `${image.title} (profile ${i})`,
      loader: 'uki' as const,
      kernel: image.path,
      initrd: [],
      arguments: effectiveArguments(effectiveCommandLine(image, commandLineText(text)), undefined),
      written: commandLineText(text),
      file: image.path,
      line: 0,
      default: i === 0 && id === chosen,
      recovery: false,
      foreign: false,
    }))
  })
}
