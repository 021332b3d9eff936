import { availableParallelism } from 'node:os'
import { resolve } from 'node:path'
import { type Command, Option } from 'commander'
import { hostAccess } from '../../library/host-access.ts'
import { hostRecipes, shippedRecipeNames } from '../../library/recipes.ts'
import { drydiskVersion } from '../../library/version.ts'
import { steps } from '../../operations/steps/index.ts'
import {
  loadRecipe,
  planRecipe,
  problemText,
  type Recipe,
  type RecipePlan,
  readVariables,
} from '../../recipe/index.ts'
import { applyToImages, type ImageResult } from '../apply-images.ts'
import { AlreadyReported, Finished, STATUS, UsageError } from '../errors.ts'
import { type WriteOptions, writeOptions } from '../options.ts'
import { print, printJson, warn } from '../output.ts'

interface ApplyOptions extends WriteOptions {
  readonly var: readonly string[]
  readonly vars: readonly string[]
  readonly jobs?: number
  readonly keepGoing?: boolean
  readonly check?: boolean
  readonly list?: boolean
  readonly show?: string
}

const collect = (value: string, before: readonly string[]) => [...before, value]

function jobCount(text: string): number {
  if (!/^[1-9]\d{0,3}$/.test(text)) throw new UsageError(`--jobs is ${text}; expected a number from 1 on`)
  return Number(text)
}

export function configure(command: Command): void {
  writeOptions(command)
    .argument('[recipe]', 'a file, or the name of a shipped recipe')
    .argument('[images...]', 'the images')
    .addOption(new Option('--var <name=value>', 'the value of a variable').argParser(collect).default([], ''))
    .addOption(
      new Option('--vars <file>', 'values of variables from a file of YAML or JSON')
        .argParser(collect)
        .default([], ''),
    )
    .option('-j, --jobs <n>', 'images edited at the same time; as many as there are processors', jobCount)
    .option('-k, --keep-going', 'go on with the other images after an error')
    .option('--check', 'only look through the recipe and the values of its variables')
    .option('--list', 'list the shipped recipes')
    .option('--show <name>', 'print a shipped recipe')
    .addHelpText(
      'after',
      `
A recipe lists edits (the options of customize), with variables and conditions: docs/recipes.md. What can be wrong with it is found,
with line and column, before an image is opened. Each image is edited in one commit of its own: an error leaves that image as it was.
The value of a variable comes from --var, else --vars, else DRYDISK_VAR_NAME in the environment, else its default.
With --json: {"recipe", "dryRun", "problems", "images": [{"image", "status": "done" | "failed" | "not started", "operations",
"skipped", "files"?, "error"?}]}; operations as those of customize, with "recipe" (file and line) and "label".
Exit status: 0 all done, 1 an image failed, 2 the recipe is wrong.

Examples:
  drydisk apply openstack-ubuntu ubuntu.qcow2
  drydisk apply ./web.yaml --var HOSTNAME=web1 --dry-run disk.qcow2
  drydisk apply site.yaml --vars site-vars.yaml --jobs 4 --keep-going images/*.qcow2
  drydisk apply --check site.yaml
  drydisk apply --show growroot > growroot.yaml`,
    )
    .action(async (reference: string | undefined, named: readonly string[], options: ApplyOptions) => {
      if (options.list) return list(options)
      if (options.show !== undefined) {
        const { file, text } = await hostRecipes.read(options.show, undefined)
        return options.json ? printJson({ recipe: file, text }) : print(text)
      }
      if (reference === undefined)
        throw new UsageError('which recipe? Name a file or a shipped recipe (drydisk apply --list)')
      const images = [...(options.add === undefined ? [] : [options.add]), ...named]
      checkImages(images, options.check ?? false)
      const { recipe, plan } = await prepare(reference, options)
      await tellProblems(plan, options)
      if (options.check) return checked(recipe, plan, options)
      const results = await applyToImages(plan, images, options, {
        jobs: options.jobs ?? availableParallelism(),
        keepGoing: options.keepGoing ?? false,
      })
      if (options.json)
        await printJson({
          recipe: plan.name,
          dryRun: options.dryRun ?? false,
          problems: plan.problems,
          images: results.map(jsonResult),
        })
      if (results.some(one => one.status !== 'done')) throw new AlreadyReported('not every image was edited')
    })
}

function checkImages(images: readonly string[], check: boolean): void {
  if (check) {
    if (images.length > 0) throw new UsageError(`--check opens no image: what is "${images[0]}"?`)
    return
  }
  if (images.length === 0) throw new UsageError('which image? Name one or more behind the recipe')
  const paths = images.map(image => resolve(image))
  const twice = images.find((_, i) => paths.indexOf(paths[i] ?? '') !== i)
  if (twice !== undefined) throw new UsageError(`the image ${twice} is named twice`)
}

async function prepare(
  reference: string,
  options: ApplyOptions,
): Promise<{ recipe: Recipe; plan: RecipePlan }> {
  const read = options.check
    ? // Looking at a recipe asks nobody for passwords.
      {
        read: async (...args: Parameters<typeof hostRecipes.read>) => {
          const text = await hostRecipes.read(...args)
          return { ...text, host: { ...text.host, inputLine: async () => 'a line of standard input' } }
        },
      }
    : hostRecipes
  const recipe = await loadRecipe(reference, { read, steps, version: drydiskVersion() })
  const given = new Map<string, string>()
  for (const file of options.vars) for (const [name, value] of await varsOf(file)) given.set(name, value)
  // One file may serve several recipes.
  for (const name of [...given.keys()]) if (!recipe.variables.has(name)) given.delete(name)
  for (const text of options.var) {
    const equals = text.indexOf('=')
    if (equals < 1) throw new UsageError(`--var ${text} is not of the form NAME=VALUE`)
    given.set(text.slice(0, equals), text.slice(equals + 1))
  }
  return { recipe, plan: await planRecipe(recipe, given) }
}

async function varsOf(file: string): Promise<ReadonlyMap<string, string>> {
  return readVariables(await hostAccess().readText(file), file)
}

/** Warnings go on; errors end the command with status 2. */
async function tellProblems(plan: RecipePlan, options: ApplyOptions): Promise<void> {
  const failed = plan.problems.some(one => one.severity === 'error')
  if (options.json && (failed || options.check))
    await printJson({ recipe: plan.name, problems: plan.problems, images: [] })
  else if (!options.json) for (const problem of plan.problems) warn(problemText(problem))
  if (failed) throw new Finished(STATUS.usage)
}

async function checked(recipe: Recipe, plan: RecipePlan, options: ApplyOptions): Promise<void> {
  if (options.json || options.quiet) return
  const count = plan.steps.length
  await print(`${recipe.file}: ${count} step${count === 1 ? '' : 's'}, nothing wrong\n`)
}

function jsonResult({ image, status, report, json, error }: ImageResult): unknown {
  return {
    image,
    status,
    ...(json ?? {}),
    ...(report ? { skipped: report.skipped } : {}),
    ...(error ? { error } : {}),
  }
}

async function list(options: ApplyOptions): Promise<void> {
  const recipes = []
  for (const name of await shippedRecipeNames()) {
    const { description, variables } = await loadRecipe(name, { read: hostRecipes, steps })
    recipes.push({
      name,
      description,
      variables: [...variables.values()].flatMap(([first]) =>
        first
          ? [
              {
                name: first.name,
                description: first.description,
                default: first.default ?? null,
                required: first.required,
                ...(first.choices ? { choices: first.choices } : {}),
              },
            ]
          : [],
      ),
    })
  }
  if (options.json) return printJson(recipes)
  const width = Math.max(...recipes.map(one => one.name.length))
  await print(
    recipes.map(({ name, description }) => `${name.padEnd(width)}  ${firstSentence(description)}\n`).join(''),
  )
}

function firstSentence(text: string): string {
  return (/^.*?[.:](?=\s|$)/s.exec(text)?.[0] ?? text).replace(/\s+/g, ' ').trim()
}
