import type { Change, OperationReport } from './operation.ts'

/** What a secret is shown as in a report. */
export const HIDDEN = '(hidden)'

/** Gathers what an operation did. */
export class ReportBuilder {
  readonly #operation: string
  readonly #changes: Change[] = []
  readonly #warnings: string[] = []

  constructor(operation: string) {
    this.#operation = operation
  }

  /** Adds a change unless `before` and `after` are the same. */
  change(
    setting: string,
    before: string | null,
    after: string | null,
    file: string,
    more: { line?: number | undefined; note?: string | undefined } = {},
  ): void {
    if (before !== after) this.always(setting, before, after, file, more)
  }

  /** Adds a change even where both sides read alike (a hidden secret, a reformatted line). */
  always(
    setting: string,
    before: string | null,
    after: string | null,
    file: string,
    more: { line?: number | undefined; note?: string | undefined } = {},
  ): void {
    this.#changes.push({
      setting,
      before,
      after,
      file,
      ...(more.line === undefined ? {} : { line: more.line }),
      ...(more.note === undefined ? {} : { note: more.note }),
    })
  }

  warn(warning: string): void {
    if (!this.#warnings.includes(warning)) this.#warnings.push(warning)
  }

  /** Takes over what another operation, run as a part of this one, did. */
  include(report: OperationReport): void {
    this.#changes.push(...report.changes)
    for (const warning of report.warnings) this.warn(warning)
  }

  get changed(): boolean {
    return this.#changes.length > 0
  }

  build(): OperationReport {
    return { operation: this.#operation, changes: [...this.#changes], warnings: [...this.#warnings] }
  }
}

/** Permission bits as chmod takes them: `0644`. */
export function octal(mode: number): string {
  return (mode & 0o7777).toString(8).padStart(4, '0')
}
