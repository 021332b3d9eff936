/**
 * Editors of configuration languages: functions on text that keep comments, order and every byte that nobody asked to change.
 *
 * ```ts
 * import { setInSshdFile, setIniValue, setShellValue } from 'drydisk/config'
 *
 * setInSshdFile('#PermitRootLogin yes\n', 'PermitRootLogin', 'no')
 * setIniValue('[main]\n', 'main', 'dns', 'none')
 * setShellValue('GRUB_TIMEOUT=5 # seconds\n', 'GRUB_TIMEOUT', '1')
 * ```
 */
export * from './config/accounts.ts'
export * from './config/apt-sources.ts'
export * from './config/authorized-keys.ts'
export * from './config/boot-entries.ts'
export * from './config/cloud-config.ts'
export * from './config/crypt.ts'
export * from './config/grub-config.ts'
export * from './config/grub-environment.ts'
export type { GrubVariables } from './config/grub-script.ts'
export * from './config/grub-terminal.ts'
export * from './config/hosts.ts'
export * from './config/ini.ts'
export * from './config/interfaces.ts'
export * from './config/kernel-arguments.ts'
export type { LineAssignment, LineCondition } from './config/line-statement.ts'
export * from './config/login-defs.ts'
export type { PerlPattern } from './config/perl-pattern.ts'
export type { Replacement, ReplacementPart } from './config/perl-replacement.ts'
export * from './config/repo-file.ts'
export * from './config/shell-assignments.ts'
export { quoteWord, type ShellWord, type WordPiece } from './config/shell-words.ts'
export * from './config/sshd-config.ts'
export * from './config/sshd-keywords.ts'
export * from './config/substitution.ts'
export * from './config/sudoers.ts'
export * from './config/sysctl-conf.ts'
export * from './config/systemd-unit.ts'
export * from './config/unit-names.ts'
export * from './config/version-compare.ts'
export * from './config/yaml-edit.ts'
export { DrydiskError, type ErrorCode, type ErrorContext, isDrydiskError } from './errors.ts'
