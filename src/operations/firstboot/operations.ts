import { DrydiskError } from '../../errors.ts'
import type { GuestFs } from '../../guest/guest-fs.ts'
import { readIdentity } from '../../guest/identity.ts'
import type { Operation, OperationReport } from '../operation.ts'
import { ReportBuilder } from '../report.ts'
import { type ByteSource, writeFromSource } from '../source-tree.ts'
import { carriedScript, checkPackageNames, packageScript } from './packages.ts'
import { type QueuedScript, queueScript } from './queue.ts'
import { PACKAGES } from './texts.ts'

/** Arguments of the operation `firstboot`. */
export interface FirstbootArguments {
  /** A program for the guest: anything that it can execute; a text without `#!` is one for sh. */
  readonly script: string | Uint8Array
  /** What it is called in the log. */
  readonly name: string
}

/** Arguments of the operation `firstboot-command`. */
export interface FirstbootCommandArguments {
  /** A command line for sh. */
  readonly command: string
}

/** Arguments of the operations that install, remove and update packages at the first boot. */
export interface PackagesArguments {
  readonly packages: readonly string[]
  /** .deb, .rpm or .apk files that are carried into the image and installed there without a network. */
  readonly files?: readonly ByteSource[]
}

/** Why an operation of virt-customize that runs code of the guest does so later here. */
const LATER = 'drydisk runs no code of the guest: this is done at its first boot'

async function queue(
  name: string,
  guest: GuestFs,
  script: QueuedScript,
  warning?: string,
): Promise<OperationReport> {
  const report = new ReportBuilder(name)
  await queueScript(guest, script, report)
  if (warning) report.warn(warning)
  return report.build()
}

function scriptOperation(name: string, summary: string, warning?: string): Operation<FirstbootArguments> {
  return {
    name,
    summary,
    run: (guest, args) =>
      queue(name, guest, { name: args.name, content: args.script, shown: args.name }, warning),
  }
}

function commandOperation(
  name: string,
  summary: string,
  warning?: string,
): Operation<FirstbootCommandArguments> {
  return {
    name,
    summary,
    run: (guest, { command }) =>
      queue(name, guest, { name: 'command', content: `#!/bin/sh\n${command}\n`, shown: command }, warning),
  }
}

function installOperation(name: string, summary: string, warning?: string): Operation<PackagesArguments> {
  return {
    name,
    summary,
    check({ packages }) {
      checkPackageNames(packages)
    },
    async run(guest, { packages, files = [] }) {
      checkPackageNames(packages)
      if (packages.length + files.length === 0)
        throw new DrydiskError('ERR_INVALID_ARGUMENT', 'no packages were named')
      const report = new ReportBuilder(name)
      const carried = await carry(guest, files, report)
      await queueScript(
        guest,
        {
          name: 'install',
          content: carried.length > 0 ? carriedScript(carried, packages) : packageScript('install', packages),
          shown: `install ${[...carried, ...packages].join(' ')}`,
          network: packages.length > 0,
        },
        report,
      )
      if (warning) report.warn(warning)
      return report.build()
    },
  }
}

/** Puts package files where the script finds them; their names. */
async function carry(guest: GuestFs, files: readonly ByteSource[], report: ReportBuilder): Promise<string[]> {
  const names: string[] = []
  for (const file of files) {
    const name = file.name.replace(/^.*\//s, '').replace(/[^A-Za-z0-9+._~^-]/g, '-')
    await checkKind(guest, name)
    if (names.includes(name) || (names[0] && kindOf(names[0]) !== kindOf(name)))
      throw new DrydiskError(
        'ERR_INVALID_ARGUMENT',
        `${name}: package files are of one kind, and each is named once`,
      )
    if (!(await guest.exists(PACKAGES))) await guest.mkdir(PACKAGES, { recursive: true })
    const path = `${PACKAGES}/${name}`
    const result = await writeFromSource(guest, path, file, { mode: 0o644 })
    if (result === 'same') report.keep('package', name, path)
    else report.always('package', null, name, path)
    names.push(name)
  }
  return names
}

const kindOf = (name: string): string => name.slice(name.lastIndexOf('.') + 1)

async function checkKind(guest: GuestFs, name: string): Promise<void> {
  const { family, prettyName } = await readIdentity(guest)
  const taken = {
    debian: 'deb',
    rhel: 'rpm',
    suse: 'rpm',
    alpine: 'apk',
    arch: '',
    cirros: '',
    unknown: undefined,
  }[family]
  const kind = kindOf(name)
  if (taken === undefined ? ['deb', 'rpm', 'apk'].includes(kind) : kind !== '' && kind === taken) return
  throw new DrydiskError(
    'ERR_INVALID_ARGUMENT',
    `${name} is no package for ${prettyName}${taken ? `, which takes .${taken} files` : ''}`,
  )
}

export const firstboot = scriptOperation('firstboot', 'Run a script once, when the guest boots first')
export const firstbootCommand = commandOperation(
  'firstboot-command',
  'Run a command line once, when the guest boots first',
)
export const firstbootInstall = installOperation(
  'firstboot-install',
  'Install packages when the guest boots first, with its own package manager',
)
export const run = scriptOperation('run', 'Run a script: at the first boot', LATER)
export const runCommand = commandOperation('run-command', 'Run a command line: at the first boot', LATER)
export const install = installOperation('install', 'Install packages: at the first boot', LATER)

export const uninstall: Operation<Pick<PackagesArguments, 'packages'>> = {
  name: 'uninstall',
  summary: 'Remove packages: at the first boot',
  check({ packages }) {
    checkPackageNames(packages)
  },
  async run(guest, { packages }) {
    checkPackageNames(packages)
    if (packages.length === 0) throw new DrydiskError('ERR_INVALID_ARGUMENT', 'no packages were named')
    const content = packageScript('uninstall', packages)
    const shown = `uninstall ${packages.join(' ')}`
    return queue('uninstall', guest, { name: 'uninstall', content, shown }, LATER)
  },
}

export const update: Operation<Readonly<Record<string, never>>> = {
  name: 'update',
  summary: 'Update all packages: at the first boot',
  run: guest =>
    queue(
      'update',
      guest,
      { name: 'update', content: packageScript('update', []), shown: 'update', network: true },
      LATER,
    ),
}
