import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import type { Command } from 'commander'
import { DrydiskError, isDrydiskError } from '../../errors.ts'
import type { GuestFs } from '../../guest/guest-fs.ts'
import { edit } from '../../operations/file-content.ts'
import type { OperationReport } from '../../operations/operation.ts'
import { byteCount } from '../../operations/report.ts'
import { reportEdit } from '../edit-report.ts'
import { UsageError } from '../errors.ts'
import { withTerminal } from '../interruption.ts'
import { type WriteOptions, writeOptions } from '../options.ts'
import { editGuest } from '../session.ts'
import { imageAndPaths } from '../target.ts'

interface EditOptions extends WriteOptions {
  readonly expression?: string[]
}

export function configure(command: Command): void {
  writeOptions(command)
    .argument('[image]', 'the image, or IMAGE:PATH')
    .argument('[paths...]', 'text files to edit')
    .option(
      '-e, --expression <expression>',
      'a substitution s/PATTERN/REPLACEMENT/FLAGS for each line, or $_ = "TEXT"; behind it: if /PATTERN/; may be repeated',
      (value: string, all: string[] = []) => [...all, value],
    )
    .addHelpText(
      'after',
      `
Without -e the file opens in $VISUAL or $EDITOR. Inode, owner, mode, attributes and label of the file stay as they are.

Examples:
  drydisk edit disk.qcow2 /etc/default/grub -e 's/^GRUB_TIMEOUT=.*/GRUB_TIMEOUT=1/'
  drydisk edit disk.qcow2:/etc/hosts
  drydisk edit --dry-run disk.qcow2 /etc/ssh/sshd_config -e 's/^#?(UseDNS).*/$1 no/'`,
    )
    .action(async (_image: string, _paths: string[], options: EditOptions) => {
      const { image, paths } = imageAndPaths(command.args, options.add)
      if (paths.length === 0) throw new UsageError('edit which file? Name at least one path')
      const expressions = options.expression
      if (expressions) await checkExpressions(expressions)
      await editGuest(
        image,
        options,
        async fs => {
          const reports: OperationReport[] = []
          for (const path of paths)
            if (!expressions) reports.push(await editInteractively(fs, path))
            else for (const expression of expressions) reports.push(await edit.run(fs, { path, expression }))
          return reports
        },
        (reports, recorder) => reportEdit(image, options, reports, recorder),
      )
    })
}

/** What is wrong with an expression is said before the image is opened. */
async function checkExpressions(expressions: readonly string[]): Promise<void> {
  const { parseSubstitutions } = await import('../../config/substitution.ts')
  try {
    expressions.forEach(parseSubstitutions)
  } catch (error) {
    throw isDrydiskError(error) ? new UsageError(error.message) : error
  }
}

async function editInteractively(fs: GuestFs, path: string): Promise<OperationReport> {
  const editor = process.env.VISUAL || process.env.EDITOR || 'vi'
  const before = await fs.readFile(path)
  const folder = mkdtempSync(join(tmpdir(), 'drydisk-edit-'))
  try {
    // The name tells the editor what language it is; the folder is for this user alone.
    const file = join(folder, basename(path).replace(/[^\w.-]/g, '_') || 'file')
    writeFileSync(file, before, { mode: 0o600 })
    // $EDITOR may hold arguments, so a shell reads it, as git and others do. The trap keeps Ctrl-C from
    // ending that shell; the editor does not inherit it.
    await withTerminal(async () => {
      const child = spawn('/bin/sh', ['-c', `trap : INT; ${editor} "$1"`, 'sh', file], { stdio: 'inherit' })
      const [status, signal] = await once(child, 'close')
      if (status !== 0)
        throw new DrydiskError(
          'EIO',
          `the editor ${editor} ended with ${signal === null ? `status ${status}` : signal}; nothing was changed`,
          { path },
        )
    })
    const after = readFileSync(file)
    const changed = !after.equals(before)
    if (changed) await fs.writeFile(path, new Uint8Array(after))
    const change = {
      setting: 'content',
      before: byteCount(before.length),
      after: byteCount(after.length),
      file: path,
    }
    return { operation: 'edit', changes: changed ? [change] : [], warnings: [] }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
