import { isRecovery, type KernelLine } from './kernel-line.ts'
import { joinLines, removeLines, splitLines } from './text.ts'

export type { KernelLine } from './kernel-line.ts'

interface PlacedLine {
  readonly text: string
  readonly start: number
  readonly number: number
  readonly ending: string
}

function* placedLines(text: string): Generator<PlacedLine> {
  let start = 0
  let number = 1
  for (const line of splitLines(text)) {
    yield { text: line.text, start, number, ending: line.ending }
    start += line.text.length + line.ending.length
    number++
  }
}

/** An entry of a boot menu, with the lines that hold its arguments: none where it cannot have any. */
export interface MenuEntry {
  readonly title: string
  /** What the boot loader's own default names it by. */
  readonly id: string
  /** 1-based. */
  readonly line: number
  readonly kernel: KernelLine | undefined
  /** Of a Boot Loader Specification entry: what it is sorted by. */
  readonly sortKey?: string
  readonly version?: string
}

/** `kernel` lines of GRUB legacy's menu.lst or grub.conf, with the title before them. */
export function grubLegacyMenu(text: string): MenuEntry[] {
  const entries: MenuEntry[] = []
  const untitled = { title: '(before the first title)', id: '', line: 1, kernel: undefined }
  let entry: { title: string; id: string; line: number; kernel: KernelLine | undefined } = untitled
  for (const { text: line, start, number } of placedLines(text)) {
    const heading = /^\s*title(?:\s+|=)(.*)$/.exec(line)
    if (heading) {
      entry = {
        title: (heading[1] ?? '').trim(),
        id: String(entries.filter(e => e.id !== '').length),
        line: number,
        kernel: undefined,
      }
      entries.push(entry)
    }
    const initrd = /^\s*initrd(?:\s+|=)(\S+)/.exec(line)
    if (initrd && entry.kernel)
      entry.kernel = { ...entry.kernel, initrd: [...entry.kernel.initrd, initrd[1] ?? ''] }
    const kernel = /^(\s*(?:kernel|module)(?:\s+|=)(?:--\S+\s+)*(\S+))([ \t]*)(.*)$/.exec(line)
    // A hypervisor's own line has other arguments; the Linux kernel is then the first `module`, and its initrd the next.
    if (!kernel || /\bxen[^/\s]*\.gz\b/.test(kernel[2] ?? '')) continue
    if (/^\s*module/.test(line) && !/vmlinu/.test(kernel[2] ?? '')) continue
    const args = kernel[4] ?? ''
    const at = start + (kernel[1]?.length ?? 0) + (kernel[3]?.length ?? 0)
    entry.kernel = {
      title: entry.title,
      line: number,
      start: at,
      end: at + args.length,
      recovery: isRecovery(entry.title, args),
      prefix: kernel[3] === '' ? ' ' : '',
      kernel: kernel[2] ?? '',
      initrd: [],
      foreign: false,
    }
    if (entry === untitled) entries.push(entry)
  }
  return entries
}

/** The number of the default entry of GRUB legacy: `default N`, from 0; `saved` is in a file of its own. */
export function grubLegacyDefault(text: string): string {
  return /^[ \t]*default(?:\s+|=)(\w+)/m.exec(text)?.[1] ?? '0'
}

const NOT_LINUX = /\.(c32|com|cbt|bss?|0|bin|img|lkrn)$|memtest|memdisk/i

/**
 * Labels of an extlinux.conf or syslinux.cfg that boot a kernel. A label without APPEND takes the one before the first label; one
 * that loads another program (memtest, chain.c32) has no kernel arguments.
 */
export function extlinuxMenu(text: string): MenuEntry[] {
  const entries: MenuEntry[] = []
  const lines = [...placedLines(text)]
  const place = (line: PlacedLine, match: RegExpExecArray, title: string): KernelLine => {
    const args = match[2] ?? ''
    const at = line.start + (match[1]?.length ?? 0)
    return {
      title,
      line: line.number,
      start: at,
      end: at + args.length,
      recovery: isRecovery(title, args),
      prefix: '',
      kernel: '',
      initrd: /(?:^|\s)initrd=(\S+)/.exec(args)?.[1]?.split(',') ?? [],
      foreign: false,
    }
  }
  const firstLabel = lines.findIndex(line => /^\s*label\s/i.test(line.text))
  const end = firstLabel < 0 ? lines.length : firstLabel
  let common: KernelLine | undefined
  for (const line of lines.slice(0, end)) {
    const append = /^(\s*append\s+)(.*)$/i.exec(line.text)
    if (append) common = place(line, append, '(every label)')
  }
  if (common && firstLabel < 0)
    entries.push({ title: common.title, id: '', line: common.line, kernel: common })

  for (let i = end; i < lines.length; ) {
    const head = lines[i]
    const id = /^\s*label\s+(.*)$/i.exec(head?.text ?? '')?.[1]?.trim() ?? ''
    let title = id
    let program: { path: string; line: PlacedLine } | undefined
    let kernel: KernelLine | undefined
    let initrd: string[] = []
    for (i++; i < lines.length && !/^\s*label\s/i.test(lines[i]?.text ?? ''); i++) {
      const line = lines[i]
      if (!line) break
      const menu = /^\s*menu\s+label\s+(.*)$/i.exec(line.text)
      if (menu) title = (menu[1] ?? '').trim()
      const linux = /^\s*(?:linux|kernel)\s+(\S+)/i.exec(line.text)
      if (linux) program = { path: linux[1] ?? '', line }
      const ramdisk = /^\s*initrd\s+(\S+)/i.exec(line.text)
      if (ramdisk) initrd = (ramdisk[1] ?? '').split(',')
      const append = /^(\s*append(?:\s+|$))(.*)$/i.exec(line.text)
      if (append && append[2]?.trim() !== '-') kernel = place(line, append, id)
    }
    const runsLinux = program !== undefined && !NOT_LINUX.test(program.path)
    if (program && runsLinux && !kernel && !common) {
      const at = program.line.start + program.line.text.length
      const indent = /^\s*/.exec(program.line.text)?.[0] ?? ''
      kernel = {
        title: id,
        line: program.line.number,
        start: at,
        end: at,
        recovery: false,
        prefix: `${program.line.ending || '\n'}${indent}APPEND `,
        kernel: '',
        initrd: [],
        foreign: false,
      }
    }
    const found = kernel ?? common
    entries.push({
      title,
      id,
      line: head?.number ?? 0,
      kernel:
        found && (runsLinux || (program === undefined && kernel !== undefined))
          ? { ...found, kernel: program?.path ?? id, initrd: initrd.length > 0 ? initrd : found.initrd }
          : undefined,
    })
  }
  return entries
}

/** The label that is booted when nobody chooses: ONTIMEOUT, `MENU DEFAULT` in a label, DEFAULT. A menu program is no label. */
export function extlinuxDefault(text: string): string {
  const timeout = /^[ \t]*ontimeout\s+(\S+)/im.exec(text)?.[1]
  if (timeout !== undefined) return timeout
  let label = ''
  for (const { text: line } of placedLines(text)) {
    label = /^\s*label\s+(.*)$/i.exec(line)?.[1]?.trim() ?? label
    if (/^\s*menu\s+default\s*$/i.test(line)) return label
  }
  return /^[ \t]*default\s+(\S+)/im.exec(text)?.[1] ?? ''
}

/**
 * A Boot Loader Specification type #1 entry. Its `options` lines together are the command line; where there are several, the
 * others count as one with the first when `mergeBlsOptions` joined them.
 */
export function blsMenu(text: string, name: string): MenuEntry {
  const keys = new Map<string, string[]>()
  let options: KernelLine | undefined
  let after: PlacedLine | undefined
  const title = blsTitle(text)
  for (const line of placedLines(text)) {
    const pair = /^\s*([a-z_-]+)[ \t]+((?:.*\S)?)\s*$/.exec(line.text)
    const key = pair?.[1] ?? ''
    if (pair) keys.set(key, [...(keys.get(key) ?? []), pair[2] ?? ''])
    if (key === 'linux' || key === 'initrd') after = line
    const match = /^(\s*options(?:[ \t]+|$))(.*)$/.exec(line.text)
    if (!match || options) continue
    const at = line.start + (match[1]?.length ?? 0)
    options = {
      title,
      line: line.number,
      start: at,
      end: at + (match[2]?.length ?? 0),
      recovery: isRecovery(title, match[2] ?? ''),
      prefix: /[ \t]$/.test(match[1] ?? '') ? '' : ' ',
      kernel: '',
      initrd: [],
      foreign: false,
    }
  }
  const linux = keys.get('linux')?.at(-1)
  if (!options && after && linux !== undefined) {
    const at = after.start + after.text.length
    options = {
      title,
      line: after.number,
      start: at,
      end: at,
      recovery: false,
      prefix: `${after.ending || '\n'}options `,
      kernel: '',
      initrd: [],
      foreign: false,
    }
  }
  return {
    title,
    id: name.replace(/\.conf$/, ''),
    line: 1,
    kernel: options && {
      ...options,
      kernel: linux ?? '',
      initrd: (keys.get('initrd') ?? []).flatMap(value => value.split(/\s+/)),
    },
    sortKey: keys.get('sort-key')?.at(-1) ?? '',
    version: keys.get('version')?.at(-1) ?? '',
  }
}

function blsTitle(text: string): string {
  return /^title[ \t]+(.*?)\r?$/m.exec(text)?.[1] ?? /^linux[ \t]+(\S+)/m.exec(text)?.[1] ?? 'boot entry'
}

/** One `options` line with what several say; a text with one comes back unchanged. */
export function mergeBlsOptions(text: string): string {
  const lines = splitLines(text)
  const value = (line: string) => /^\s*options(?:[ \t]+(.*))?$/.exec(line)?.[1] ?? ''
  const places = lines.flatMap((line, i) => (/^\s*options(?:[ \t]|$)/.test(line.text) ? [i] : []))
  const [first, ...others] = places
  const head = first === undefined ? undefined : lines[first]
  if (!head || others.length === 0) return text
  head.text = `options ${places
    .map(i => value(lines[i]?.text ?? ''))
    .filter(part => part.trim() !== '')
    .join(' ')}`
  for (const at of others.toReversed()) removeLines(lines, at, 1)
  return joinLines(lines)
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
      prefix: '',
      kernel: '',
      initrd: [],
      foreign: false,
    },
  ]
}
