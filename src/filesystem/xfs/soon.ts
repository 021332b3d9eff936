/**
 * What seldom needs input: there at once where it needs none. `await` takes both. That no promise is made for what is in memory
 * is most of the speed of what is done several times for each block of a file.
 */
export type Soon<T> = T | Promise<T>

/** Goes on with a value: at once where it is there. */
export function after<T, U>(value: Soon<T>, next: (value: T) => Soon<U>): Soon<U> {
  return value instanceof Promise ? value.then(next) : next(value)
}

/** Does one thing after the other, each as soon as the one before it is done. */
export function inTurn(steps: readonly (() => Soon<unknown>)[], from = 0): Soon<void> {
  for (let at = from; at < steps.length; at++) {
    const done = steps[at]?.()
    if (done instanceof Promise) return done.then(() => inTurn(steps, at + 1))
  }
}
