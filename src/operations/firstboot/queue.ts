import { toBytes } from '../../bytes/names.ts'
import { equalBytes } from '../../config/text.ts'
import { DrydiskError } from '../../errors.ts'
import type { GuestFs } from '../../guest/guest-fs.ts'
import { listFolder, lstatOrUndefined, statOrUndefined } from '../guest-files.ts'
import type { ReportBuilder } from '../report.ts'
import { initSystem } from '../services/init-system.ts'
import { enableOpenrc } from '../services/openrc.ts'
import { enableUnit } from '../services/systemd.ts'
import { enableSysv } from '../services/sysv.ts'
import * as texts from './texts.ts'

/** Scripts are read whole. */
const MAX_SCRIPT_BYTES = 64 << 20
const MAX_SCRIPTS = 9999

export interface QueuedScript {
  /** What it is called, in the log and in the folder. */
  readonly name: string
  readonly content: string | Uint8Array
  /** What the report says of it. */
  readonly shown: string
  /** It fetches something: the service waits for the network. */
  readonly network?: boolean
}

/**
 * Puts a script at the end of what runs at the first boot, and the service that runs it into the guest. A script that waits
 * there already, with the same name and content, is not added again.
 */
export async function queueScript(
  guest: GuestFs,
  script: QueuedScript,
  report: ReportBuilder,
): Promise<void> {
  const content = toBytes(script.content)
  if (content.length > MAX_SCRIPT_BYTES)
    throw new DrydiskError('EFBIG', `${script.name} has ${content.length} bytes, too many for a script`)
  const name = script.name
    .replace(/^.*\//s, '')
    .replace(/[^A-Za-z0-9_.-]/g, '-')
    .slice(0, 100)
  const waiting = await listFolder(guest, texts.SCRIPTS, /^\d{4}-/)
  let last = 0
  for (const path of waiting) {
    const [, number, rest] = /\/(\d{4})-([^/]*)$/.exec(path) ?? []
    last = Math.max(last, Number(number ?? 0))
    if (rest === name && (await holds(guest, path, content))) {
      report.keep('script for the first boot', script.shown, path)
      await installService(guest, script.network ?? false, report)
      return
    }
  }
  if (last >= MAX_SCRIPTS)
    throw new DrydiskError('ENOSPC', `${MAX_SCRIPTS} scripts wait for the first boot already`)
  await installService(guest, script.network ?? false, report)
  const path = `${texts.SCRIPTS}/${String(last + 1).padStart(4, '0')}-${name}`
  await guest.mkdir(texts.SCRIPTS, { recursive: true })
  // A script may hold what is nobody's business.
  await guest.writeFile(path, content, { mode: 0o700 })
  report.always('script for the first boot', null, script.shown, path)
}

async function holds(guest: GuestFs, path: string, content: Uint8Array): Promise<boolean> {
  const stats = await statOrUndefined(guest, path)
  return stats?.size === content.length && equalBytes(await guest.readFile(path), content)
}

async function installService(guest: GuestFs, network: boolean, report: ReportBuilder): Promise<void> {
  await put(guest, texts.RUNNER, texts.RUNNER_TEXT, 0o755, report)
  const init = await initSystem(guest)
  if (init === 'systemd') {
    await put(guest, texts.UNIT, texts.UNIT_TEXT, 0o644, report)
    if (network) await put(guest, texts.NETWORK_DROP_IN, texts.NETWORK_TEXT, 0o644, report)
    await enableUnit(guest, `${texts.SERVICE}.service`)
  } else {
    const text = init === 'openrc' ? texts.OPENRC_TEXT : texts.SYSV_TEXT
    await put(guest, texts.INIT_SCRIPT, text, 0o755, report)
    if (init === 'openrc') await enableOpenrc(guest, texts.SERVICE)
    else await enableSysv(guest, texts.SERVICE)
  }
}

async function put(
  guest: GuestFs,
  path: string,
  text: string,
  mode: number,
  report: ReportBuilder,
): Promise<void> {
  const content = toBytes(text)
  if ((await lstatOrUndefined(guest, path)) && (await holds(guest, path, content))) return
  await guest.mkdir(path.slice(0, path.lastIndexOf('/')), { recursive: true })
  await guest.writeFile(path, content, { mode })
  report.always('service for the first boot', null, 'runs once, then removes itself', path)
}
