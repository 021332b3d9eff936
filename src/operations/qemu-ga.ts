import { DrydiskError } from '../errors.ts'
import type { Operation } from './operation.ts'
import { type QemuGaState, type RpcList, readQemuGa, rpcDecision } from './qemu-ga-lists.ts'
import { ReportBuilder } from './report.ts'

/** Arguments of the operation `qemu-ga`. */
export interface QemuGaArguments {
  /** Commands to allow; when nothing at all is given, those that OpenStack Nova calls. */
  readonly allow?: readonly string[]
  /** Commands to block. */
  readonly block?: readonly string[]
}

/** Setting a password, and freezing filesystems for a snapshot. */
const NOVA_COMMANDS = [
  'guest-set-user-password',
  'guest-fsfreeze-status',
  'guest-fsfreeze-freeze',
  'guest-fsfreeze-thaw',
]

export const qemuGa: Operation<QemuGaArguments> = {
  name: 'qemu-ga',
  summary:
    'Allow (or block) commands of the QEMU guest agent: those of Nova, guest-set-user-password among them, if none is named',
  async run(guest, { allow, block = [] }) {
    const report = new ReportBuilder('qemu-ga')
    const wanted = new Map<string, boolean>()
    for (const command of allow ?? (block.length > 0 ? [] : NOVA_COMMANDS))
      wanted.set(checkCommand(command), true)
    for (const command of block) wanted.set(checkCommand(command), false)

    const state = await readQemuGa(guest)
    if (!state) {
      report.warn(
        'the QEMU guest agent is not installed in this guest: no unit or init script of it was found',
      )
      return report.build()
    }
    const word = (yes: boolean) => (yes ? 'allowed' : 'blocked')
    const wrong = [...wanted].filter(([command, allowed]) => rpcDecision(state, command).allowed !== allowed)
    for (const [command, allowed] of wanted) {
      const place = rpcDecision(state, command)
      if (place.allowed === allowed) report.keep(`qemu-ga ${command}`, word(allowed), place.file, place.line)
    }
    if (wrong.length === 0) return report.build()
    await change(state, wrong)
    const after = (await readQemuGa(guest)) ?? state
    for (const [command, allowed] of wrong) {
      const place = rpcDecision(after, command)
      if (place.allowed !== allowed)
        throw new DrydiskError(
          'ERR_NOT_EFFECTIVE',
          `${command} still is ${word(place.allowed)} by ${place.file}; edit that file by hand`,
          { path: place.file },
        )
      report.change(`qemu-ga ${command}`, word(!allowed), word(allowed), place.file, { line: place.line })
    }
    return report.build()
  },
}

/** Whatever forbids a command must change for it to be allowed; to block it one place is enough. */
async function change(state: QemuGaState, wrong: readonly (readonly [string, boolean])[]): Promise<void> {
  const changes = new Map<RpcList, Map<string, boolean>>()
  const note = (list: RpcList, command: string, allowed: boolean) => {
    const known = changes.get(list) ?? new Map<string, boolean>()
    changes.set(list, known.set(command, allowed))
  }
  const blocked: string[] = []
  const allowing = state.lists.filter(list => list.kind === 'allow' && list.commands.length > 0)
  for (const [command, allowed] of wrong) {
    if (!allowed) {
      const present = state.lists.find(list => list.kind === 'block')
      // An allow list that loses its last command would allow everything.
      const safe = allowing.every(list =>
        list.commands.some(other => !wrong.some(([name]) => name === other)),
      )
      if (present) note(present, command, false)
      else if (allowing.length > 0 && safe) for (const list of allowing) note(list, command, false)
      else blocked.push(command)
      continue
    }
    for (const list of state.lists)
      if (list.kind === 'block' && list.commands.includes(command)) note(list, command, true)
    const [first] = allowing
    if (first && !allowing.some(list => list.commands.includes(command))) note(first, command, true)
  }
  for (const [list, wanted] of changes) await list.change(wanted)
  if (blocked.length > 0) await state.block(blocked)
}

function checkCommand(command: string): string {
  if (!/^guest-[a-z0-9-]+$/.test(command))
    throw new DrydiskError(
      'ERR_INVALID_ARGUMENT',
      `${JSON.stringify(command)} is not a command of qemu-ga; they start with "guest-"`,
    )
  return command
}
