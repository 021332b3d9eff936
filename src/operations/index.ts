import { cloudInit } from './cloud-init.ts'
import { expectPackages } from './expect-packages.ts'
import { chmod, chown, touch } from './file-attributes.ts'
import { appendLine, edit, truncate, truncateRecursive, upload, write } from './file-content.ts'
import {
  firstboot,
  firstbootCommand,
  firstbootInstall,
  install,
  run,
  runCommand,
  uninstall,
  update,
} from './firstboot/operations.ts'
import { growroot } from './growroot.ts'
import { hostname } from './hostname.ts'
import { journalToConsole } from './journal-to-console.ts'
import { kernelArg } from './kernel-arg.ts'
import { modprobeBlacklist } from './modprobe-blacklist.ts'
import { noZeroconf } from './no-zeroconf.ts'
import { password, rootPassword } from './password.ts'
import { qemuGa } from './qemu-ga.ts'
import { selinuxMode } from './selinux-mode.ts'
import { selinuxRelabel } from './selinux-relabel.ts'
import { serialConsole } from './serial-console.ts'
import { sshInject } from './ssh-inject.ts'
import { sshd } from './sshd.ts'
import { stableInterfaceNames } from './stable-interface-names.ts'
import { sysctl } from './sysctl.ts'
import { sysprep } from './sysprep/run.ts'
import { timezone } from './timezone.ts'
import { copy, copyIn, link, mkdir, move, remove } from './tree.ts'

export { type KernelArgumentChange, parseKernelArgumentChange } from '../config/kernel-arguments.ts'
export { parseSubstitutions } from '../config/substitution.ts'
export type { CloudInitArguments } from './cloud-init.ts'
export type { ExpectPackagesArguments } from './expect-packages.ts'
export type { ChmodArguments, ChownArguments, TouchArguments } from './file-attributes.ts'
export type {
  AppendLineArguments,
  EditArguments,
  TruncateArguments,
  UploadArguments,
  WriteArguments,
} from './file-content.ts'
export type {
  FirstbootArguments,
  FirstbootCommandArguments,
  PackagesArguments,
} from './firstboot/operations.ts'
export type { HostnameArguments } from './hostname.ts'
export type { KernelArgArguments } from './kernel-arg.ts'
export type { ModprobeBlacklistArguments } from './modprobe-blacklist.ts'
export type { Change, Operation, OperationReport } from './operation.ts'
export { type PasswordArguments, type PasswordSelector, parsePasswordSelector } from './password.ts'
export type { QemuGaArguments } from './qemu-ga.ts'
export type { SelinuxModeArguments } from './selinux-mode.ts'
export type { SelinuxRelabelArguments } from './selinux-relabel.ts'
export type { SerialConsoleArguments } from './serial-console.ts'
export { type ByteSource, bytesSource, type SourceNode } from './source-tree.ts'
export type { SshInjectArguments } from './ssh-inject.ts'
export type { SshdArguments } from './sshd.ts'
export type { SysctlArguments } from './sysctl.ts'
export { type ChosenTask, chooseTasks } from './sysprep/choose.ts'
export { sysprepTasks } from './sysprep/index.ts'
export { runSysprep, type SysprepArguments } from './sysprep/run.ts'
export type { SysprepSettings, SysprepTask } from './sysprep/task.ts'
export type { TimezoneArguments } from './timezone.ts'
export type {
  CopyInArguments,
  DeleteArguments,
  FromToArguments,
  LinkArguments,
  MkdirArguments,
} from './tree.ts'

/** Every operation by its name. The command line, recipes and the library share this list. */
export const operations = {
  'append-line': appendLine,
  chmod,
  chown,
  'cloud-init': cloudInit,
  copy,
  'copy-in': copyIn,
  delete: remove,
  edit,
  'expect-packages': expectPackages,
  firstboot,
  'firstboot-command': firstbootCommand,
  'firstboot-install': firstbootInstall,
  growroot,
  hostname,
  install,
  'journal-to-console': journalToConsole,
  'kernel-arg': kernelArg,
  link,
  mkdir,
  'modprobe-blacklist': modprobeBlacklist,
  move,
  'no-zeroconf': noZeroconf,
  password,
  'qemu-ga': qemuGa,
  'root-password': rootPassword,
  run,
  'run-command': runCommand,
  'selinux-mode': selinuxMode,
  'selinux-relabel': selinuxRelabel,
  'serial-console': serialConsole,
  'ssh-inject': sshInject,
  sshd,
  'stable-interface-names': stableInterfaceNames,
  sysctl,
  sysprep,
  timezone,
  touch,
  truncate,
  'truncate-recursive': truncateRecursive,
  uninstall,
  update,
  upload,
  write,
} as const

export type OperationName = keyof typeof operations
