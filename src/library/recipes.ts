import { readdir, readFile } from 'node:fs/promises'
import { dirname, isAbsolute, join } from 'node:path'
import { DrydiskError } from '../errors.ts'
import type { RecipeReader, RecipeText } from '../recipe/index.ts'
import { hostAccess } from './host-access.ts'
import { refuseLarge, unreadable } from './host-text.ts'

/** The package's folder of recipes: the same from src/cli, dist/cli and dist/bin. */
const SHIPPED = new URL('../../recipes/', import.meta.url)

/** A name without dots and slashes is that of a shipped recipe. */
const NAME = /^[\w-]+$/

/** The names of the recipes that are shipped, sorted. */
export async function shippedRecipeNames(): Promise<string[]> {
  const files = await readdir(SHIPPED)
  return files
    .filter(file => file.endsWith('.yaml'))
    .map(file => file.slice(0, -5))
    .sort()
}

/** Reads recipes: files of this machine, and those that are shipped, by their names. */
export const hostRecipes: RecipeReader = {
  async read(reference, from) {
    if (NAME.test(reference)) return shipped(reference)
    const path = from ? resolveFrom(from.file, reference) : reference
    try {
      refuseLarge(path)
      return { file: path, text: await readFile(path, 'utf8'), host: hostAccess(dirname(path)) }
    } catch (error) {
      throw new DrydiskError('ENOENT', unreadable(`the recipe ${path}`, error), { path })
    }
  },
}

/** A path in a recipe is meant from the recipe's own folder. */
function resolveFrom(file: string, reference: string): string {
  return isAbsolute(reference) ? reference : join(dirname(file), reference)
}

async function shipped(name: string): Promise<RecipeText> {
  const names = await shippedRecipeNames()
  if (!names.includes(name))
    throw new DrydiskError(
      'ENOENT',
      `no recipe "${name}" is shipped (drydisk apply --list lists them); a file is named with its folder or ending: ./${name}`,
    )
  return {
    file: name,
    text: await readFile(new URL(`${name}.yaml`, SHIPPED), 'utf8'),
    // Shipped recipes refer to no files but those that their variables name: meant from the current folder.
    host: hostAccess(),
  }
}
