/** The form of a step's value as names and the characters between them: `FILE:LINE` is file, `:`, line. */
export interface ValueForm {
  readonly fields: readonly string[]
  readonly separators: readonly string[]
}

/** `undefined` where the form is more than names with one character between them: such a value is text only. */
export function valueForm(form: string | undefined): ValueForm | undefined {
  if (form === undefined || !/^[A-Z]+(?:[:=,][A-Z]+)*$/.test(form)) return undefined
  return { fields: form.toLowerCase().split(/[:=,]/), separators: form.match(/[:=,]/g) ?? [] }
}

/**
 * A step's value as text from its fields. Fields at the end may be missing where the step allows it. Says what is wrong as text
 * where a field holds what separates it from the next.
 */
export function joinFields(
  form: ValueForm,
  values: ReadonlyMap<string, string>,
): { text: string } | { wrong: string; field: string } {
  let text = ''
  let missing: string | undefined
  for (const [i, field] of form.fields.entries()) {
    const value = values.get(field)
    if (value === undefined) {
      missing ??= field
      continue
    }
    if (missing !== undefined) return { wrong: `${missing} is needed where ${field} is given`, field }
    const separator = form.separators[i]
    if (separator !== undefined && value.includes(separator))
      return { wrong: `${field} cannot hold "${separator}"`, field }
    text += (i === 0 ? '' : (form.separators[i - 1] ?? '')) + value
  }
  return { text }
}
