import { compareVersions } from './condition.ts'
import type { Problems } from './problem.ts'
import type { YamlText } from './yaml-tree.ts'

/** Whether this drydisk is one that a recipe asks for: `0.2`, `>=0.2`, `>=0.2 <1`. */
export function checkRequires(source: YamlText, version: string | undefined, problems: Problems): void {
  const parts = source.text.trim().split(/\s+/)
  for (const part of parts) {
    const [, operator = '', number] = /^(>=|>|<=|<|)(\d+(?:\.\d+)*)$/.exec(part) ?? []
    if (number === undefined) {
      problems.error(source.place, `"${part}" is no version of drydisk; expected 0.2, ">=0.2" or ">=0.2 <1"`)
      return
    }
    const order = version === undefined ? undefined : compareVersions(version, number)
    if (order === undefined) continue
    const met =
      operator === '>'
        ? order > 0
        : operator === '<'
          ? order < 0
          : operator === '<='
            ? order <= 0
            : order >= 0
    if (!met) problems.error(source.place, `this recipe requires drydisk ${source.text}; this is ${version}`)
  }
}
