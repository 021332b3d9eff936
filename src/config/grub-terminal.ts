import { insertLines, joinLines, type Line, splitLines } from './text.ts'

/** What GRUB itself shows its menu on: GRUB_SERIAL_COMMAND and the words of GRUB_TERMINAL. */
export interface GrubTerminal {
  /** `serial --unit=0 --speed=115200 --word=8 --parity=no --stop=1` */
  readonly serialCommand: string
  /** `serial console` */
  readonly terminals: string
}

/**
 * The `serial`, `terminal_input` and `terminal_output` lines of a generated grub.cfg, as grub-mkconfig's 00_header writes them
 * from GRUB_SERIAL_COMMAND and GRUB_TERMINAL: in place where they are, else before the first menu entry.
 */
export function setGrubTerminal(text: string, terminal: GrubTerminal): string {
  const lines = splitLines(text)
  const headEnd = lines.findIndex(line =>
    /^\s*(menuentry|submenu|blscfg)\b|^### END \/etc\/grub\.d\/00_header ###/.test(line.text),
  )
  const limit = headEnd < 0 ? lines.length : headEnd
  const find = (command: RegExp) => lines.findIndex((line, i) => i < limit && command.test(line.text))
  const wanted = [
    [/^\s*serial(\s|$)/, terminal.serialCommand],
    [/^\s*terminal_input(\s|$)/, `terminal_input ${terminal.terminals}`],
    [/^\s*terminal_output(\s|$)/, `terminal_output ${terminal.terminals}`],
  ] as const
  // From last to first, so that a missing line goes before the one that follows it.
  let before = limit
  for (const [command, text] of wanted.toReversed()) {
    const at = find(command)
    if (at >= 0) {
      replaceCommand(lines[at], text)
      before = at
    } else {
      insertLines(lines, before, [text])
    }
  }
  return joinLines(lines)
}

/** GRUB legacy's `serial` and `terminal` lines, before the first title. */
export function setGrubLegacyTerminal(text: string, unit: number, speed: number): string {
  const lines = splitLines(text)
  const firstTitle = lines.findIndex(line => /^\s*title\b/.test(line.text))
  if (firstTitle < 0) return text
  const find = (command: RegExp) => lines.findIndex((line, i) => i < firstTitle && command.test(line.text))
  const serial = `serial --unit=${unit} --speed=${speed}`
  const terminal = 'terminal --timeout=5 serial console'
  const terminalAt = find(/^\s*terminal\b/)
  if (terminalAt < 0) insertLines(lines, firstTitle, [terminal])
  else if (!/\bserial\b/.test(lines[terminalAt]?.text ?? '')) replaceCommand(lines[terminalAt], terminal)
  const serialAt = find(/^\s*serial\b/)
  if (serialAt >= 0) replaceCommand(lines[serialAt], serial)
  else insertLines(lines, terminalAt < 0 ? firstTitle : terminalAt, [serial])
  return joinLines(lines)
}

function replaceCommand(line: Line | undefined, command: string): void {
  if (line) line.text = (/^\s*/.exec(line.text)?.[0] ?? '') + command
}
