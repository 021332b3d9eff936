import { appendLine, joinLines, removeLines, splitLines } from '../../config/text.ts'
import { DrydiskError } from '../../errors.ts'
import type { GuestFs } from '../../guest/guest-fs.ts'
import { readConfig, writeConfig } from '../guest-files.ts'
import type { ServiceState } from './service-state.ts'

interface Job {
  /** The line and file of the last `start on` or `manual`: init(5) has the later one win. */
  readonly file: string
  readonly starts: boolean
}

const conf = (name: string) => `/etc/init/${name}.conf`
const override = (name: string) => `/etc/init/${name}.override`

async function jobOf(guest: GuestFs, name: string): Promise<Job | undefined> {
  if (!/^[\w.+-]+$/.test(name) || !(await guest.exists(conf(name)))) return undefined
  let job: Job = { file: conf(name), starts: false }
  for (const file of [conf(name), override(name)])
    for (const line of (await readConfig(guest, file))?.text.split('\n') ?? []) {
      if (/^\s*start\s+on\b/.test(line)) job = { file, starts: true }
      if (/^\s*manual\s*(#.*)?$/.test(line)) job = { file, starts: false }
    }
  return job
}

/** A job starts by its `start on`, unless `manual` stands after it, in the job or its .override: init(5) of Upstart. */
export async function upstartState(guest: GuestFs, name: string): Promise<ServiceState | undefined> {
  const job = await jobOf(guest, name)
  if (!job) return undefined
  return {
    name,
    init: 'upstart',
    state: job.starts ? 'enabled' : 'disabled',
    decidedBy: job.file,
    startsAtBoot: job.starts,
  }
}

/** `undefined` where there is no such job; else the files that were changed. */
export async function enableUpstart(guest: GuestFs, name: string): Promise<string[] | undefined> {
  const job = await jobOf(guest, name)
  if (!job) return undefined
  if (job.starts) return []
  const file = override(name)
  const before = await readConfig(guest, file)
  const lines = splitLines(before?.text ?? '')
  for (let i = lines.length - 1; i >= 0; i--)
    if (/^\s*manual\s*(#.*)?$/.test(lines[i]?.text ?? '')) removeLines(lines, i, 1)
  const text = joinLines(lines)
  if (before && text.trim() === '') await guest.unlink(file)
  else if (before) await writeConfig(guest, file, before, text)
  if ((await jobOf(guest, name))?.starts) return [file]
  throw new DrydiskError(
    'ERR_NOT_EFFECTIVE',
    `${job.file} has no "start on" that counts: the job starts only when something asks for it`,
    { path: job.file },
  )
}

export async function disableUpstart(guest: GuestFs, name: string): Promise<string[] | undefined> {
  const job = await jobOf(guest, name)
  if (!job) return undefined
  if (!job.starts) return []
  const file = override(name)
  const before = await readConfig(guest, file)
  await writeConfig(guest, file, before, appendLine(before?.text ?? '', 'manual'))
  return [file]
}
