import { commentOutRepoValue, parseRepoFile, type RepoSection, setRepoValue } from '../../config/repo-file.ts'
import type { GuestFs } from '../../guest/guest-fs.ts'
import { CloudConfig } from '../cloud-config-of-guest.ts'
import { listFolder, readConfig, writeConfig } from '../guest-files.ts'
import type { ReportBuilder } from '../report.ts'
import { below, type MirrorArguments, type MirrorResult, pathBelowMirror, pathOfMetalink } from './roots.ts'

/** yum and dnf read these, and the sections of yum.conf that are repositories; zypper its own. */
const FOLDERS = ['/etc/yum.repos.d', '/etc/distro.repos.d', '/etc/zypp/repos.d']
const MAINS = ['/etc/yum.conf', '/etc/dnf/dnf.conf']

/** What comes before a base URL: mirror lists are asked first by zypper, and beside it by dnf. */
const LISTS = ['mirrorlist', 'metalink']

function mirrored(section: RepoSection, { url, name }: MirrorArguments): string | undefined {
  if (name !== undefined) return section.id === name ? url : undefined
  const present = section.values.get('baseurl')?.value
  if (present === undefined ? false : present.startsWith(`${url.replace(/\/+$/, '')}/`)) return present
  const sources = [present, section.commented.get('baseurl')?.value].flatMap(value =>
    value === undefined ? [] : value.split(/[\s,]+/),
  )
  for (const source of sources) {
    const path = pathBelowMirror(source)
    if (path !== undefined) return below(url, path)
  }
  const metalink = pathOfMetalink(section.values.get('metalink')?.value ?? '')
  return metalink === undefined ? undefined : below(url, metalink)
}

/** Sets base URLs, and turns mirror lists into comments. */
export async function mirrorRpm(
  guest: GuestFs,
  args: MirrorArguments,
  report: ReportBuilder,
): Promise<MirrorResult> {
  const names: string[] = []
  let found = 0
  const files = [...MAINS]
  for (const folder of FOLDERS) files.push(...(await listFolder(guest, folder, /\.repo$/)))
  for (const path of files) {
    const before = await readConfig(guest, path)
    if (!before) continue
    let { text } = before
    const changes: (() => void)[] = []
    for (const section of parseRepoFile(text)) {
      if (section.id === 'main') continue
      names.push(section.id)
      const wanted = mirrored(section, args)
      if (wanted === undefined) {
        if (
          args.name === undefined &&
          /centos|rocky|alma/i.test(section.values.get('mirrorlist')?.value ?? '')
        )
          report.warn(
            `${path}: [${section.id}] names no base URL from which its place on a mirror follows; use mirror ${section.id}=URL`,
          )
        continue
      }
      found++
      text = setRepoValue(text, section.id, 'baseurl', wanted)
      for (const key of LISTS) if (section.values.has(key)) text = commentOutRepoValue(text, section.id, key)
      const old =
        section.values.get('baseurl')?.value ??
        LISTS.map(key => section.values.get(key)?.value).find(value => value !== undefined)
      const id = section.id
      changes.push(() => {
        const after = parseRepoFile(text)
          .findLast(one => one.id === id)
          ?.values.get('baseurl')
        report.change(`repository ${id}`, old ?? null, after?.value ?? null, path, { line: after?.line })
      })
    }
    await writeConfig(guest, path, before, text)
    for (const tell of changes) tell()
  }
  if (found > 0) await warnOfOthers(guest, report)
  return { found, names }
}

async function warnOfOthers(guest: GuestFs, report: ReportBuilder): Promise<void> {
  for (const path of await listFolder(guest, '/etc/zypp/services.d', /\.service$/))
    report.warn(`${path} is a service that writes repositories of its own when zypper refreshes it`)
  const config = await CloudConfig.load(guest)
  if (config && (await config.effective(['yum_repos'])) !== undefined)
    report.warn("cloud-init's yum_repos adds repositories at first boot; those were not changed")
}
