import type { Command } from 'commander'
import type { ErrorStatuses } from './errors.ts'

/** A module that describes one command to commander, and runs it. */
export interface CommandModule {
  configure(command: Command): void
}

export interface CommandEntry {
  readonly name: string
  readonly summary: string
  readonly load: () => Promise<CommandModule>
  /** Where 1 and 2 are results of the command. */
  readonly statuses?: ErrorStatuses
}

/** Every command. The module of one is loaded when it runs, so that starting stays fast. */
export const commands: readonly CommandEntry[] = [
  { name: 'info', summary: 'what an image is and what is on it', load: () => import('./commands/info.ts') },
  { name: 'ls', summary: 'list files in an image', load: () => import('./commands/ls.ts') },
  { name: 'find', summary: 'search for files in an image', load: () => import('./commands/find.ts') },
  { name: 'df', summary: 'how full the filesystems are', load: () => import('./commands/df.ts') },
  { name: 'cat', summary: 'print files of an image', load: () => import('./commands/cat.ts') },
  { name: 'edit', summary: 'edit text files in an image', load: () => import('./commands/edit.ts') },
  { name: 'cp', summary: 'copy files into or out of an image', load: () => import('./commands/cp.ts') },
  { name: 'tar-in', summary: 'unpack an archive into an image', load: () => import('./commands/tar-in.ts') },
  { name: 'tar-out', summary: 'pack a folder of an image', load: () => import('./commands/tar-out.ts') },
  { name: 'rm', summary: 'remove files from an image', load: () => import('./commands/rm.ts') },
  { name: 'mkdir', summary: 'make directories in an image', load: () => import('./commands/mkdir.ts') },
  {
    name: 'log',
    summary: 'print the journal or another log of a guest',
    load: () => import('./commands/log.ts'),
  },
  {
    name: 'customize',
    summary: 'change passwords, keys, boot arguments and files of a guest, in one commit',
    load: () => import('./commands/customize.ts'),
  },
  {
    name: 'apply',
    summary: 'make the edits of a recipe in one or many images',
    load: () => import('./commands/apply.ts'),
  },
  {
    name: 'sysprep',
    summary: 'prepare a guest for cloning: remove what belongs to one machine',
    load: () => import('./commands/sysprep.ts'),
  },
  {
    name: 'doctor',
    summary: 'whether a guest is ready for OpenStack, and what mends it',
    load: () => import('./commands/doctor.ts'),
    statuses: { error: 2 },
  },
  {
    name: 'serve',
    summary: 'export an image over NBD',
    load: () => import('./commands/serve.ts'),
  },
  {
    name: 'create',
    summary: 'make an empty disk image',
    load: () => import('./commands/create.ts'),
  },
  {
    name: 'convert',
    summary: 'copy an image into another format, layout or compression',
    load: () => import('./commands/convert.ts'),
  },
  {
    name: 'sparsify',
    summary: 'drop what the filesystems of an image do not use',
    load: () => import('./commands/sparsify.ts'),
  },
  {
    name: 'compact',
    summary: 'shorten the file of an image by its free clusters',
    load: () => import('./commands/compact.ts'),
  },
  {
    name: 'resize',
    summary: 'make the disk of an image larger or smaller',
    load: () => import('./commands/resize.ts'),
  },
  {
    name: 'grow',
    summary: 'make a filesystem and its partition as large as there is room',
    load: () => import('./commands/grow.ts'),
  },
  {
    name: 'snapshot',
    summary: 'list, create, apply and delete internal snapshots',
    load: () => import('./commands/snapshot.ts'),
  },
  {
    name: 'check',
    summary: 'check the tables of an image, and repair them',
    load: () => import('./commands/check.ts'),
    statuses: { usage: 1 },
  },
  {
    name: 'map',
    summary: 'tell where the bytes of a disk are stored',
    load: () => import('./commands/map.ts'),
  },
  {
    name: 'measure',
    summary: 'reckon how large a new image would be',
    load: () => import('./commands/measure.ts'),
  },
  {
    name: 'compare',
    summary: 'compare what two disks hold',
    load: () => import('./commands/compare.ts'),
    statuses: { error: 2 },
  },
  {
    name: 'diff',
    summary: 'what differs between the files of two guests',
    load: () => import('./commands/diff.ts'),
    statuses: { error: 2 },
  },
  {
    name: 'amend',
    summary: 'change what a qcow2 image is: its version, its refcounts, …',
    load: () => import('./commands/amend.ts'),
  },
  {
    name: 'rebase',
    summary: 'give an image another backing file, or none',
    load: () => import('./commands/rebase.ts'),
  },
  {
    name: 'commit',
    summary: 'merge an image into its backing file',
    load: () => import('./commands/commit.ts'),
  },
  {
    name: 'make-fs',
    summary: 'make a disk image from a folder',
    load: () => import('./commands/make-fs.ts'),
  },
  {
    name: 'completion',
    summary: 'print a completion script for bash, zsh or fish',
    load: () => import('./commands/completion.ts'),
  },
]
