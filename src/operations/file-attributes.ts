import { DrydiskError } from '../errors.ts'
import type { GuestPath } from '../guest/guest-fs.ts'
import { resolveOwner } from './accounts-of-guest.ts'
import { displayPath, statOrUndefined } from './guest-files.ts'
import type { Operation } from './operation.ts'
import { octal, ReportBuilder } from './report.ts'

/** Arguments of the operation `chmod`. */
export interface ChmodArguments {
  readonly path: GuestPath
  /** Permission bits, 0 to 0o7777. */
  readonly mode: number
}

export const chmod: Operation<ChmodArguments> = {
  name: 'chmod',
  summary: 'Set the permission bits of a file or folder',
  async run(guest, { path, mode }) {
    if (!Number.isInteger(mode) || mode < 0 || mode > 0o7777)
      throw new DrydiskError('ERR_INVALID_ARGUMENT', `a mode is an octal number from 0 to 7777, not ${mode}`)
    const report = new ReportBuilder('chmod')
    const before = (await guest.stat(path)).mode & 0o7777
    if (before !== mode) await guest.chmod(path, mode)
    report.change('mode', octal(before), octal(mode), displayPath(path))
    return report.build()
  },
}

/** Arguments of the operation `chown`. */
export interface ChownArguments {
  readonly path: GuestPath
  /** `USER:GROUP`, `USER`, `:GROUP`; names are looked up in the guest's own passwd and group, numbers are ids. */
  readonly owner: string
}

export const chown: Operation<ChownArguments> = {
  name: 'chown',
  summary: 'Set the owner and group of a file or folder',
  async run(guest, { path, owner }) {
    const report = new ReportBuilder('chown')
    const wanted = await resolveOwner(guest, owner)
    const stats = await guest.stat(path)
    const uid = wanted.uid ?? stats.uid
    const gid = wanted.gid ?? stats.gid
    if (uid === stats.uid && gid === stats.gid) return report.build()
    await guest.chown(path, uid, gid)
    const mode = (await guest.stat(path)).mode
    report.change('owner', `${stats.uid}:${stats.gid}`, `${uid}:${gid}`, displayPath(path), {
      note:
        (mode & 0o7777) === (stats.mode & 0o7777)
          ? undefined
          : `mode ${octal(stats.mode)} became ${octal(mode)}, as chown clears setuid and setgid`,
    })
    return report.build()
  },
}

/** Arguments of the operation `touch`. */
export interface TouchArguments {
  readonly path: GuestPath
}

/** An existing file keeps its times: what the operation is for is that the file exists. */
export const touch: Operation<TouchArguments> = {
  name: 'touch',
  summary: 'Make an empty file where there is none',
  async run(guest, { path }) {
    const report = new ReportBuilder('touch')
    if (!(await statOrUndefined(guest, path))) {
      await guest.writeFile(path, new Uint8Array(0))
      report.change('file', null, 'empty', displayPath(path))
    }
    return report.build()
  },
}
