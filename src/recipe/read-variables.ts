import { throwProblems } from './plan.ts'
import { Problems } from './problem.ts'
import { VARIABLE_NAME } from './template.ts'
import { parseYamlTree } from './yaml-tree.ts'

/** The values of variables from a file of YAML (or JSON): one mapping of names to texts. `ERR_INVALID_ARGUMENT` names the place. */
export async function readVariables(text: string, file: string): Promise<ReadonlyMap<string, string>> {
  const problems = new Problems()
  const tree = await parseYamlTree(text, file, problems)
  const values = new Map<string, string>()
  if (tree?.kind === 'map')
    for (const { key, keyPlace, value } of tree.entries)
      if (!VARIABLE_NAME.test(key)) problems.error(keyPlace, `"${key}" is no name of a variable`)
      else if (value.kind === 'text') values.set(key, value.text)
      else problems.error(value.place, `${key} is a text`)
  else if (tree && (tree.kind !== 'text' || tree.text !== ''))
    problems.error(tree.place, 'a file of variables is a mapping (NAME: VALUE)')
  throwProblems(problems.list)
  return values
}
