/** Many readers or one writer, in order of arrival for writers. Not reentrant. */
export class ReadWriteLock {
  #readers = 0
  #readersGone: (() => void) | undefined
  #writer: Promise<void> | undefined

  async shared<Result>(work: () => Promise<Result>): Promise<Result> {
    while (this.#writer !== undefined) await this.#writer
    this.#readers++
    try {
      return await work()
    } finally {
      if (--this.#readers === 0) this.#readersGone?.()
    }
  }

  async exclusive<Result>(work: () => Promise<Result>): Promise<Result> {
    const before = this.#writer
    let done: () => void = () => undefined
    const mine = new Promise<void>(resolve => {
      done = resolve
    })
    this.#writer = mine
    try {
      if (before !== undefined) await before
      if (this.#readers > 0)
        await new Promise<void>(resolve => {
          this.#readersGone = resolve
        })
      this.#readersGone = undefined
      return await work()
    } finally {
      if (this.#writer === mine) this.#writer = undefined
      done()
    }
  }
}
