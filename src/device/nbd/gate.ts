/** Lets some work go on side by side, and other work only while nothing else does. */
export class Gate {
  #shared = 0
  #alone: Promise<void> = Promise.resolve()
  #idle: (() => void) | undefined

  async shared<T>(work: () => Promise<T>): Promise<T> {
    // Whoever came first to be alone goes first; another may have come meanwhile.
    for (let before: Promise<void> | undefined; before !== this.#alone; ) {
      before = this.#alone
      await before
    }
    this.#shared++
    try {
      return await work()
    } finally {
      this.#shared--
      if (this.#shared === 0) this.#idle?.()
    }
  }

  async alone(work: () => Promise<void>): Promise<void> {
    const before = this.#alone
    const turn = before.then(async () => {
      if (this.#shared > 0)
        await new Promise<void>(resolve => {
          this.#idle = resolve
        })
      this.#idle = undefined
      await work()
    })
    this.#alone = turn.catch(() => undefined)
    await turn
  }
}
