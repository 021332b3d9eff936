/** `failed`: the guest is not ready; `warning`: it may be meant so; `mended`: it was one of the two. */
export type FindingStatus = 'ok' | 'warning' | 'failed' | 'mended'

/** One answer of a check. */
export interface Finding {
  readonly check: string
  readonly status: FindingStatus
  readonly message: string
  /** The guest path of the file that decides. */
  readonly file?: string
  /** 1-based. */
  readonly line?: number
  /** The command that mends it; IMAGE stands for the image. */
  readonly command?: string
}

/** Where a finding is, and what mends it. */
export interface FindingPlace {
  readonly file?: string | undefined
  readonly line?: number | undefined
  readonly command?: string | undefined
  /** It was mended just now. */
  readonly mended?: boolean
}

/** Gathers what the checks find. */
export class Findings {
  readonly list: Finding[] = []
  readonly #check: string

  constructor(check: string) {
    this.#check = check
  }

  ok(message: string, place: FindingPlace = {}): void {
    this.#add('ok', message, place)
  }

  warn(message: string, place: FindingPlace = {}): void {
    this.#add(place.mended ? 'mended' : 'warning', message, place)
  }

  fail(message: string, place: FindingPlace = {}): void {
    this.#add(place.mended ? 'mended' : 'failed', message, place)
  }

  #add(status: FindingStatus, message: string, { file, line, command, mended }: FindingPlace): void {
    this.list.push({
      check: this.#check,
      status,
      message,
      ...(file === undefined ? {} : { file }),
      ...(line === undefined ? {} : { line }),
      ...(command === undefined || mended ? {} : { command }),
    })
  }
}
