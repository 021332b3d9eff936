import { chmod, chown, touch } from './file-attributes.ts'
import { appendLine, edit, truncate, truncateRecursive, upload, write } from './file-content.ts'
import { password, rootPassword } from './password.ts'
import { sshInject } from './ssh-inject.ts'
import { copy, copyIn, link, mkdir, move, remove } from './tree.ts'

export type { ChmodArguments, ChownArguments, TouchArguments } from './file-attributes.ts'
export type {
  AppendLineArguments,
  EditArguments,
  TruncateArguments,
  UploadArguments,
  WriteArguments,
} from './file-content.ts'
export type { Change, Operation, OperationReport } from './operation.ts'
export { type PasswordArguments, type PasswordSelector, parsePasswordSelector } from './password.ts'
export { type ByteSource, bytesSource, type SourceNode } from './source-tree.ts'
export type { SshInjectArguments } from './ssh-inject.ts'
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
  copy,
  'copy-in': copyIn,
  delete: remove,
  edit,
  link,
  mkdir,
  move,
  password,
  'root-password': rootPassword,
  'ssh-inject': sshInject,
  touch,
  truncate,
  'truncate-recursive': truncateRecursive,
  upload,
  write,
} as const

export type OperationName = keyof typeof operations
