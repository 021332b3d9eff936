import type { Step } from '../operations/steps/index.ts'
import { type Expression, expressionVariables, parseExpression } from './expression.ts'
import { type Place, type Problems, suggestion } from './problem.ts'
import { type ValueForm, valueForm } from './step-fields.ts'
import { parseTemplate, type Template, TextProblem, VARIABLE_NAME, variablesOf } from './template.ts'
import type { YamlEntry, YamlMap, YamlNode, YamlText } from './yaml-tree.ts'

/** A variable that a recipe asks for. */
export interface VariableDeclaration {
  readonly name: string
  readonly place: Place
  readonly description: string
  /** `undefined`: none is given. */
  readonly default: string | undefined
  readonly required: boolean
  readonly secret: boolean
  /** Variables of the environment that hold its value, besides DRYDISK_VAR_NAME. */
  readonly env: readonly string[]
  readonly choices: readonly string[] | undefined
}

export interface PlacedTemplate {
  readonly template: Template
  readonly source: YamlText
}

/** What has to hold for a step to run. */
export interface Condition {
  readonly expression: Expression
  /** As it is written. */
  readonly source: YamlText
}

/** A step's value: one text, or one for each field of its form. */
export type StepValue =
  | { readonly kind: 'text'; readonly text: PlacedTemplate }
  | {
      readonly kind: 'fields'
      readonly form: ValueForm
      readonly fields: ReadonlyMap<string, PlacedTemplate>
      readonly place: Place
    }

/** A step as a recipe has it. */
export interface StepEntry {
  readonly kind: 'step'
  readonly step: Step
  /** Where the step's name stands. */
  readonly place: Place
  readonly label: string | undefined
  /** The step is run once for each. */
  readonly values: readonly StepValue[]
  readonly conditions: readonly Condition[]
}

export interface IncludeEntry {
  readonly kind: 'include'
  /** The name of a shipped recipe, or a path from the file's own folder. */
  readonly reference: string
  readonly place: Place
  readonly conditions: readonly Condition[]
}

export type RecipeEntry = StepEntry | IncludeEntry

/** One file of YAML, read. */
export interface RecipeFile {
  readonly file: string
  readonly name: string
  readonly description: string
  readonly requires: YamlText | undefined
  readonly variables: readonly VariableDeclaration[]
  readonly entries: readonly RecipeEntry[]
}

const KEYS = ['name', 'description', 'requires', 'variables', 'include', 'steps']
const VARIABLE_KEYS = ['default', 'description', 'required', 'secret', 'env', 'choices']

/** Reads a file's tree. What is wrong is told to `problems`, and left out. */
export function readRecipeFile(
  root: YamlNode,
  file: string,
  steps: readonly Step[],
  problems: Problems,
): RecipeFile {
  return new FileReader(file, steps, problems).read(root)
}

class FileReader {
  readonly #file: string
  readonly #steps: readonly Step[]
  readonly #problems: Problems

  constructor(file: string, steps: readonly Step[], problems: Problems) {
    this.#file = file
    this.#steps = steps
    this.#problems = problems
  }

  read(root: YamlNode): RecipeFile {
    const map = this.#map(root, 'a recipe')
    const entries = new Map(map.map(entry => [entry.key, entry]))
    for (const { key, keyPlace } of map)
      if (!KEYS.includes(key))
        this.#problems.error(
          keyPlace,
          `a recipe has no "${key}"${suggestion(key, KEYS)}; its keys are ${KEYS.join(', ')}`,
        )
    const text = (key: string) => {
      const entry = entries.get(key)
      return entry && this.#text(entry.value, key)
    }
    const include = entries.get('include')
    const steps = entries.get('steps')
    if (!include && !steps) this.#problems.error(root.place, 'a recipe needs "steps" or "include"')
    return {
      file: this.#file,
      name: text('name')?.text ?? '',
      description: text('description')?.text ?? '',
      requires: text('requires'),
      variables: this.#variables(entries.get('variables')),
      entries: [
        ...(include ? this.#items(include.value).flatMap(item => this.#include(item)) : []),
        ...(steps ? this.#list(steps.value, 'steps').flatMap(item => this.#entry(item)) : []),
      ],
    }
  }

  #map(node: YamlNode, what: string): YamlMap['entries'] {
    if (node.kind === 'map') return node.entries
    if (node.kind === 'text' && node.text === '') return []
    this.#problems.error(node.place, `${what} is a mapping (NAME: VALUE)`)
    return []
  }

  #text(node: YamlNode, what: string): YamlText | undefined {
    if (node.kind === 'text') return node
    this.#problems.error(node.place, `${what} is a text`)
    return undefined
  }

  #list(node: YamlNode, what: string): readonly YamlNode[] {
    if (node.kind === 'list') return node.items
    if (node.kind !== 'text' || node.text !== '')
      this.#problems.error(node.place, `${what} is a list, each item behind a dash`)
    return []
  }

  /** One, or a list of them. */
  #items(node: YamlNode): readonly YamlNode[] {
    return node.kind === 'list' ? node.items : node.kind === 'text' && node.text === '' ? [] : [node]
  }

  #flag(entry: YamlEntry | undefined): boolean {
    if (!entry) return false
    const text = this.#text(entry.value, entry.key)?.text.toLowerCase()
    if (text === 'true' || text === 'yes') return true
    if (text !== 'false' && text !== 'no' && text !== undefined)
      this.#problems.error(entry.value.place, `${entry.key} is true or false`)
    return false
  }

  #variables(entry: YamlEntry | undefined): VariableDeclaration[] {
    if (!entry) return []
    return this.#map(entry.value, 'variables').flatMap(one => this.#variable(one))
  }

  #variable({ key, keyPlace, value }: YamlEntry): VariableDeclaration[] {
    if (!VARIABLE_NAME.test(key)) {
      this.#problems.error(keyPlace, `"${key}" is no name of a variable: letters, digits and _`)
      return []
    }
    const plain = {
      name: key,
      place: keyPlace,
      description: '',
      required: false,
      secret: false,
      env: [],
      choices: undefined,
    }
    if (value.kind === 'text') return [{ ...plain, default: value.text }]
    const entries = new Map(this.#map(value, `the variable ${key}`).map(one => [one.key, one]))
    for (const one of entries.values())
      if (!VARIABLE_KEYS.includes(one.key))
        this.#problems.error(
          one.keyPlace,
          `a variable has no "${one.key}"${suggestion(one.key, VARIABLE_KEYS)}; its keys are ${VARIABLE_KEYS.join(', ')}`,
        )
    const text = (name: string) => {
      const one = entries.get(name)
      return one && this.#text(one.value, name)?.text
    }
    const words = (name: string) => {
      const one = entries.get(name)
      return one && this.#items(one.value).flatMap(item => this.#text(item, name)?.text ?? [])
    }
    const declared = {
      ...plain,
      description: text('description') ?? '',
      default: text('default'),
      required: this.#flag(entries.get('required')),
      secret: this.#flag(entries.get('secret')),
      env: words('env') ?? [],
      choices: words('choices'),
    }
    if (declared.required && declared.default !== undefined)
      this.#problems.warn(keyPlace, `${key} has a default, so "required" means nothing`)
    if (declared.default !== undefined && declared.choices && !declared.choices.includes(declared.default))
      this.#problems.error(
        keyPlace,
        `the default of ${key} is none of its choices: ${declared.choices.join(', ')}`,
      )
    return [declared]
  }

  /** `NAME` or `{recipe: NAME, when: CONDITION}`. */
  #include(node: YamlNode): IncludeEntry[] {
    if (node.kind === 'text') {
      if (node.text !== '')
        return [{ kind: 'include', reference: node.text, place: node.place, conditions: [] }]
      this.#problems.error(node.place, 'the name or the file of a recipe is expected')
      return []
    }
    const entries = new Map(this.#map(node, 'an include').map(one => [one.key, one]))
    for (const one of entries.values())
      if (one.key !== 'recipe' && one.key !== 'when')
        this.#problems.error(one.keyPlace, `an include has no "${one.key}"; its keys are recipe, when`)
    const recipe = entries.get('recipe')
    const reference = recipe && this.#text(recipe.value, 'recipe')
    if (!recipe || !reference?.text) {
      this.#problems.error(node.place, 'an include needs "recipe"')
      return []
    }
    return [
      {
        kind: 'include',
        reference: reference.text,
        place: recipe.value.place,
        conditions: this.#conditions(entries.get('when')),
      },
    ]
  }

  #conditions(entry: YamlEntry | undefined): Condition[] {
    if (!entry) return []
    const items = entry.value.kind === 'list' ? entry.value.items : [entry.value]
    return items.flatMap(item => {
      const source = this.#text(item, 'when')
      if (!source) return []
      try {
        return [{ expression: parseExpression(source.text), source }]
      } catch (error) {
        this.#tell(source, error)
        return []
      }
    })
  }

  #tell(source: YamlText, error: unknown): void {
    if (!(error instanceof TextProblem)) throw error
    this.#problems.error(source.at(error.index), error.message)
  }

  #entry(node: YamlNode): RecipeEntry[] {
    // `- no-zeroconf` alone is a step without a value.
    if (node.kind === 'text') {
      const step = this.#step(node.text, node.place)
      return step ? this.#stepEntry(step, node.place, undefined, [], undefined) : []
    }
    const entries = this.#map(node, 'a step')
    const when = entries.find(one => one.key === 'when')
    const name = entries.find(one => one.key === 'name')
    const rest = entries.filter(one => one !== when && one !== name)
    const [main, second] = rest
    if (!main) {
      this.#problems.error(node.place, 'the name of a step is expected')
      return []
    }
    if (second) {
      this.#problems.error(
        second.keyPlace,
        `"${second.key}" stands beside "${main.key}": each step begins with a dash of its own, and has beside it only name and when`,
      )
      return []
    }
    const conditions = this.#conditions(when)
    if (main.key === 'include')
      return this.#items(main.value)
        .flatMap(item => this.#include(item))
        .map(one => ({ ...one, conditions: [...conditions, ...one.conditions] }))
    const step = this.#step(main.key, main.keyPlace)
    const label = name && this.#text(name.value, 'name')?.text
    return step ? this.#stepEntry(step, main.keyPlace, main.value, conditions, label) : []
  }

  #step(name: string, place: Place): Step | undefined {
    const step = this.#steps.find(one => one.name === name)
    if (!step)
      this.#problems.error(
        place,
        `no step "${name}"${suggestion(name, [...this.#steps.map(one => one.name), 'include'])}; drydisk customize --help lists them`,
      )
    return step
  }

  #stepEntry(
    step: Step,
    place: Place,
    value: YamlNode | undefined,
    conditions: Condition[],
    label: string | undefined,
  ): StepEntry[] {
    const none: YamlText = { kind: 'text', text: '', place, at: () => place }
    const nodes = value === undefined ? [none] : value.kind === 'list' ? value.items : [value]
    const values = nodes.flatMap(node => this.#value(step, node, place))
    return values.length === nodes.length ? [{ kind: 'step', step, place, label, values, conditions }] : []
  }

  #value(step: Step, node: YamlNode, place: Place): StepValue[] {
    if (node.kind === 'list') {
      this.#problems.error(node.place, `${step.name} takes a text, not a list in a list`)
      return []
    }
    if (node.kind === 'text') {
      if (step.value === undefined && node.text !== '')
        this.#problems.error(node.place, `${step.name} takes no value`)
      else if (step.value !== undefined && !step.optional && node.text === '')
        this.#problems.error(place, `${step.name} needs ${step.value}`)
      else {
        const text = this.#template(node)
        return text ? [{ kind: 'text', text }] : []
      }
      return []
    }
    const form = valueForm(step.value)
    if (!form) {
      this.#problems.error(
        node.place,
        step.value === undefined
          ? `${step.name} takes no value`
          : `${step.name} takes its value as one text: ${step.value}`,
      )
      return []
    }
    const fields = new Map<string, PlacedTemplate>()
    for (const entry of node.entries) {
      if (!form.fields.includes(entry.key))
        this.#problems.error(
          entry.keyPlace,
          `${step.name} has no "${entry.key}"${suggestion(entry.key, form.fields)}; it has ${form.fields.join(', ')}`,
        )
      const source = this.#text(entry.value, entry.key)
      const template = source && this.#template(source)
      if (template) fields.set(entry.key, template)
    }
    const missing = form.fields.find(field => !node.entries.some(entry => entry.key === field))
    if (missing !== undefined && !step.optional) {
      this.#problems.error(node.place, `${step.name} needs "${missing}"`)
      return []
    }
    return [{ kind: 'fields', form, fields, place: node.place }]
  }

  #template(source: YamlText): PlacedTemplate | undefined {
    try {
      return { template: parseTemplate(source.text), source }
    } catch (error) {
      this.#tell(source, error)
      return undefined
    }
  }
}

/** Every use of a variable in an entry, with its place. */
export function usesOf(entry: RecipeEntry): { name: string; place: Place }[] {
  const uses = entry.conditions.flatMap(({ expression, source }) =>
    expressionVariables(expression).map(({ name, index }) => ({ name, place: source.at(index) })),
  )
  if (entry.kind === 'include') return uses
  for (const value of entry.values)
    for (const { template, source } of value.kind === 'text' ? [value.text] : value.fields.values())
      for (const { name, index } of variablesOf(template)) uses.push({ name, place: source.at(index) })
  return uses
}
