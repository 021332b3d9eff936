import { DrydiskError } from '../../errors.ts'
import type { GuestFs } from '../../guest/guest-fs.ts'
import type { Operation } from '../operation.ts'
import { ReportBuilder } from '../report.ts'
import { mirrorApk } from './apk.ts'
import { mirrorApt } from './apt.ts'
import type { MirrorArguments, MirrorResult } from './roots.ts'
import { mirrorRpm } from './rpm.ts'

export type { MirrorArguments } from './roots.ts'

function checkMirror({ url }: MirrorArguments): void {
  // Variables of yum ($releasever) and a path may be in it; blanks and control characters would end the value.
  if (!/^(https?|ftp|file|mirror\+file|mirror\+https?|cdrom|dir|hd|iso):\/?\/?[^\s#"'<>\p{Cc}]+$/u.test(url))
    throw new DrydiskError(
      'ERR_INVALID_ARGUMENT',
      `${JSON.stringify(url)} is not the URL of a mirror; expected one such as http://mirror.example.com/debian`,
    )
}

export const mirror: Operation<MirrorArguments> = {
  name: 'mirror',
  summary: 'Get packages from a mirror: yum, dnf and zypper repositories, sources of apt, apk repositories',
  check: checkMirror,
  async run(guest, { url, name }) {
    const report = new ReportBuilder('mirror')
    checkMirror({ url })
    const results = await runAll(guest, { url, ...(name === undefined ? {} : { name }) }, report)
    const found = results.reduce((sum, result) => sum + result.found, 0)
    if (found > 0) return report.build()
    const names = [...new Set(results.flatMap(result => result.names))].slice(0, 30)
    throw new DrydiskError(
      'ENOENT',
      name === undefined
        ? `no repository of the distribution itself was found in this guest${names.length > 0 ? `; name one: ${names.join(', ')}` : ''}`
        : `this guest has no repository ${JSON.stringify(name)}${names.length > 0 ? `; there are ${names.join(', ')}` : ''}`,
    )
  },
}

async function runAll(guest: GuestFs, args: MirrorArguments, report: ReportBuilder): Promise<MirrorResult[]> {
  return [
    await mirrorRpm(guest, args, report),
    await mirrorApt(guest, args, report),
    await mirrorApk(guest, args, report),
  ]
}
