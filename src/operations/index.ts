import { groupAdd, groupDel, groupMember } from './accounts/groups.ts'
import { accountExpire, passwordAge, passwordExpire } from './accounts/password-age.ts'
import { passwordCrypto } from './accounts/password-crypto.ts'
import { userAdd } from './accounts/user-add.ts'
import { userDel } from './accounts/user-del.ts'
import { userLock, userUnlock } from './accounts/user-lock.ts'
import { userMod } from './accounts/user-mod.ts'
import { cloudInit } from './cloud-init.ts'
import { cloudInitClean } from './cloud-init-clean.ts'
import { cloudInitDatasources, cloudInitUser } from './cloud-init-settings.ts'
import { cloudInitUnblock } from './cloud-init-unblock.ts'
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
import { keymap } from './keymap.ts'
import { locale } from './locale.ts'
import { mirror } from './mirror/mirror.ts'
import { modprobeBlacklist } from './modprobe-blacklist.ts'
import { networkDhcp } from './network/dhcp.ts'
import { networkUnpin } from './network/unpin.ts'
import { noZeroconf } from './no-zeroconf.ts'
import { password, rootPassword } from './password.ts'
import { qemuGa } from './qemu-ga.ts'
import { scrub } from './scrub.ts'
import { selinuxMode } from './selinux-mode.ts'
import { selinuxRelabel } from './selinux-relabel.ts'
import { serialConsole } from './serial-console.ts'
import { disableService, enableService, maskService, unmaskService } from './services/service-operations.ts'
import { sshInject } from './ssh-inject.ts'
import { sshd } from './sshd.ts'
import { stableInterfaceNames } from './stable-interface-names.ts'
import { sudo } from './sudo.ts'
import { sysctl } from './sysctl.ts'
import { sysprep } from './sysprep/run.ts'
import { tarIn } from './tar/tar-in.ts'
import { timezone } from './timezone.ts'
import { copy, copyIn, link, mkdir, move, remove } from './tree.ts'

export { type KernelArgumentChange, parseKernelArgumentChange } from '../config/kernel-arguments.ts'
export { parseSubstitutions } from '../config/substitution.ts'
export type { GroupAddArguments, GroupMemberArguments } from './accounts/groups.ts'
export type { AccountExpireArguments, PasswordAgeArguments } from './accounts/password-age.ts'
export { parseCryptMethod } from './accounts/password-crypto.ts'
export type { UserAddArguments } from './accounts/user-add.ts'
export type { UserDelArguments } from './accounts/user-del.ts'
export type { UserModArguments } from './accounts/user-mod.ts'
export { type BootEntry, type BootLoader, bootEntries } from './boot-listing.ts'
export type { CloudInitArguments } from './cloud-init.ts'
export { type CloudInitCleanArguments, cleanCloudInit } from './cloud-init-clean.ts'
export type { CloudInitDatasourcesArguments, CloudInitUserArguments } from './cloud-init-settings.ts'
export {
  type CloudInitBlock,
  type Datasources,
  type GrowthModule,
  type RootGrowth,
  readCloudInitBlocks,
  readDatasources,
  readRootGrowth,
} from './cloud-init-state.ts'
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
export { type GuestFacts, type GuestKernel, readGuestFacts } from './guest-facts.ts'
export type { HostnameArguments } from './hostname.ts'
export type { KernelArgArguments } from './kernel-arg.ts'
export type { KeymapArguments } from './keymap.ts'
export type { LocaleArguments } from './locale.ts'
export type { MirrorArguments } from './mirror/mirror.ts'
export type { ModprobeBlacklistArguments } from './modprobe-blacklist.ts'
export type { NetworkDhcpArguments } from './network/dhcp.ts'
export { type NetworkStack, type NetworkStackKind, readNetworkStacks } from './network/stack.ts'
export { unpinNetwork } from './network/unpin.ts'
export type { Change, Operation, OperationReport } from './operation.ts'
export { type PasswordArguments, type PasswordSelector, parsePasswordSelector } from './password.ts'
export type { QemuGaArguments } from './qemu-ga.ts'
export { type QemuGaState, type RpcList, readQemuGa, rpcDecision } from './qemu-ga-lists.ts'
export type { ScrubArguments } from './scrub.ts'
export type { SelinuxModeArguments } from './selinux-mode.ts'
export type { SelinuxRelabelArguments } from './selinux-relabel.ts'
export type { SerialConsoleArguments } from './serial-console.ts'
export type { ServiceArguments } from './services/service-operations.ts'
export { type ServiceState, serviceState } from './services/service-state.ts'
export { type ByteSource, bytesSource, type SourceNode } from './source-tree.ts'
export type { SshInjectArguments } from './ssh-inject.ts'
export { readSshdSetting, type SshdArguments, type SshdSetting } from './sshd.ts'
export type { SudoArguments } from './sudo.ts'
export type { SysctlArguments } from './sysctl.ts'
export { type ChosenTask, chooseTasks } from './sysprep/choose.ts'
export { sysprepTasks } from './sysprep/index.ts'
export { runSysprep, type SysprepArguments } from './sysprep/run.ts'
export type { SysprepSettings, SysprepTask } from './sysprep/task.ts'
export { readTar, type TarEntry, type TarEntryType, type TarPiece } from './tar/read-tar.ts'
export type { TarInArguments } from './tar/tar-in.ts'
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
  'account-expire': accountExpire,
  'append-line': appendLine,
  chmod,
  chown,
  'cloud-init': cloudInit,
  'cloud-init-clean': cloudInitClean,
  'cloud-init-datasources': cloudInitDatasources,
  'cloud-init-unblock': cloudInitUnblock,
  'cloud-init-user': cloudInitUser,
  copy,
  'copy-in': copyIn,
  delete: remove,
  'disable-service': disableService,
  edit,
  'enable-service': enableService,
  'expect-packages': expectPackages,
  firstboot,
  'firstboot-command': firstbootCommand,
  'firstboot-install': firstbootInstall,
  'group-add': groupAdd,
  'group-del': groupDel,
  'group-member': groupMember,
  growroot,
  hostname,
  install,
  'journal-to-console': journalToConsole,
  'kernel-arg': kernelArg,
  keymap,
  link,
  locale,
  'mask-service': maskService,
  mirror,
  mkdir,
  'modprobe-blacklist': modprobeBlacklist,
  move,
  'network-dhcp': networkDhcp,
  'network-unpin': networkUnpin,
  'no-zeroconf': noZeroconf,
  password,
  'password-age': passwordAge,
  'password-crypto': passwordCrypto,
  'password-expire': passwordExpire,
  'qemu-ga': qemuGa,
  'root-password': rootPassword,
  run,
  'run-command': runCommand,
  'selinux-mode': selinuxMode,
  scrub,
  'selinux-relabel': selinuxRelabel,
  'serial-console': serialConsole,
  'ssh-inject': sshInject,
  sshd,
  'stable-interface-names': stableInterfaceNames,
  sudo,
  sysctl,
  sysprep,
  'tar-in': tarIn,
  timezone,
  touch,
  truncate,
  'truncate-recursive': truncateRecursive,
  uninstall,
  'unmask-service': unmaskService,
  update,
  upload,
  'user-add': userAdd,
  'user-del': userDel,
  'user-lock': userLock,
  'user-mod': userMod,
  'user-unlock': userUnlock,
  write,
} as const

/** The name of an operation: a key of `operations`. */
export type OperationName = keyof typeof operations
