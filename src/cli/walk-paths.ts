import { printable, toBytes } from '../bytes/names.ts'
import { describe } from './errors.ts'
import { warn } from './output.ts'

/** Runs a step for each path; a path that fails is told of and the others go on. True when all went well. */
export async function forEachPath(
  paths: readonly string[],
  json: boolean,
  errors: { path: string; code: string; message: string }[],
  step: (path: string) => Promise<void>,
): Promise<boolean> {
  let all = true
  for (const path of paths)
    try {
      await step(path)
    } catch (error) {
      all = false
      const { code, message } = describe(error)
      if (code === 'ERR_INTERNAL') throw error
      errors.push({ path: printable(toBytes(path)), code, message })
      if (!json) warn(message)
    }
  return all
}
