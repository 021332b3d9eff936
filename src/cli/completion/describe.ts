import { Command } from 'commander'
import { shippedRecipeNames } from '../../library/recipes.ts'
import { commands } from '../commands.ts'

/** What a shell offers for a value or an argument: files (images first), folders, these words, or nothing. */
export type Offer =
  | { readonly kind: 'image' | 'file' | 'folder' | 'nothing' }
  | { readonly kind: 'words'; readonly words: readonly string[]; readonly orFiles?: boolean }

export interface DescribedOption {
  /** As `-n` and `--dry-run`; of some there is only one. */
  readonly short?: string
  readonly long?: string
  readonly help: string
  /** Left out for an option without a value. */
  readonly value?: { readonly name: string; readonly optional: boolean; readonly offer: Offer }
}

export interface DescribedCommand {
  readonly name: string
  readonly summary: string
  readonly options: readonly DescribedOption[]
  /** By place; the last one stands for all that follow it. */
  readonly arguments: readonly { readonly name: string; readonly offer: Offer }[]
}

/** Endings of names that are shown first where an image is wanted. */
export const IMAGE_ENDINGS = ['qcow2', 'raw', 'img'] as const

const words = (...list: string[]): Offer => ({ kind: 'words', words: list })
const FORMATS = words('qcow2', 'raw')
const IMAGE: Offer = { kind: 'image' }
const FILE: Offer = { kind: 'file' }
const NOTHING: Offer = { kind: 'nothing' }

/** What options take, by their name; `COMMAND --NAME` goes before `--NAME`. All others take something that no shell knows. */
export const OPTION_VALUES: Readonly<Record<string, Offer>> = {
  '--add': IMAGE,
  '--backing': words('beside', 'any', 'none'),
  '--backing-file': IMAGE,
  '--backing-format': FORMATS,
  '--base': IMAGE,
  '--commands-from-file': FILE,
  '--compression': words('zlib', 'zstd'),
  '--firstboot': FILE,
  '--format': FORMATS,
  '--output': words('human', 'json'),
  '--output-format': FORMATS,
  '--partition': words('gpt', 'none'),
  '--password-crypto': words('sha512', 'sha256', 'md5', 'yescrypt'),
  '--profile': words('openstack', 'kvm', 'generic'),
  '--repair': words('leaks', 'all'),
  '--run': FILE,
  '--second-format': FORMATS,
  '--selinux-mode': words('enforcing', 'permissive', 'disabled'),
  '--socket': FILE,
  '--vars': FILE,
  'make-fs --type': words('ext4', 'xfs'),
}

/** What arguments are, by their name; `COMMAND NAME` goes before `NAME`. */
const ARGUMENTS: Readonly<Record<string, Offer>> = {
  after: IMAGE,
  archive: FILE,
  before: IMAGE,
  'completion shell': words('bash', 'zsh', 'fish'),
  'cp paths': IMAGE,
  'make-fs folder': { kind: 'folder' },
  files: IMAGE,
  image: IMAGE,
  images: IMAGE,
  other: IMAGE,
  out: IMAGE,
  target: IMAGE,
}

/** Every command as commander knows it. Loads all of them, which takes a moment: for scripts and pages that are made once. */
export async function describeCommands(): Promise<DescribedCommand[]> {
  const recipes = words(...(await shippedRecipeNames()))
  const described: DescribedCommand[] = []
  for (const { name, summary, load } of commands) {
    const command = new Command(name)
    const module = await load()
    module.configure(command)
    described.push({
      name,
      summary,
      options: optionsOf(command, recipes),
      arguments: argumentsOf(command, recipes),
    })
  }
  return described
}

function optionsOf(command: Command, recipes: Offer): DescribedOption[] {
  const name = command.name()
  const options = command.options
    .filter(option => !option.hidden)
    .map((option): DescribedOption => {
      // commander takes any [ in an option's form for the mark of a value that may be left out.
      const [, open, value] = /([<[])(.+)[>\]]$/.exec(option.flags) ?? []
      const long = option.long ?? ''
      const { defaultValue } = option
      const byDefault =
        typeof defaultValue === 'string' && defaultValue !== '' ? ` (default: ${defaultValue})` : ''
      const offer =
        `${name} ${long}` === 'apply --show'
          ? recipes
          : (OPTION_VALUES[`${name} ${long}`] ?? OPTION_VALUES[long] ?? NOTHING)
      return {
        ...(option.short === undefined ? {} : { short: option.short }),
        ...(option.long === undefined ? {} : { long: option.long }),
        help: `${option.description}${byDefault}`,
        ...(value === undefined ? {} : { value: { name: value, optional: open === '[', offer } }),
      }
    })
  const taken = options.some(({ short }) => short === '-h')
  return [...options, { ...(taken ? {} : { short: '-h' }), long: '--help', help: 'tell more' }]
}

function argumentsOf(command: Command, recipes: Offer): DescribedCommand['arguments'] {
  const name = command.name()
  if (name === 'snapshot')
    return [
      { name: 'action', offer: words('list', 'create', 'apply', 'delete') },
      { name: 'image', offer: IMAGE },
      { name: 'snapshot', offer: NOTHING },
    ]
  const found = command.registeredArguments.map(argument => {
    const known = ARGUMENTS[`${name} ${argument.name()}`] ?? ARGUMENTS[argument.name()]
    const recipe: Offer = { ...recipes, orFiles: true } as Offer
    return { name: argument.name(), offer: argument.name() === 'recipe' ? recipe : (known ?? NOTHING) }
  })
  const last = command.registeredArguments.at(-1)
  return last?.variadic ? found : [...found, { name: '', offer: NOTHING }]
}
