import { equalBytes } from '../config/text.ts'
import { DrydiskError, isDrydiskError } from '../errors.ts'
import type { GuestFs, GuestPath } from '../guest/guest-fs.ts'
import { type CopyCounts, copyInto, copyXattrs, guestNode } from './copy-tree.ts'
import { glob } from './glob.ts'
import {
  displayPath,
  joinPath,
  lstatOrUndefined,
  pathBytes,
  splitPath,
  statOrUndefined,
} from './guest-files.ts'
import type { Operation } from './operation.ts'
import { byteCount, octal, ReportBuilder } from './report.ts'
import type { SourceNode } from './source-tree.ts'

/** Arguments of the operation `mkdir`. */
export interface MkdirArguments {
  readonly path: GuestPath
}

export const mkdir: Operation<MkdirArguments> = {
  name: 'mkdir',
  summary: 'Make a folder, and the folders above it where they are missing',
  async run(guest, { path }) {
    const report = new ReportBuilder('mkdir')
    if ((await statOrUndefined(guest, path))?.isDirectory()) return report.build()
    await guest.mkdir(path, { recursive: true })
    report.change('folder', null, `mode ${octal((await guest.stat(path)).mode)}`, displayPath(path))
    return report.build()
  },
}

/** Arguments of the operation `delete`. */
export interface DeleteArguments {
  /** A glob(7) pattern; folders are deleted with all below. Nothing that matches is no error. */
  readonly pattern: GuestPath
}

export const remove: Operation<DeleteArguments> = {
  name: 'delete',
  summary: 'Delete files and folders (with all below them); wildcards are expanded inside the guest',
  async run(guest, { pattern }) {
    const report = new ReportBuilder('delete')
    for (const path of await glob(guest, pattern)) {
      const { name } = splitPath(path)
      if (name.length === 0 || (name.length <= 2 && name.every(byte => byte === 0x2e)))
        throw new DrydiskError(
          'ERR_INVALID_ARGUMENT',
          `${displayPath(path)}: refusing to delete the root or a dot folder`,
        )
      const stats = await lstatOrUndefined(guest, path)
      if (!stats) continue
      await guest.rm(path, { recursive: true })
      report.change(stats.type, stats.isFile() ? byteCount(stats.size) : 'present', null, displayPath(path))
    }
    return report.build()
  },
}

/** Arguments of the operations that copy and move within a guest. */
export interface FromToArguments {
  readonly from: GuestPath
  /** The new name, or an existing folder to go into. */
  readonly to: GuestPath
}

/** Done already when the source is gone and the destination is there. */
export const move: Operation<FromToArguments> = {
  name: 'move',
  summary: 'Move or rename a file or folder within the guest',
  async run(guest, { from, to }) {
    const report = new ReportBuilder('move')
    const source = pathBytes(from)
    const stats = await lstatOrUndefined(guest, source)
    const target = await targetOf(guest, source, to)
    if (!stats) {
      // A folder that was renamed is itself the destination by now.
      if ((await lstatOrUndefined(guest, target)) || (await lstatOrUndefined(guest, to)))
        return report.build()
      throw new DrydiskError('ENOENT', `${displayPath(from)} does not exist, so it cannot be moved`, {
        path: displayPath(from),
      })
    }
    try {
      await guest.rename(source, target)
    } catch (error) {
      if (!isDrydiskError(error, 'EXDEV')) throw error
      await copyWithin(guest, source, target)
      await guest.rm(source, { recursive: true })
    }
    report.change('path', displayPath(from), displayPath(target), displayPath(target))
    return report.build()
  },
}

export const copy: Operation<FromToArguments> = {
  name: 'copy',
  summary: 'Copy a file or folder within the guest, with owners, modes and times',
  async run(guest, { from, to }) {
    const report = new ReportBuilder('copy')
    const source = pathBytes(from)
    const target = await targetOf(guest, source, to)
    if (isWithin(target, source))
      throw new DrydiskError('EINVAL', `cannot copy ${displayPath(from)} into itself, ${displayPath(target)}`)
    reportCopy(report, await copyWithin(guest, source, target), displayPath(from), displayPath(target))
    return report.build()
  },
}

/** Arguments of the operation `copy-in`. */
export interface CopyInArguments {
  readonly source: SourceNode
  /** An existing folder of the guest. */
  readonly folder: GuestPath
}

export const copyIn: Operation<CopyInArguments> = {
  name: 'copy-in',
  summary: 'Copy a file or folder from outside into a folder of the guest',
  async run(guest, { source, folder }) {
    const report = new ReportBuilder('copy-in')
    if (!(await guest.stat(folder)).isDirectory())
      throw new DrydiskError('ENOTDIR', `${displayPath(folder)} is not a folder`, {
        path: displayPath(folder),
      })
    const counts: CopyCounts = { created: 0, changed: 0, firstNames: new Map() }
    const target = joinPath(folder, source.name)
    await copyInto(guest, target, source, counts)
    reportCopy(report, counts, null, displayPath(target))
    return report.build()
  },
}

/** Arguments of the operation `link`. */
export interface LinkArguments {
  readonly target: GuestPath
  /** Each becomes a symlink to `target`, in place of a symlink or file that is there. */
  readonly links: readonly GuestPath[]
}

export const link: Operation<LinkArguments> = {
  name: 'link',
  summary: 'Make symbolic links to a target',
  async run(guest, { target, links }) {
    const report = new ReportBuilder('link')
    const bytes = pathBytes(target)
    for (const path of links) {
      let at = pathBytes(path)
      let existing = await lstatOrUndefined(guest, at)
      // As `ln -s` does: into an existing folder, under the target's name.
      if (existing?.isDirectory()) {
        at = joinPath(at, splitPath(bytes).name)
        existing = await lstatOrUndefined(guest, at)
      }
      const before = existing?.isSymbolicLink() ? await guest.readlink(at) : undefined
      if (before && equalBytes(before, bytes)) continue
      if (existing?.isDirectory())
        throw new DrydiskError('EEXIST', `${displayPath(at)} is a folder; a link cannot take its place`, {
          path: displayPath(at),
        })
      if (existing) await guest.unlink(at)
      await guest.symlink(bytes, at)
      report.change(
        'link',
        before ? displayPath(before) : existing ? existing.type : null,
        displayPath(bytes),
        displayPath(at),
      )
    }
    return report.build()
  },
}

/** `to`, or the path inside it where it is an existing folder. */
async function targetOf(guest: GuestFs, source: Uint8Array, to: GuestPath): Promise<Uint8Array> {
  if ((await statOrUndefined(guest, to))?.isDirectory()) return joinPath(to, splitPath(source).name)
  return pathBytes(to)
}

async function copyWithin(guest: GuestFs, source: Uint8Array, target: Uint8Array): Promise<CopyCounts> {
  const counts: CopyCounts = { created: 0, changed: 0, firstNames: new Map() }
  await copyInto(guest, target, await guestNode(guest, source, splitPath(target).name), counts)
  await copyXattrs(guest, source, target)
  return counts
}

function isWithin(path: Uint8Array, folder: Uint8Array): boolean {
  return displayPath(path).startsWith(`${displayPath(folder).replace(/\/+$/, '')}/`)
}

function reportCopy(report: ReportBuilder, counts: CopyCounts, from: string | null, to: string): void {
  if (counts.created + counts.changed === 0) return
  report.always('copy', from, `${counts.created} created, ${counts.changed} changed`, to)
}
