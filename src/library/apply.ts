import { temporaryStorage } from '../device/file-temporary.ts'
import { OverlayDevice } from '../device/overlay-device.ts'
import { ChangeRecorder } from '../guest/change-recorder.ts'
import type { GuestChange } from '../guest/guest-changes.ts'
import type { GuestFs } from '../guest/guest-fs.ts'
import { openGuest } from '../guest/open-guest.ts'
import { steps } from '../operations/steps/index.ts'
import {
  applyRecipe,
  loadRecipe,
  planRecipe,
  type RecipePlan,
  type RecipeReader,
  type RecipeReport,
  throwProblems,
} from '../recipe/index.ts'
import { readVolumes } from '../volume/read-volumes.ts'
import { hostAccess } from './host-access.ts'
import { type OpenDiskOptions, openDisk } from './open-disk.ts'
import { openImage } from './open-image.ts'
import { hostRecipes } from './recipes.ts'
import { drydiskVersion } from './version.ts'

/** What `apply` takes. */
export interface ApplyOptions {
  /** Values of the recipe's variables. */
  readonly variables?: Readonly<Record<string, string>>
  /** Images that are edited at the same time; 4 when left out. */
  readonly jobs?: number
  /** Goes on with other images after an error; false when left out. */
  readonly keepGoing?: boolean
  /** Edits nothing, and tells of each image what would change. */
  readonly dryRun?: boolean
  /** As in `Image.guest`, in all images. */
  readonly root?: string
  readonly open?: Omit<OpenDiskOptions, 'writable'>
  /** Where recipes come from; files of the host and those that drydisk brings along when left out. */
  readonly read?: RecipeReader
  /** Aborted: no image is begun any more, and one that is being edited stays as it was unless its commit has begun. */
  readonly signal?: AbortSignal
  readonly onProgress?: (progress: ApplyProgress) => void
}

/** A recipe that a program has made, rather than a file: YAML, of which JSON is a part. */
export interface RecipeSource {
  readonly text: string
  /** As messages call it; `recipe` when left out. Relative paths in it are meant from the current folder. */
  readonly name?: string
}

/** Told when an image is begun, after each of its steps, and when it is done. */
export interface ApplyProgress {
  readonly image: string
  readonly status: 'editing' | 'done' | 'failed'
  /** Steps of the recipe that are dealt with. */
  readonly done: number
  readonly total: number
}

/** What became of an image. */
export type AppliedImage =
  | { readonly image: string; readonly status: 'not started' }
  | {
      readonly image: string
      readonly status: 'done'
      readonly report: RecipeReport
      /** With `dryRun`: what would change. */
      readonly changes?: readonly GuestChange[]
    }
  /** The image is as it was. */
  | { readonly image: string; readonly status: 'failed'; readonly error: unknown }

/**
 * Edits images by a recipe: a path, the name of a recipe that drydisk brings along, its text, or a plan that was made before. All that
 * can be wrong with the recipe is found before an image is opened (`ERR_INVALID_ARGUMENT`). Each image has a commit of its own: an error leaves
 * that one as it was, and is in its result.
 */
export async function apply(
  recipe: string | RecipeSource | RecipePlan,
  images: string | readonly string[],
  options: ApplyOptions = {},
): Promise<AppliedImage[]> {
  const plan = typeof recipe !== 'string' && 'steps' in recipe ? recipe : await planOf(recipe, options)
  throwProblems(plan.problems)
  const paths = typeof images === 'string' ? [images] : images
  const results = paths.map((image): AppliedImage => ({ image, status: 'not started' }))
  const { jobs = 4, keepGoing = false, signal } = options
  let next = 0
  let failed = false
  const work = async (): Promise<void> => {
    while (next < paths.length && (keepGoing || !failed) && !signal?.aborted) {
      const at = next++
      const image = paths[at]
      if (image === undefined) return
      const result = await applyTo(image, plan, options)
      results[at] = result
      if (result.status === 'failed') failed = true
    }
  }
  await Promise.all(Array.from({ length: Math.max(1, Math.min(jobs, paths.length)) }, work))
  return results
}

async function planOf(
  source: string | RecipeSource,
  { variables = {}, read = hostRecipes }: ApplyOptions,
): Promise<RecipePlan> {
  const { text, name = 'recipe' } = typeof source === 'string' ? { text: undefined, name: source } : source
  const reader: RecipeReader = {
    read: async (reference, from) =>
      from === undefined && text !== undefined
        ? { file: name, text, host: hostAccess() }
        : read.read(reference, from),
  }
  const recipe = await loadRecipe(name, { read: reader, steps, version: drydiskVersion() })
  return planRecipe(recipe, new Map(Object.entries(variables)))
}

async function applyTo(image: string, plan: RecipePlan, options: ApplyOptions): Promise<AppliedImage> {
  const total = plan.steps.length
  let done = 0
  const tell = (status: ApplyProgress['status']) => options.onProgress?.({ image, status, done, total })
  const run = (guest: GuestFs) =>
    applyRecipe(guest, plan, {
      ...(options.signal === undefined ? {} : { signal: options.signal }),
      onStep: count => {
        done = count
        tell('editing')
      },
    })
  tell('editing')
  try {
    const made = options.dryRun ? await preview(image, run, options) : await edit(image, run, options)
    tell('done')
    return { image, status: 'done', ...made }
  } catch (error) {
    tell('failed')
    return { image, status: 'failed', error }
  }
}

type Run = (guest: GuestFs) => Promise<RecipeReport>

async function edit(
  place: string,
  run: Run,
  { open, root }: ApplyOptions,
): Promise<{ report: RecipeReport }> {
  const image = await openImage(place, { ...open, writable: true })
  try {
    const { fs } = await image.guest(root === undefined ? {} : { root })
    const report = await run(fs)
    await image.commit()
    return { report }
  } finally {
    await image.close()
  }
}

/** Over a copy of what changes, so that the image need not be writable and no other writer is kept out. */
async function preview(
  place: string,
  run: Run,
  { open, root }: ApplyOptions,
): Promise<{ report: RecipeReport; changes: readonly GuestChange[] }> {
  const { disk } = await openDisk(place, open)
  const overlay = new OverlayDevice(disk, { spill: temporaryStorage })
  try {
    const { volumes } = await readVolumes(overlay)
    const { fs } = await openGuest(volumes, { writable: true, ...(root === undefined ? {} : { root }) })
    const recorder = new ChangeRecorder(fs)
    const report = await run(recorder)
    return { report, changes: await recorder.changes() }
  } finally {
    await overlay.close()
  }
}
