import {
  type AptSource,
  parseAptDeb822,
  parseAptList,
  setAptDeb822Uris,
  setAptListUri,
} from '../../config/apt-sources.ts'
import type { DecodedText } from '../../config/text.ts'
import type { GuestFs } from '../../guest/guest-fs.ts'
import { CloudConfig, showValue } from '../cloud-config-of-guest.ts'
import { listFolder, readConfig, writeConfig } from '../guest-files.ts'
import type { ReportBuilder } from '../report.ts'
import type { MirrorArguments, MirrorResult } from './roots.ts'
import { isDebianArchive, isSecuritySuite } from './roots.ts'

interface AptFile {
  readonly path: string
  readonly before: DecodedText
  readonly deb822: boolean
  text: string
}

const MAIN = '/etc/apt/sources.list'
const FOLDER = '/etc/apt/sources.list.d'

/** Names as apt takes them (sources.list(5)): letters, digits, `_`, `-`, `.`, and one of two endings. */
async function readSources(guest: GuestFs): Promise<AptFile[]> {
  const files: AptFile[] = []
  for (const path of [MAIN, ...(await listFolder(guest, FOLDER, /^[\w.-]+\.(list|sources)$/))]) {
    const before = await readConfig(guest, path)
    if (before) files.push({ path, before, deb822: path.endsWith('.sources'), text: before.text })
  }
  return files
}

function sourcesOf(file: AptFile): AptSource[] {
  return file.deb822 ? parseAptDeb822(file.text) : parseAptList(file.text)
}

function stem(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1).replace(/\.(list|sources)$/, '')
}

/** Changes the URIs of the distribution's own suites, of its security suites, or of one file. */
export async function mirrorApt(
  guest: GuestFs,
  { url, name }: MirrorArguments,
  report: ReportBuilder,
): Promise<MirrorResult> {
  const files = await readSources(guest)
  const all = files.flatMap(sourcesOf)
  // What serves a distribution's updates is a mirror of it, whatever its host is called.
  const archives = new Set(
    all
      .filter(source => source.suites.some(suite => /-updates$/.test(suite) || isSecuritySuite(suite)))
      .flatMap(source => source.uris),
  )
  const isArchive = (source: AptSource) =>
    source.uris.some(uri => isDebianArchive(uri) || archives.has(uri)) || source.uris.includes(url)
  const isSecurity = (source: AptSource) => source.suites.length > 0 && source.suites.every(isSecuritySuite)
  const isWanted = (file: AptFile, source: AptSource) =>
    name === undefined
      ? isArchive(source) && !isSecurity(source)
      : name === 'security'
        ? isArchive(source) && isSecurity(source)
        : file.path !== MAIN && stem(file.path) === name
  let found = 0
  const left = new Set<string>()
  for (const file of files) {
    for (const source of sourcesOf(file)) {
      if (!source.enabled) continue
      if (name === undefined && isArchive(source) && isSecurity(source))
        for (const uri of source.uris) if (uri !== url) left.add(uri)
      if (!isWanted(file, source) || source.uris.some(uri => uri.startsWith('cdrom:'))) continue
      found++
      // Lines of one-line files keep their numbers; those of deb822 stanzas may not.
      const now = file.deb822
        ? parseAptDeb822(file.text).find(
            one => one.suites.join() === source.suites.join() && one.uris.join() === source.uris.join(),
          )
        : source
      if (!now) continue
      const setting = `source of ${source.suites.join(' ')} (${source.types.join(' ')})`
      file.text = file.deb822
        ? setAptDeb822Uris(file.text, now.line, [url])
        : setAptListUri(file.text, now.line, url)
      report.change(setting, source.uris.join(' '), url, file.path, { line: now.line })
    }
    await writeConfig(guest, file.path, file.before, file.text)
  }
  if (left.size > 0)
    report.warn(`security suites still come from ${[...left].join(', ')}; mirror security=URL changes those`)
  if (found > 0) await keepFromCloudInit(guest, report)
  return {
    found,
    names:
      files.length === 0
        ? []
        : [
            ...(all.some(isSecurity) ? ['security'] : []),
            ...files.filter(f => f.path !== MAIN).map(f => stem(f.path)),
          ],
  }
}

/** cloud-init writes the sources anew at the first boot of an instance, unless it is told to preserve them (cc_apt_configure). */
async function keepFromCloudInit(guest: GuestFs, report: ReportBuilder): Promise<void> {
  const config = await CloudConfig.load(guest)
  if (!config) return
  // With settings of the old form (apt_mirror, …) the new one would conflict.
  const old = config.files.some(file =>
    /^apt_(preserve_sources_list|mirror\w*|sources|custom_sources_list):/m.test(file.text),
  )
  const path = old ? ['apt_preserve_sources_list'] : ['apt', 'preserve_sources_list']
  const before = await config.effective(path)
  await config.set(path, true)
  await config.save()
  const place = await config.place(path)
  report.change(
    `cloud-init ${path.join('.')}`,
    showValue(before),
    'true',
    place?.file ?? '/etc/cloud/cloud.cfg',
    { line: place?.line, note: 'so that cloud-init does not undo it at first boot' },
  )
}
