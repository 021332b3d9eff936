import { joinLines, splitLines } from '../../config/text.ts'
import type { GuestFs } from '../../guest/guest-fs.ts'
import { readConfig, writeConfig } from '../guest-files.ts'
import type { ReportBuilder } from '../report.ts'
import { below, type MirrorArguments, type MirrorResult } from './roots.ts'

const FILE = '/etc/apk/repositories'

/** `[@tag ]URL/BRANCH/NAME`: a branch is `v3.19`, `edge` or `latest-stable` (apk-repositories(5)). */
const LINE = /^(\s*(?:@\S+\s+)?)(\S+?)\/(v\d+\.\d+|edge|latest-stable)\/([\w-]+)(\/?\s*)$/

/** Changes what comes before the branch, of all repositories or of those with one name (`main`, `community`). */
export async function mirrorApk(
  guest: GuestFs,
  { url, name }: MirrorArguments,
  report: ReportBuilder,
): Promise<MirrorResult> {
  const before = await readConfig(guest, FILE)
  if (!before) return { found: 0, names: [] }
  const lines = splitLines(before.text)
  const names: string[] = []
  let found = 0
  lines.forEach((line, i) => {
    const match = /^\s*#/.test(line.text) ? null : LINE.exec(line.text)
    if (!match) return
    const [, tag = '', old = '', branch = '', repository = '', end = ''] = match
    names.push(repository)
    if (name !== undefined && name !== repository) return
    found++
    const path = `${branch}/${repository}`
    line.text = `${tag}${below(url, path)}${end}`
    report.change(`repository ${repository}`, `${old}/${path}`, below(url, path), FILE, { line: i + 1 })
  })
  await writeConfig(guest, FILE, before, joinLines(lines))
  return { found, names }
}
