import type { Change, OperationReport, Unchanged } from './operation.ts'

/** What a secret is shown as in a report. */
export const HIDDEN = '(hidden)'

/** Gathers what an operation did. */
export class ReportBuilder {
  readonly #operation: string
  readonly #changes: Change[] = []
  readonly #unchanged: Unchanged[] = []
  readonly #warnings: string[] = []

  constructor(operation: string) {
    this.#operation = operation
  }

  /** Adds a change; where `before` and `after` are the same, notes that it is so already. */
  change(
    setting: string,
    before: string | null,
    after: string | null,
    file: string,
    more: { line?: number | undefined; note?: string | undefined } = {},
  ): void {
    if (before !== after) this.always(setting, before, after, file, more)
    else this.keep(setting, after, file, more.line)
  }

  /** Notes that a setting has the wanted value already. */
  keep(setting: string, value: string | null, file: string, line?: number): void {
    this.#unchanged.push({ setting, value, file, ...(line === undefined ? {} : { line }) })
  }

  /** Adds a change even where both sides read alike (a hidden secret, a reformatted line). */
  always(
    setting: string,
    before: string | null,
    after: string | null,
    file: string,
    more: { line?: number | undefined; note?: string | undefined; newSecret?: boolean } = {},
  ): void {
    this.#changes.push({
      setting,
      before,
      after,
      file,
      ...(more.line === undefined ? {} : { line: more.line }),
      ...(more.note === undefined ? {} : { note: more.note }),
      ...(more.newSecret ? { newSecret: true } : {}),
    })
  }

  warn(warning: string): void {
    if (!this.#warnings.includes(warning)) this.#warnings.push(warning)
  }

  /** Takes over what another operation, run as a part of this one, did. */
  include(report: OperationReport): void {
    this.#changes.push(...report.changes)
    this.#unchanged.push(...(report.unchanged ?? []))
    for (const warning of report.warnings) this.warn(warning)
  }

  get changed(): boolean {
    return this.#changes.length > 0
  }

  build(): OperationReport {
    return {
      operation: this.#operation,
      changes: [...this.#changes],
      ...(this.#unchanged.length > 0 ? { unchanged: [...this.#unchanged] } : {}),
      warnings: [...this.#warnings],
    }
  }
}

/** Permission bits as chmod takes them: `0644`. */
export function octal(mode: number): string {
  return (mode & 0o7777).toString(8).padStart(4, '0')
}

/** `1 byte`, `2 bytes`. */
export function byteCount(bytes: number): string {
  return `${bytes} byte${bytes === 1 ? '' : 's'}`
}
