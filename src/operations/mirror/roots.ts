/** Arguments of the operation `mirror`. */
export interface MirrorArguments {
  /** The root of a mirror of the distribution, or with `name` that of what it names. */
  readonly url: string
  /** The id of a yum or zypper repository, `security` for Debian's and Ubuntu's security suites, or the name of a file of sources. */
  readonly name?: string
}

/** What one way of getting packages found to change: how many repositories are (now) at the mirror. */
export interface MirrorResult {
  readonly found: number
  /** Names that `name` may have in this guest. */
  readonly names: readonly string[]
}

/** Hosts of the distributions' own archives, and how much of a path belongs to the mirror rather than to the repository. */
const RPM_ROOTS: readonly (readonly [host: RegExp, root: RegExp])[] = [
  [/^(mirror|vault)\.centos\.org$/, /^\/centos(-vault)?\/?/],
  [/^mirror\.stream\.centos\.org$/, /^\//],
  [
    /^(dl|download)\.rockylinux\.org$/,
    /^\/(\$contentdir|pub\/rocky|vault\/rocky|stg\/rocky|pub\/sig|vault\/sig)\/?/,
  ],
  [/^(repo|vault)\.almalinux\.org$/, /^\/(almalinux|vault)\/?/],
  [
    /^(download\.example|dl\.fedoraproject\.org|download\.fedoraproject\.org|download\.fedora\.redhat\.com)$/,
    /^\/pub\/fedora\/linux\/?/,
  ],
  [/^(download|cdn)\.opensuse\.org$/, /^\//],
]

/** CentOS Stream 9 and 10 name no base URL, only a metalink: where its repositories lie below a mirror's root. */
const METALINK_PATHS: readonly (readonly [RegExp, string])[] = [
  [/centos-(?:baseos)-.*-?\$?stream/i, '$stream/BaseOS/$basearch/os/'],
  [/centos-(?:appstream)-.*-?\$?stream/i, '$stream/AppStream/$basearch/os/'],
  [/centos-(?:crb)-.*-?\$?stream/i, '$stream/CRB/$basearch/os/'],
  [/centos-(?:highavailability)-.*-?\$?stream/i, '$stream/HighAvailability/$basearch/os/'],
]

/** The path of a repository below the root of its distribution's mirror, from its (maybe commented-out) base URL. */
export function pathBelowMirror(url: string): string | undefined {
  const match = /^(?:https?|ftp|rsync):\/\/([^/]+)(\/.*)$/.exec(url.trim())
  const [, host = '', path = ''] = match ?? []
  for (const [known, root] of RPM_ROOTS)
    if (known.test(host.toLowerCase()) && root.test(path)) return path.replace(root, '')
  return undefined
}

export function pathOfMetalink(url: string): string | undefined {
  if (!/^https?:\/\/mirrors\.centos\.org\/metalink\?/.test(url) || /debug|source/i.test(url)) return undefined
  return METALINK_PATHS.find(([pattern]) => pattern.test(url))?.[1]
}

/** Archives of Debian and Ubuntu, with their country and cloud mirrors. */
const APT_HOST =
  /^((deb|http|ftp|security|cdn-fastly\.deb|ftp\.\w\w|http\.\w\w|security-cdn)\.debian\.org|deb\.debian\.net|httpredir\.debian\.org|(.+\.)?archive\.ubuntu\.com|security\.ubuntu\.com|ports\.ubuntu\.com|(.+\.)?ports\.ubuntu\.com|old-releases\.ubuntu\.com|archive\.debian\.org)$/

export function isDebianArchive(uri: string): boolean {
  const host = /^[a-z+]+:\/\/([^/:]+)/i.exec(uri)?.[1]
  return host !== undefined && APT_HOST.test(host.toLowerCase())
}

/** `bookworm-security`, `jammy-security`, and `buster/updates` as it was until Debian 10. */
export function isSecuritySuite(suite: string): boolean {
  return /-security$|\/updates$/.test(suite)
}

/** `URL/` and a path below it, with one slash between. */
export function below(url: string, path: string): string {
  return `${url.replace(/\/+$/, '')}/${path.replace(/^\/+/, '')}`
}
