import { DrydiskError } from '../../../src/errors.ts'
import { bytesSource } from '../../../src/operations/index.ts'
import { type HostAccess, steps } from '../../../src/operations/steps/index.ts'
import { loadRecipe, planRecipe, problemText, type RecipeReader } from '../../../src/recipe/index.ts'

const encode = (text: string) => new TextEncoder().encode(text)

/** A host with these files and variables. */
export function testHost(
  files: Readonly<Record<string, string>> = {},
  environment: Readonly<Record<string, string>> = {},
): HostAccess {
  const read = (path: string) => {
    const text = files[path]
    if (text === undefined) throw new DrydiskError('ERR_INVALID_ARGUMENT', `the file ${path} cannot be read`)
    return text
  }
  return {
    readText: async path => read(path),
    readBytes: async path => encode(read(path)),
    source: path => bytesSource(path, encode(read(path))),
    mode: async () => 0o644,
    tree: async path => ({
      name: encode(path),
      mode: 0o644,
      content: { type: 'file', source: bytesSource(path, encode(read(path))) },
    }),
    environment: name => environment[name],
    inputLine: async () => 'a line',
    publicKey: async () => 'ssh-ed25519 AAAA',
  }
}

export interface Given {
  readonly variables?: Readonly<Record<string, string>>
  readonly environment?: Readonly<Record<string, string>>
  readonly hostFiles?: Readonly<Record<string, string>>
  readonly version?: string
}

export function reader(files: Readonly<Record<string, string>>, given: Given = {}): RecipeReader {
  const host = testHost(given.hostFiles, given.environment)
  return {
    async read(reference) {
      const text = files[reference]
      if (text === undefined) throw new DrydiskError('ENOENT', `no recipe "${reference}"`)
      return { file: reference, text, host }
    },
  }
}

/** Loads and plans the recipe `r` among some files. */
export async function plan(recipe: string | Readonly<Record<string, string>>, given: Given = {}) {
  const files = typeof recipe === 'string' ? { r: recipe } : recipe
  const { version } = given
  const loaded = await loadRecipe('r', {
    read: reader(files, given),
    steps,
    ...(version === undefined ? {} : { version }),
  })
  return planRecipe(loaded, new Map(Object.entries(given.variables ?? {})))
}

/** What is wrong with a recipe, as it is printed. */
export async function problems(
  recipe: string | Readonly<Record<string, string>>,
  given: Given = {},
): Promise<string[]> {
  return (await plan(recipe, given)).problems.map(problemText)
}
