import { existsSync, statSync } from 'node:fs'
import { UsageError } from './errors.ts'

/** A file on the host, or a path in an image. */
export interface Location {
  /** `undefined`: on the host. */
  readonly image: string | undefined
  readonly path: string
}

function isFile(path: string): boolean {
  try {
    const stats = statSync(path)
    return stats.isFile() || stats.isBlockDevice()
  } catch {
    return false
  }
}

/**
 * Splits `IMAGE:PATH` at the first colon behind the name of a file that is there. Whatever exists as it stands is itself a
 * path on the host, so that a file name with a colon works too.
 */
export function parseLocation(text: string): Location {
  if (existsSync(text)) return { image: undefined, path: text }
  for (let colon = text.indexOf(':', 1); colon > 0; colon = text.indexOf(':', colon + 1)) {
    const image = text.slice(0, colon)
    if (isFile(image)) return { image, path: text.slice(colon + 1) || '/' }
  }
  return { image: undefined, path: text }
}

/** The image and the paths of `IMAGE PATH…`, `IMAGE:PATH…` and `-a IMAGE PATH…`. */
export function imageAndPaths(
  args: readonly string[],
  add: string | undefined,
): { image: string; paths: string[] } {
  if (add !== undefined) return { image: add, paths: [...args] }
  const [first, ...rest] = args
  if (first === undefined) throw new UsageError('which image? Name it first, or with -a IMAGE')
  const location = parseLocation(first)
  if (location.image === undefined) return { image: first, paths: rest }
  return { image: location.image, paths: [location.path, ...rest] }
}
