/** Installed packages of apk's database: records of `X:value` lines with an empty line between; P is the name, V the version. */
export function parseApkInstalled(text: string): Map<string, string> {
  const packages = new Map<string, string>()
  let name = ''
  let version = ''
  const keep = () => {
    if (name !== '' && version !== '') packages.set(name, version)
    name = ''
    version = ''
  }
  for (const line of text.split('\n')) {
    if (line === '') keep()
    else if (line.startsWith('P:')) name = line.slice(2)
    else if (line.startsWith('V:')) version = line.slice(2)
  }
  keep()
  return packages
}
