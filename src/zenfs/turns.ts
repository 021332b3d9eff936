/** The end of each guest's queue. */
const queues = new WeakMap<object, Promise<unknown>>()

/** What runs steps one after another, also those of other callers for the same guest. */
export function turnsOf(guest: object): <T>(step: () => Promise<T>) => Promise<T> {
  return step => {
    const turn = (queues.get(guest) ?? Promise.resolve()).then(step)
    queues.set(
      guest,
      turn.catch(() => undefined),
    )
    return turn
  }
}
