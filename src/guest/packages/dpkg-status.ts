/**
 * Installed packages of a dpkg status file: stanzas of `Field: value` lines with an empty line between (deb-control(5)); a value goes on
 * in lines that begin with a space. A package counts when the third word of its Status is `installed`; files of
 * /var/lib/dpkg/status.d have no Status, and their packages are installed.
 */
export function parseDpkgStatus(text: string): Map<string, string> {
  const packages = new Map<string, string>()
  for (let start = 0; start < text.length; ) {
    const gap = text.indexOf('\n\n', start)
    const end = gap < 0 ? text.length : gap + 1
    const stanza = text.slice(start, end)
    start = end + 1
    const status = field(stanza, 'Status')
    if (status !== undefined && status.split(' ')[2] !== 'installed') continue
    const name = field(stanza, 'Package')
    const version = field(stanza, 'Version')
    if (name !== undefined && version !== undefined) packages.set(name, version)
  }
  return packages
}

function field(stanza: string, name: string): string | undefined {
  const key = `${name}:`
  const at = stanza.startsWith(key) ? 0 : stanza.indexOf(`\n${key}`) + 1
  if (at === 0 && !stanza.startsWith(key)) return undefined
  const newline = stanza.indexOf('\n', at)
  return stanza.slice(at + key.length, newline < 0 ? undefined : newline).trim()
}
