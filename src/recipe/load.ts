import { isDrydiskError } from '../errors.ts'
import type { HostAccess, Step } from '../operations/steps/index.ts'
import { type Place, Problems, type RecipeProblem } from './problem.ts'
import { checkRequires } from './requires.ts'
import {
  type Condition,
  type RecipeFile,
  readRecipeFile,
  type StepEntry,
  usesOf,
  type VariableDeclaration,
} from './syntax.ts'
import { parseYamlTree } from './yaml-tree.ts'

/** Files in files in files: deeper is an accident. */
const MAX_INCLUDE_DEPTH = 16
/** Files that include two files that include two files … */
const MAX_INCLUDES = 200
const MAX_STEPS = 10_000

/** A recipe's text, and the world as its steps see it. */
export interface RecipeText {
  /** What it is called in messages; the same file has the same name. */
  readonly file: string
  readonly text: string
  /** Relative paths in the recipe are meant from this one's folder. */
  readonly host: HostAccess
}

/** Finds recipes: shipped ones by name, others by their path from the file that includes them. */
export interface RecipeReader {
  /** `ENOENT` where there is none. */
  read(reference: string, from: RecipeText | undefined): Promise<RecipeText>
}

/** A step of a recipe or of one that it includes. */
export interface LoadedStep {
  readonly entry: StepEntry
  readonly host: HostAccess
  /** Its own, and before them those of what includes it: shared by all steps of one inclusion. */
  readonly conditions: readonly Condition[]
}

/** A recipe as it was read, those that it includes put in. */
export interface Recipe {
  readonly file: string
  readonly name: string
  readonly description: string
  /** By name; of several declarations (in included files) the outermost comes first. */
  readonly variables: ReadonlyMap<string, readonly VariableDeclaration[]>
  /** In the order in which they run. */
  readonly steps: readonly LoadedStep[]
  readonly host: HostAccess
  readonly problems: readonly RecipeProblem[]
}

/** What `loadRecipe` takes. */
export interface LoadOptions {
  readonly read: RecipeReader
  /** Every step that a recipe may use. */
  readonly steps: readonly Step[]
  /** drydisk's own version, for `requires`; not checked when left out. */
  readonly version?: string
}

/** Reads a recipe and all that it includes. What is wrong with them is in `problems`; nothing but a missing file is thrown. */
export async function loadRecipe(reference: string, options: LoadOptions): Promise<Recipe> {
  const loader = new Loader(options)
  return loader.load(await options.read.read(reference, undefined))
}

class Loader {
  readonly #options: LoadOptions
  readonly #problems = new Problems()
  readonly #files = new Map<string, RecipeFile>()
  readonly #variables = new Map<string, VariableDeclaration[]>()
  readonly #steps: LoadedStep[] = []
  readonly #used = new Set<string>()
  readonly #uses: { name: string; place: Place }[] = []
  #includes = 0

  constructor(options: LoadOptions) {
    this.#options = options
  }

  async load(text: RecipeText): Promise<Recipe> {
    const file = await this.#file(text)
    await this.#take(text, [], [])
    for (const { name, place } of this.#uses)
      if (!this.#variables.has(name))
        this.#problems.error(place, `the variable ${name} is not declared under "variables"`)
    for (const [name, declarations] of this.#variables)
      for (const { place } of declarations)
        if (!this.#used.has(name)) this.#problems.warn(place, `the variable ${name} is used nowhere`)
    return {
      file: text.file,
      name: file.name || text.file.replace(/^.*\//s, '').replace(/\.ya?ml$/, ''),
      description: file.description,
      variables: this.#variables,
      steps: this.#steps,
      host: text.host,
      problems: this.#problems.list,
    }
  }

  /** Each file is read once, however often it is included. */
  async #file(source: RecipeText): Promise<RecipeFile> {
    const known = this.#files.get(source.file)
    if (known) return known
    const tree = await parseYamlTree(source.text, source.file, this.#problems)
    const file = tree
      ? readRecipeFile(tree, source.file, this.#options.steps, this.#problems)
      : { file: source.file, name: '', description: '', requires: undefined, variables: [], entries: [] }
    this.#files.set(source.file, file)
    if (file.requires) checkRequires(file.requires, this.#options.version, this.#problems)
    for (const declaration of file.variables) {
      const declared = this.#variables.get(declaration.name) ?? []
      this.#variables.set(declaration.name, [...declared, declaration])
    }
    for (const use of file.entries.flatMap(usesOf)) {
      this.#used.add(use.name)
      this.#uses.push(use)
    }
    return file
  }

  async #take(source: RecipeText, within: readonly string[], outer: readonly Condition[]): Promise<void> {
    const { entries } = await this.#file(source)
    const path = [...within, source.file]
    for (const entry of entries) {
      const conditions = [...outer, ...entry.conditions.map(condition => ({ ...condition }))]
      if (entry.kind === 'step') {
        if (this.#steps.length < MAX_STEPS) this.#steps.push({ entry, host: source.host, conditions })
        else
          this.#problems.error(entry.place, `more than ${MAX_STEPS} steps, those of included files counted`)
        continue
      }
      const included = await this.#include(entry.reference, entry.place, source, path)
      if (included) await this.#take(included, path, conditions)
    }
  }

  async #include(
    reference: string,
    place: Place,
    from: RecipeText,
    path: readonly string[],
  ): Promise<RecipeText | undefined> {
    const { read } = this.#options
    if (path.length >= MAX_INCLUDE_DEPTH) {
      this.#problems.error(place, `more than ${MAX_INCLUDE_DEPTH} files deep`)
      return undefined
    }
    if (++this.#includes > MAX_INCLUDES) {
      this.#problems.error(place, `more than ${MAX_INCLUDES} inclusions in all`)
      return undefined
    }
    let included: RecipeText
    try {
      included = await read.read(reference, from)
    } catch (error) {
      if (!isDrydiskError(error)) throw error
      this.#problems.error(place, error.message)
      return undefined
    }
    if (path.includes(included.file)) {
      this.#problems.error(place, `includes itself: ${[...path, included.file].join(' → ')}`)
      return undefined
    }
    return included
  }
}
