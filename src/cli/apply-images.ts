import { applyRecipe, type RecipePlan, type RecipeReport } from '../recipe/index.ts'
import { type EditResult, editResult } from './edit-report.ts'
import { describe } from './errors.ts'
import type { WriteOptions } from './options.ts'
import { print, warn } from './output.ts'
import { editGuest } from './session.ts'

export interface ImageResult {
  readonly image: string
  readonly status: 'done' | 'failed' | 'not started'
  readonly report?: RecipeReport
  readonly json?: EditResult['json']
  readonly error?: ReturnType<typeof describe>
}

/**
 * Edits each image by itself, several at the same time, and tells of each when it is done. Without `keepGoing` no further image is
 * begun after an error; those that were begun are finished.
 */
export async function applyToImages(
  plan: RecipePlan,
  images: readonly string[],
  options: WriteOptions,
  { jobs, keepGoing }: { readonly jobs: number; readonly keepGoing: boolean },
): Promise<ImageResult[]> {
  const results = images.map((image): ImageResult => ({ image, status: 'not started' }))
  const several = images.length > 1
  let next = 0
  let failed = false
  const work = async () => {
    while (next < images.length && (keepGoing || !failed)) {
      const at = next++
      const image = images[at] ?? ''
      const result = await applyToImage(plan, image, options, several)
      results[at] = result
      if (result.status === 'failed') failed = true
    }
  }
  await Promise.all(Array.from({ length: Math.min(jobs, images.length) }, work))
  const left = results.filter(one => one.status === 'not started').length
  if (left > 0 && !options.json)
    warn(
      `${left} image${left === 1 ? ' was' : 's were'} not begun after the error (--keep-going begins them)`,
    )
  return results
}

async function applyToImage(
  plan: RecipePlan,
  image: string,
  options: WriteOptions,
  several: boolean,
): Promise<ImageResult> {
  const tell = (message: string) => {
    if (!options.json) warn(several ? `${image}: ${message}` : message)
  }
  let told: EditResult | undefined
  try {
    const report = await editGuest(
      image,
      options,
      fs => applyRecipe(fs, plan),
      async ({ steps }, recorder) => {
        told = await editResult(options, steps, recorder, plan.variables.hide)
      },
      tell,
    )
    for (const warning of told?.warnings ?? []) tell(warning)
    if (!options.json)
      await print(resultText(image, told?.text ?? '', report, options.quiet ?? false, several))
    return { image, status: 'done', report, ...(told ? { json: told.json } : {}) }
  } catch (error) {
    const described = describe(error)
    tell(described.message)
    if (process.env.DRYDISK_DEBUG === '1' && error instanceof Error) process.stderr.write(`${error.stack}\n`)
    return { image, status: 'failed', error: described }
  }
}

function resultText(
  image: string,
  text: string,
  { skipped, steps }: RecipeReport,
  quiet: boolean,
  several: boolean,
): string {
  if (quiet) return text
  const all = skipped.length + steps.length
  const rest = skipped.length === 0 ? '' : `${skipped.length} of ${all} steps are not for this guest\n`
  return `${several ? `${image}:\n` : ''}${text}${rest}`
}
