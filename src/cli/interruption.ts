/** What an interruption has to give back: the images that are open. */
export const openImages = new Set<{ close(): Promise<void> }>()

let busy = false
let pending: number | undefined

/** Ctrl-C before the commit is a rollback; during the commit, which is short and atomic, it waits for its end. */
export function handleSignals(): void {
  const numbers = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 } as const
  for (const [signal, number] of Object.entries(numbers))
    process.on(signal, () => {
      if (busy) pending = 128 + number
      else void abandon(128 + number)
    })
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    // The reader of a pipe has seen enough.
    void abandon(error.code === 'EPIPE' ? 0 : 1)
  })
}

/** Runs a step that no signal interrupts; one that came meanwhile ends the process afterwards. */
export async function uninterrupted(step: () => Promise<void>): Promise<void> {
  busy = true
  try {
    await step()
  } finally {
    busy = false
  }
  if (pending !== undefined) await abandon(pending)
}

async function abandon(status: number): Promise<void> {
  const closing = [...openImages].map(image => image.close().catch(() => undefined))
  const patience = new Promise(resolve => setTimeout(resolve, 3000))
  await Promise.race([Promise.all(closing), patience])
  process.exit(status)
}
