import { DEFAULT_CODE_PAGE, isCodePage } from './code-page.ts'

/** What mount(8) lets one say about owners and modes, which FAT does not keep. */
export interface FatMountOptions {
  readonly uid: number
  readonly gid: number
  /** Permission bits that files and directories do not have. */
  readonly fmask: number
  readonly dmask: number
  /** Of short names: 437 or 850. */
  readonly codePage: number
}

/** What counts where fstab says nothing: the umask of whoever mounts. */
const UMASK = 0o022

/** @param options as in fstab: `umask=0077`, `uid=0`, `codepage=850`; others, and names of users, are passed over. */
export function fatMountOptions(options: readonly string[] = []): FatMountOptions {
  const number = (key: string, radix: number): number | undefined => {
    const value = options.findLast(option => option.startsWith(`${key}=`))?.slice(key.length + 1)
    if (value === undefined || !(radix === 8 ? /^[0-7]{1,6}$/ : /^\d{1,9}$/).test(value)) return undefined
    return Number.parseInt(value, radix)
  }
  const umask = number('umask', 8) ?? UMASK
  const codePage = number('codepage', 10)
  return {
    uid: number('uid', 10) ?? 0,
    gid: number('gid', 10) ?? 0,
    fmask: (number('fmask', 8) ?? umask) & 0o777,
    dmask: (number('dmask', 8) ?? umask) & 0o777,
    codePage: codePage !== undefined && isCodePage(codePage) ? codePage : DEFAULT_CODE_PAGE,
  }
}
