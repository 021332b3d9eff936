/** The kernel arguments of one boot entry, as a range of its file's text. */
export interface KernelLine {
  /** The menu title, or what else tells the entry. */
  readonly title: string
  /** 1-based. */
  readonly line: number
  /** The arguments, after the kernel's path. */
  readonly start: number
  readonly end: number
  /** Made for rescue: such entries get only GRUB_CMDLINE_LINUX. */
  readonly recovery: boolean
  /** What must stand before arguments where there are none yet: a space, or a new line with its keyword. */
  readonly prefix: string
  /** The kernel's path as the boot loader sees it; the empty string where the line is no entry's. */
  readonly kernel: string
  readonly initrd: readonly string[]
  /** Of another system on the same disk (os-prober): not this guest's to change. */
  readonly foreign: boolean
}

export function isRecovery(title: string, args: string): boolean {
  return (
    /\brecovery mode\b/i.test(title) ||
    /(^|\s)(single|recovery|systemd\.unit=(rescue|emergency)\.target)(\s|$)/.test(args)
  )
}
