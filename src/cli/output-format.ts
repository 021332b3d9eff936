import { Option } from 'commander'
import { UsageError } from './errors.ts'

/** The two ways to ask for JSON: ours, and that of qemu-img. */
export interface OutputOptions {
  readonly json?: boolean
  readonly output?: string
}

export function outputOption(): Option {
  return new Option('--output <form>', 'human or json, as with qemu-img')
}

export function wantsJson({ json, output }: OutputOptions): boolean {
  if (output !== undefined && output !== 'human' && output !== 'json')
    throw new UsageError(`--output is ${output}; expected human or json`)
  return json ?? output === 'json'
}
