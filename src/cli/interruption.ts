/** What an interruption has to give back: the images that are open. */
export const openImages = new Set<{ close(): Promise<void> }>()

let busy = false
let pending: NodeJS.Signals | undefined
let inChild = false

/** Ctrl-C before the commit is a rollback; during the commit, which is short and atomic, it waits for its end. */
export function handleSignals(): void {
  for (const signal of ['SIGHUP', 'SIGINT', 'SIGTERM'] as const)
    process.on(signal, () => {
      if (inChild && signal === 'SIGINT') return
      if (busy) pending = signal
      else void dieOf(signal)
    })
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    // The reader of a pipe has seen enough.
    void closeImages().then(() => process.exit(error.code === 'EPIPE' ? 0 : 1))
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
  if (pending !== undefined) await dieOf(pending)
}

/** As `uninterrupted`, for a program that has the terminal: Ctrl-C there is meant for that program alone. */
export async function withTerminal(step: () => Promise<void>): Promise<void> {
  inChild = true
  try {
    await uninterrupted(step)
  } finally {
    inChild = false
  }
}

async function closeImages(): Promise<void> {
  const closing = [...openImages].map(image => image.close().catch(() => undefined))
  const patience = new Promise(resolve => setTimeout(resolve, 3000))
  await Promise.race([Promise.all(closing), patience])
}

/** Ends as the shell expects it: by the signal itself. process.exit() would wait for a thread that waits for a pipe. */
async function dieOf(signal: NodeJS.Signals): Promise<void> {
  await closeImages()
  process.removeAllListeners(signal)
  process.kill(process.pid, signal)
}
