import { splitLines } from './text.ts'

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
}

interface PlacedLine {
  readonly text: string
  readonly start: number
  readonly number: number
}

function* placedLines(text: string): Generator<PlacedLine> {
  let start = 0
  let number = 1
  for (const line of splitLines(text)) {
    yield { text: line.text, start, number }
    start += line.text.length + line.ending.length
    number++
  }
}

function isRecovery(title: string, args: string): boolean {
  return (
    /\brecovery mode\b/i.test(title) ||
    /(^|\s)(single|recovery|systemd\.unit=(rescue|emergency)\.target)(\s|$)/.test(args)
  )
}

/** After the command and the kernel's path: `  linux16 /vmlinuz-3.10 ARGS`. */
const KERNEL_LINE = /^(\s*(linux|linux16|linuxefi)\s+("[^"]*"|\S+))([ \t]*)(.*)$/

/** Programs that GRUB starts by the same commands (memtest86+, iPXE): they take no kernel arguments. */
const NOT_LINUX = /memtest|mt86plus|\.lkrn\b|memdisk/i

/** `linux`, `linux16` and `linuxefi` lines of a grub.cfg (GRUB 2), with the title of their menuentry. */
export function grubEntries(text: string): KernelLine[] {
  const found: KernelLine[] = []
  let title = '(outside of a menu entry)'
  for (const { text: line, start, number } of placedLines(text)) {
    const menu = /^\s*menuentry\s+(?:'((?:[^']|'\\'')*)'|"((?:[^"\\]|\\.)*)"|(\S+))/.exec(line)
    if (menu) title = (menu[1] ?? menu[2] ?? menu[3] ?? '').replaceAll("'\\''", "'")
    const kernel = KERNEL_LINE.exec(line)
    if (!kernel || NOT_LINUX.test(kernel[3] ?? '')) continue
    const args = kernel[5] ?? ''
    const at = start + (kernel[1]?.length ?? 0) + (kernel[4]?.length ?? 0)
    found.push({ title, line: number, start: at, end: at + args.length, recovery: isRecovery(title, args) })
  }
  return found
}

/**
 * Values of `set kernelopts="…"` (EL8's fallback for when grubenv has none) and `set default_kernelopts="…"`, as ranges within
 * the quotes.
 */
export function grubKernelopts(text: string): KernelLine[] {
  const found: KernelLine[] = []
  for (const { text: line, start, number } of placedLines(text)) {
    const match = /^(\s*set\s+((?:default_)?kernelopts)=")([^"]*)"/.exec(line)
    if (!match) continue
    const at = start + (match[1]?.length ?? 0)
    found.push({
      title: `fallback ${match[2] ?? ''}`,
      line: number,
      start: at,
      end: at + (match[3]?.length ?? 0),
      recovery: false,
    })
  }
  return found
}

/** `kernel` lines of GRUB legacy's menu.lst or grub.conf, with the title before them. */
export function grubLegacyEntries(text: string): KernelLine[] {
  const found: KernelLine[] = []
  let title = '(before the first title)'
  for (const { text: line, start, number } of placedLines(text)) {
    const heading = /^\s*title(?:\s+|=)(.*)$/.exec(line)
    if (heading) title = (heading[1] ?? '').trim()
    const kernel = /^(\s*kernel(?:\s+|=)(?:--\S+\s+)*\S+)([ \t]*)(.*)$/.exec(line)
    // A hypervisor's own line has other arguments; the Linux kernel is then a `module`.
    if (!kernel || /\bxen[^/\s]*\.gz\b/.test(kernel[1] ?? '')) continue
    const args = kernel[3] ?? ''
    const at = start + (kernel[1]?.length ?? 0) + (kernel[2]?.length ?? 0)
    found.push({ title, line: number, start: at, end: at + args.length, recovery: isRecovery(title, args) })
  }
  return found
}

/** `APPEND` lines of an extlinux.conf or syslinux.cfg; those that load another binary (memtest, chain.c32) have none. */
export function extlinuxEntries(text: string): KernelLine[] {
  const found: KernelLine[] = []
  let title = '(every label)'
  for (const { text: line, start, number } of placedLines(text)) {
    const label = /^\s*label\s+(.*)$/i.exec(line)
    if (label) title = (label[1] ?? '').trim()
    const append = /^(\s*append\s+)(.*)$/i.exec(line)
    const args = append?.[2] ?? ''
    if (!append || args.trim() === '-') continue
    const at = start + (append[1]?.length ?? 0)
    found.push({ title, line: number, start: at, end: at + args.length, recovery: isRecovery(title, args) })
  }
  return found
}

/** The `options` lines of a Boot Loader Specification type #1 entry; together they are the command line. */
export function blsOptions(text: string): KernelLine[] {
  const title =
    /^title[ \t]+(.*?)\r?$/m.exec(text)?.[1] ?? /^linux[ \t]+(\S+)/m.exec(text)?.[1] ?? 'boot entry'
  const found: KernelLine[] = []
  for (const { text: line, start, number } of placedLines(text)) {
    const options = /^(\s*options[ \t]+)(.*)$/.exec(line)
    if (!options) continue
    const args = options[2] ?? ''
    const at = start + (options[1]?.length ?? 0)
    found.push({ title, line: number, start: at, end: at + args.length, recovery: isRecovery(title, args) })
  }
  return found
}

/** /etc/kernel/cmdline: the arguments of kernels that are installed later, on one line. */
export function kernelCmdlineFile(text: string): KernelLine[] {
  const leading = /^\s*/.exec(text)?.[0].length ?? 0
  const end = text.trimEnd().length
  return [
    {
      title: 'kernels installed later',
      line: 1,
      start: leading,
      end: Math.max(end, leading),
      recovery: false,
    },
  ]
}
