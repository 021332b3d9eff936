import {
  changeKernelArguments,
  isRepeatable,
  isRivalConsole,
  type KernelArgumentChange,
  kernelArgumentKey,
  ownArguments,
} from '../config/kernel-arguments.ts'
import {
  type Assignment,
  editAssignment,
  parseAssignments,
  refersToItself,
  type ShellEnvironment,
  type ShellValue,
  setShellValue,
  sourceInto,
} from '../config/shell-assignments.ts'
import type { DecodedText } from '../config/text.ts'
import { DrydiskError } from '../errors.ts'
import type { GuestFs } from '../guest/guest-fs.ts'
import { listFolder, readConfig, writeConfig } from './guest-files.ts'

const MAIN = '/etc/default/grub'

interface SourcedFile {
  readonly path: string
  readonly before: DecodedText
  text: string
}

/** How a change of the command line is split between GRUB_CMDLINE_LINUX and GRUB_CMDLINE_LINUX_DEFAULT. */
export interface SplitChange {
  readonly common: KernelArgumentChange[]
  readonly normal: KernelArgumentChange[]
}

/**
 * The variables that grub-mkconfig sources: /etc/default/grub, then /etc/default/grub.d/*.cfg (Debian's and Ubuntu's
 * grub-mkconfig), of which Ubuntu's 50-cloudimg-settings.cfg is one.
 */
export class GrubDefaults {
  readonly #guest: GuestFs
  readonly #files: SourcedFile[]

  private constructor(guest: GuestFs, files: SourcedFile[]) {
    this.#guest = guest
    this.#files = files
  }

  /** `undefined` where the guest has no /etc/default/grub. */
  static async load(guest: GuestFs): Promise<GrubDefaults | undefined> {
    const files: SourcedFile[] = []
    for (const path of [MAIN, ...(await listFolder(guest, '/etc/default/grub.d', /^[^.].*\.cfg$/))]) {
      const before = await readConfig(guest, path)
      if (before) files.push({ path, before, text: before.text })
      else if (path === MAIN) return undefined
    }
    return new GrubDefaults(guest, files)
  }

  value(name: string): ShellValue | undefined {
    return this.#environment().get(name)
  }

  #environment(): ShellEnvironment {
    const environment: ShellEnvironment = new Map()
    for (const file of this.#files) this.#inFile(file, () => sourceInto(environment, file.text, file.path))
    return environment
  }

  /** An unclosed quote is reported with the file that holds it. */
  #inFile<T>(file: SourcedFile, action: () => T): T {
    try {
      return action()
    } catch (error) {
      if (!(error instanceof DrydiskError)) throw error
      throw new DrydiskError(
        error.code,
        `${file.path}: ${error.message}`,
        { ...error.context, path: file.path },
        error,
      )
    }
  }

  /** Sets a variable where it is decided now, else in the main file. `ERR_NOT_EFFECTIVE` where that does not decide it. */
  set(name: string, value: string): void {
    const now = this.value(name)
    if (now?.literal && now.text === value) return
    const file = this.#files.find(f => f.path === now?.file) ?? this.#files[0]
    if (!file) return
    file.text = setShellValue(file.text, name, value)
    const result = this.value(name)
    if (result?.text !== value || !result.literal) throw this.#notEffective(name, value, result)
  }

  #notEffective(name: string, wanted: string, result: ShellValue | undefined): DrydiskError {
    return new DrydiskError(
      'ERR_NOT_EFFECTIVE',
      `${name} still is ${JSON.stringify(result?.text ?? '')} by ${result?.file}:${result?.line}, wanted ${JSON.stringify(wanted)}; edit that place by hand`,
      { path: result?.file, line: result?.line },
    )
  }

  /** The command line that grub-mkconfig gives to normal entries, and the part that recovery entries get as well. */
  commandLines(): { normal: string; common: string; literal: boolean } {
    const common = this.value('GRUB_CMDLINE_LINUX')
    const own = this.value('GRUB_CMDLINE_LINUX_DEFAULT')
    return {
      // 10_linux joins them with one space, whatever they hold.
      normal: `${common?.text ?? ''} ${own?.text ?? ''}`,
      common: common?.text ?? '',
      literal: (common?.literal ?? true) && (own?.literal ?? true),
    }
  }

  /** Makes the changes in the variables where each belongs, and tells which part recovery entries get. */
  changeArguments(changes: readonly KernelArgumentChange[]): SplitChange {
    const all: SplitChange = { common: [], normal: [] }
    for (const change of changes) {
      const split = this.#split(change)
      for (const one of split.common) this.#change('GRUB_CMDLINE_LINUX', one)
      for (const one of split.normal) this.#change('GRUB_CMDLINE_LINUX_DEFAULT', one)
      all.common.push(...split.common)
      all.normal.push(...split.normal)
      const { normal } = this.commandLines()
      if (changeKernelArguments(normal, [change]) !== normal)
        throw this.#notEffective(
          'the kernel command line',
          changeKernelArguments(normal, [change]).trim(),
          this.value('GRUB_CMDLINE_LINUX_DEFAULT') ?? this.value('GRUB_CMDLINE_LINUX'),
        )
    }
    return all
  }

  #split(change: KernelArgumentChange): SplitChange {
    const { normal, common } = this.commandLines()
    if (changeKernelArguments(normal, [change]) === normal) return { common: [], normal: [] }
    const own = this.value('GRUB_CMDLINE_LINUX_DEFAULT')?.text ?? ''
    const has = (line: string, key: string) =>
      ownArguments(line).filter(a => kernelArgumentKey(a.text) === key)
    if (change.action === 'last') {
      // All arguments of these keys move to the variable that every entry gets, so that their order is one.
      const keys = [...new Set(change.arguments.map(kernelArgumentKey))]
      const moved = keys.flatMap(key => has(own, key)).map(a => a.text)
      return {
        normal: keys.map(argument => ({ action: 'remove', argument })),
        common: [...moved.map(argument => ({ action: 'append' as const, argument })), change],
      }
    }
    if (change.action === 'remove') return { common: [change], normal: [change] }
    const rivals = (line: string) => ownArguments(line).filter(a => isRivalConsole(a.text, change.argument))
    const inBoth = rivals(common).map(({ text }) => ({ action: 'remove' as const, argument: text }))
    if (rivals(own).length > 0) return { common: inBoth, normal: [change] }
    if (inBoth.length > 0) return { common: [change], normal: [] }
    const key = kernelArgumentKey(change.argument)
    const inOwn = has(own, key).length > 0
    if (isRepeatable(key) || change.action === 'append')
      return inOwn ? { common: [], normal: [change] } : { common: [change], normal: [] }
    if (has(common, key).length > 0)
      return { common: [change], normal: inOwn ? [{ action: 'remove', argument: key }] : [] }
    return inOwn ? { common: [], normal: [change] } : { common: [change], normal: [] }
  }

  /** Changes the tokens of every assignment that the variable's value is made of; what is added goes to the last. */
  #change(name: string, change: KernelArgumentChange): void {
    const value = this.value(name)?.text ?? ''
    if (changeKernelArguments(value, [change]) === value) return
    const anchor = this.#assignments(name)[0]
    if (!anchor) {
      const file = this.#files[0]
      const text = changeKernelArguments('', [change])
      if (file && text !== '') file.text = setShellValue(file.text, name, text)
      return
    }
    // Each edit moves what stands behind it, so the assignments are found anew by their place in the order.
    const count = this.#assignments(name).length
    for (let i = 0; i < count; i++) {
      const place = this.#assignments(name)[i]
      if (!place) continue
      const removal = i > 0 || place.assignment.conditional
      place.file.text = editAssignment(place.file.text, place.assignment, text =>
        removal ? removeOnly(text, change) : changeKernelArguments(text, [change]),
      )
    }
  }

  /** The assignments that reach the value, the last unconditional one first. */
  #assignments(name: string): { file: SourcedFile; assignment: Assignment }[] {
    const reaching: { file: SourcedFile; assignment: Assignment }[] = []
    for (const file of this.#files.toReversed())
      for (const assignment of this.#inFile(file, () => parseAssignments(file.text)).reverse()) {
        if (assignment.name !== name) continue
        reaching.push({ file, assignment })
        if (!assignment.conditional && !refersToItself(assignment)) return sortAnchorFirst(reaching)
      }
    return sortAnchorFirst(reaching)
  }

  /** Writes the files that changed; the paths of those. */
  async save(): Promise<string[]> {
    const written: string[] = []
    for (const file of this.#files)
      if (await writeConfig(this.#guest, file.path, file.before, file.text)) written.push(file.path)
    return written
  }
}

function sortAnchorFirst<T extends { assignment: Assignment }>(places: T[]): T[] {
  return [...places.filter(p => !p.assignment.conditional), ...places.filter(p => p.assignment.conditional)]
}

/** What a change takes away, without what it adds: for assignments that another one builds on. */
function removeOnly(text: string, change: KernelArgumentChange): string {
  if (
    change.action === 'append' ||
    (change.action === 'set' && isRepeatable(kernelArgumentKey(change.argument)))
  )
    return text
  const removed = change.action === 'last' ? change.arguments : [kernelArgumentKey(change.argument)]
  return changeKernelArguments(
    text,
    change.action === 'remove' ? [change] : removed.map(argument => ({ action: 'remove', argument })),
  )
}
