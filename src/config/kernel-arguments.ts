import { DrydiskError } from '../errors.ts'

/**
 * One change of a kernel command line. `set` replaces an argument of the same key (kernel keys that may repeat, such as
 * `console`, are added to, but for one of the same device with other options); `append` adds unless it is there; `remove` takes
 * `key` (with any value) or exactly `key=value` out; `last` makes these the last ones of their key, in this order: the last
 * `console=` becomes /dev/console.
 */
export type KernelArgumentChange =
  | { readonly action: 'set' | 'append' | 'remove'; readonly argument: string }
  | { readonly action: 'last'; readonly arguments: readonly string[] }

/** Keys of which a command line may hold several with a meaning each (kernel-parameters.txt, dracut.cmdline(7)). */
const REPEATABLE =
  /^(console|earlycon|netconsole|hugepages|hugepagesz|ip|ifname|vlan|bond|bridge|team|nameserver|memmap|mem_encrypt|initcall_blacklist|rd\.(lvm\.(lv|vg)|luks\.(uuid|name|options|key)|md\.uuid|driver\.(pre|post|blacklist)|break|znet|dasd|zfcp)|systemd\.(wants|mask|setenv)|modprobe\.blacklist|dyndbg)$/

/** An argument on a command line, and where it stands there. */
export interface KernelArgument {
  readonly text: string
  readonly start: number
  readonly end: number
}

/** Splits as the kernel does (lib/cmdline.c, next_arg): at white space outside of double quotes. */
export function kernelArguments(commandLine: string): KernelArgument[] {
  const found: KernelArgument[] = []
  let start = -1
  let quoted = false
  for (let i = 0; i <= commandLine.length; i++) {
    const c = commandLine[i]
    const space = c === undefined || (!quoted && /\s/.test(c))
    if (space) {
      if (start >= 0) found.push({ text: commandLine.slice(start, i), start, end: i })
      start = -1
    } else {
      if (start < 0) start = i
      if (c === '"') quoted = !quoted
    }
  }
  return found
}

/** The kernel takes `-` and `_` in a key as the same (kernel/params.c, dash2underscore). */
export function kernelArgumentKey(argument: string): string {
  return (argument.split('=', 1)[0] ?? '').replaceAll('-', '_')
}

function sameArgument(a: string, b: string): boolean {
  const [left, right] = [a.indexOf('='), b.indexOf('=')]
  return (
    kernelArgumentKey(a) === kernelArgumentKey(b) &&
    (left < 0 ? '' : a.slice(left)) === (right < 0 ? '' : b.slice(right))
  )
}

/** `KEY`, `KEY=VALUE` set; `+…` appends; `-…` removes. */
export function parseKernelArgumentChange(text: string): KernelArgumentChange {
  const sign = text[0]
  const argument = sign === '+' || sign === '-' ? text.slice(1) : text
  const change: KernelArgumentChange = {
    action: sign === '+' ? 'append' : sign === '-' ? 'remove' : 'set',
    argument,
  }
  checkKernelArgument(change)
  return change
}

/**
 * Refuses what cannot be written in every boot loader's language alike: white space, quotes and what GRUB's script or a shell
 * would expand.
 */
export function checkKernelArgument(change: KernelArgumentChange): void {
  for (const argument of change.action === 'last' ? change.arguments : [change.argument])
    if (!/^[\x21-\x7e]+$/.test(argument) || /["'`$\\;&|<>{}#]/.test(argument) || argument.startsWith('='))
      throw new DrydiskError(
        'ERR_INVALID_ARGUMENT',
        `${JSON.stringify(argument)} is not a kernel argument that every boot loader can hold; expected KEY or KEY=VALUE of printable characters without spaces, quotes and $ \\ ; & | < > { } #`,
        { argument },
      )
}

/**
 * Applies changes; a command line that has them already comes back unchanged. What follows `--` belongs to init. A quote that is
 * never closed is `ERR_CORRUPT`.
 */
export function changeKernelArguments(commandLine: string, changes: readonly KernelArgumentChange[]): string {
  let line = commandLine
  for (const change of changes) line = changeOne(line, change)
  if (line !== commandLine && (commandLine.split('"').length - 1) % 2 === 1)
    throw new DrydiskError(
      'ERR_CORRUPT',
      `the kernel arguments ${JSON.stringify(commandLine.slice(0, 200))} have a quote that is never closed, which swallows what follows; close it first`,
    )
  return line
}

function changeOne(line: string, change: KernelArgumentChange): string {
  const own = ownArguments(line)
  if (change.action === 'last') {
    const keys = new Set(change.arguments.map(kernelArgumentKey))
    const ofKeys = own.filter(a => keys.has(kernelArgumentKey(a.text)))
    const tail = ofKeys.slice(-change.arguments.length)
    const once = ofKeys.every(
      (a, i) =>
        i >= ofKeys.length - tail.length || !change.arguments.some(wanted => sameConsole(wanted, a.text)),
    )
    if (
      once &&
      tail.length === change.arguments.length &&
      tail.every((a, i) => sameConsole(a.text, change.arguments[i] ?? ''))
    )
      return line
    // A console that is there with other options (`ttyS0,9600`) makes way as well.
    const devices = new Set(change.arguments.map(device))
    const rest = removeArguments(
      line,
      ofKeys.filter(a => devices.has(device(a.text))),
    )
    return appendArguments(rest, change.arguments)
  }
  const { argument } = change
  const key = kernelArgumentKey(argument)
  const sameKey = own.filter(a => kernelArgumentKey(a.text) === key)
  if (change.action === 'remove')
    return removeArguments(
      line,
      argument.includes('=') ? own.filter(a => sameArgument(a.text, argument)) : sameKey,
    )
  if (sameKey.some(a => sameArgument(a.text, argument)) && (change.action === 'append' || isRepeatable(key)))
    return line
  const rivals = own.filter(a => isRivalConsole(a.text, argument))
  const lastRival = rivals[rivals.length - 1]
  if (change.action === 'set' && lastRival) {
    const replaced = line.slice(0, lastRival.start) + argument + line.slice(lastRival.end)
    return removeArguments(replaced, rivals.slice(0, -1))
  }
  if (change.action === 'append' || isRepeatable(key))
    return appendArguments(removeArguments(line, rivals), [argument])
  const winner = sameKey[sameKey.length - 1]
  if (!winner) return appendArguments(line, [argument])
  const replaced = sameArgument(winner.text, argument)
    ? line
    : line.slice(0, winner.start) + argument + line.slice(winner.end)
  return removeArguments(replaced, sameKey.slice(0, -1))
}

/** Whether an argument may stand several times, each with an effect, such as `console`. */
export function isRepeatable(key: string): boolean {
  return REPEATABLE.test(key.replaceAll('-', '_'))
}

/** `console=ttyS0` of `console=ttyS0,115200n8`. */
function device(argument: string): string {
  return argument.split(',', 1)[0] ?? ''
}

/**
 * Whether both name one console with different options: the kernel takes the options of the first
 * (kernel/printk/printk.c, __add_preferred_console), so the second would be without effect.
 */
export function isRivalConsole(a: string, b: string): boolean {
  return a !== b && a.startsWith('console=') && device(a) === device(b)
}

/** The kernel's serial drivers take no parity and 8 bits where a speed stands alone (uart_parse_options). */
function sameConsole(a: string, b: string): boolean {
  const whole = (text: string) => text.replace(/^(console=tty\w+,\d+)n?$/, '$1n8')
  return whole(a) === whole(b)
}

/** Those before `--`. */
export function ownArguments(line: string): KernelArgument[] {
  const all = kernelArguments(line)
  const end = all.findIndex(a => a.text === '--')
  return end < 0 ? all : all.slice(0, end)
}

function removeArguments(line: string, removed: readonly KernelArgument[]): string {
  let result = line
  for (const argument of removed.toReversed()) {
    let { start, end } = argument
    // One of the two gaps beside it goes too: that before it, or at the very start that after it.
    if (start > 0 && /\s/.test(result[start - 1] ?? '')) start--
    else while (/[ \t]/.test(result[end] ?? '')) end++
    result = result.slice(0, start) + result.slice(end)
  }
  return result
}

function appendArguments(line: string, added: readonly string[]): string {
  const own = ownArguments(line)
  const last = own[own.length - 1]
  const text = added.join(' ')
  const all = kernelArguments(line)
  if (!last) return all.length > 0 ? `${text} ${line.trimStart()}` : text + line.trimEnd()
  return `${line.slice(0, last.end)} ${text}${line.slice(last.end)}`
}
