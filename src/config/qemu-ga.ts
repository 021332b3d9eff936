/** Which commands qemu-ga serves: all but a list, or only a list (qemu-ga(8), --block-rpcs and --allow-rpcs). */
export interface RpcFilter {
  readonly kind: 'block' | 'allow'
  readonly commands: readonly string[]
}

/** `--blacklist` is what `--block-rpcs` was called before QEMU 7.2. */
const OPTION = /(?<=^|\s)(--block-rpcs|--blacklist|--allow-rpcs|-b|-a)(=|\s+|)([^\s]*)/g

/** Every filter in a line of qemu-ga options. */
export function filtersOfOptions(options: string): RpcFilter[] {
  return [...options.matchAll(OPTION)].map(match => ({
    kind: kindOf(match[1] ?? ''),
    commands: splitCommands(match[3] ?? ''),
  }))
}

/** A word of a command line: the kind of list that it starts or holds, and its value; no kind for any other word. */
export function filterOption(word: string): { kind: RpcFilter['kind'] | undefined; value: string } {
  const match = /^(--block-rpcs|--blacklist|--allow-rpcs|-b|-a)(?:=(.*)|(.*))$/s.exec(word)
  // `--block-rpcsx` is no such option; `-bx` is.
  if (!match || (match[1]?.startsWith('--') && match[3])) return { kind: undefined, value: word }
  return { kind: kindOf(match[1] ?? ''), value: match[2] ?? match[3] ?? '' }
}

function kindOf(option: string): RpcFilter['kind'] {
  return option === '--allow-rpcs' || option === '-a' ? 'allow' : 'block'
}

/** Changes the filters of one kind within a line of options; a line without one comes back as it is. */
export function changeOptions(
  options: string,
  kind: RpcFilter['kind'],
  wanted: ReadonlyMap<string, boolean>,
): string {
  return options.replace(OPTION, (whole: string, option: string, separator: string, list: string) => {
    if (kindOf(option) !== kind) return whole
    return option + separator + changeCommands({ kind, commands: splitCommands(list) }, wanted).join(',')
  })
}

export function splitCommands(list: string): string[] {
  return list
    .split(/[,\s]+/)
    .map(command => command.trim())
    .filter(command => command !== '')
}

/** qemu-ga takes an empty list for no filter. */
export function isAllowed(filter: RpcFilter | undefined, command: string): boolean {
  if (!filter || filter.commands.length === 0) return true
  return filter.commands.includes(command) === (filter.kind === 'allow')
}

/** The list with each command in or out as its filter's kind demands; the order of the others stays. */
export function changeCommands(filter: RpcFilter, wanted: ReadonlyMap<string, boolean>): string[] {
  // An allow list that is empty allows everything; what is to be blocked then cannot be said with it.
  let commands = [...filter.commands]
  for (const [command, allowed] of wanted) {
    const listed = allowed === (filter.kind === 'allow')
    if (listed && !commands.includes(command)) commands.push(command)
    if (!listed) commands = commands.filter(other => other !== command)
  }
  return commands
}
