import { type Command, Option } from 'commander'
import { UsageError } from './errors.ts'

/** Options of virt-customize(1) and virt-sysprep(1) about the machine and the log in which they work, of which drydisk has neither. */
const WITHOUT_EFFECT = [
  '--network',
  '--no-network',
  '-m, --memsize <mb>',
  '--smp <n>',
  '--no-logfile',
  '--no-selinux-relabel',
  '-v, --verbose',
  '-x',
  '--wrap',
]

const REGISTER =
  'it runs subscription-manager, and drydisk runs no code of the guest. Have the guest register itself at its first boot (--firstboot-command)'
const LIBVIRT = 'drydisk asks no libvirt: name the file of the image'
const REFUSED: Readonly<Record<string, string>> = {
  '--sm-credentials <selector>': REGISTER,
  '--sm-register': REGISTER,
  '--sm-attach <selector>': REGISTER,
  '--sm-remove': REGISTER,
  '--sm-unregister': REGISTER,
  '--attach <iso>':
    'nothing runs that could read it. Copy what is needed into the guest (--copy-in, --tar-in)',
  '-d, --domain <domain>': LIBVIRT,
  '-c, --connect <uri>': LIBVIRT,
}

/** So that command lines for the virt tools can be taken over: what has no meaning here is passed over, what cannot be done says why. */
export function virtToolsOptions(command: Command): void {
  for (const flags of WITHOUT_EFFECT) command.addOption(new Option(flags).hideHelp())
  for (const [flags, reason] of Object.entries(REFUSED)) {
    const option = new Option(flags).hideHelp()
    command.addOption(option)
    command.on(`option:${option.name()}`, () => {
      throw new UsageError(`${option.long} is refused: ${reason}`)
    })
  }
}
