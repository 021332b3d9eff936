/** One line of fstab(5). */
export interface FstabEntry {
  /** As written, with octal escapes resolved and quotes around a tag's value removed: `UUID=…`, `/dev/sda1`, `tmpfs`. */
  readonly spec: string
  /** The mount point; `none` for swap. */
  readonly file: string
  readonly type: string
  readonly options: readonly string[]
  /** 1-based. */
  readonly line: number
}

/** fstab(5): blanks in fields are written as octal escapes (getmntent of glibc). */
function fieldText(field: string): string {
  return field.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)))
}

/** The entries of an fstab, in order. Lines with fewer than two fields name nothing and are passed over. */
export function parseFstab(text: string): FstabEntry[] {
  const out: FstabEntry[] = []
  for (const [index, raw] of text.split('\n').entries()) {
    const line = raw.trim()
    if (line === '' || line.startsWith('#')) continue
    const [spec, file, type, options] = line.split(/[ \t]+/).map(fieldText)
    if (spec === undefined || file === undefined) continue
    out.push({
      spec: spec.replace(/^([A-Z]+=)(["'])(.*)\2$/, '$1$3'),
      file,
      type: type ?? 'auto',
      options: (options ?? 'defaults').split(','),
      line: index + 1,
    })
  }
  return out
}

/** Filesystem types with nothing on a disk. What is below their mount point stays reachable. */
const VIRTUAL = new Set([
  'autofs',
  'binfmt_misc',
  'bpf',
  'cgroup',
  'cgroup2',
  'configfs',
  'debugfs',
  'devpts',
  'devtmpfs',
  'efivarfs',
  'fusectl',
  'hugetlbfs',
  'mqueue',
  'proc',
  'pstore',
  'ramfs',
  'rpc_pipefs',
  'securityfs',
  'selinuxfs',
  'swap',
  'sysfs',
  'tmpfs',
  'tracefs',
  'usbfs',
])

/** Whether an entry puts something at its mount point at boot that comes from a disk or a server. */
export function isMountedAtBoot(entry: FstabEntry): boolean {
  return (
    entry.file.startsWith('/') &&
    !VIRTUAL.has(entry.type) &&
    !entry.options.includes('noauto') &&
    entry.spec !== 'none'
  )
}
