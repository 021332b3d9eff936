import { rm } from 'node:fs/promises'
import type { Command } from 'commander'
import { randomUuid } from '../../bytes/guid.ts'
import type { BlockDevice } from '../../device/block-device.ts'
import { FileStorage } from '../../device/file-storage.ts'
import { StorageDevice } from '../../device/storage-device.ts'
import { createQcow2 } from '../../image/qcow2/create.ts'
import { openQcow2 } from '../../image/qcow2/open.ts'
import { hostSource } from '../../library/host-source.ts'
import { demoGuest } from '../../operations/demo-guest.ts'
import { makeFs } from '../../operations/make-fs.ts'
import type { SourceNode } from '../../operations/source-tree.ts'
import { UsageError } from '../errors.ts'
import { openImages } from '../interruption.ts'
import { humanSize, print, printJson } from '../output.ts'
import { diskSizeFor, folderSize, parseSize } from '../sizes.ts'

interface MakeFsOptions {
  readonly size?: string
  readonly type: string
  readonly format: string
  readonly partition: string
  readonly label?: string
  readonly features?: string
  readonly demo?: boolean
  readonly archive?: boolean
  readonly json?: boolean
  readonly quiet?: boolean
}

export function configure(command: Command): void {
  command
    .argument('[folder]', 'what goes into the root of the filesystem')
    .argument('[out]', 'the image to make; it must not exist')
    .option('--size <size>', 'of the disk: 3G, or +200M over what the folder needs')
    .option('--type <type>', 'of the filesystem: ext4 or xfs', 'ext4')
    .option('--format <format>', 'qcow2 or raw', 'qcow2')
    .option('--partition <table>', 'gpt or none', 'gpt')
    .option('--label <label>', 'of the filesystem')
    .option('--features <list>', 'of the filesystem, over the defaults: rmapbt,^bigtime')
    .option('--archive', 'keep owners and times of the files; else they become root’s')
    .option('--demo', 'instead of a folder: a small tree that looks like a Debian guest, to try drydisk on')
    .option('--json', 'print JSON')
    .option('-q, --quiet', 'print nothing but errors')
    .addHelpText(
      'after',
      `
Features are named as by mkfs.ext4 -O and mkfs.xfs -m and -i. An XFS that RHEL 8 mounts has neither bigtime nor inobtcount; the
least XFS has 300 MiB.

With --json: {"image", "format", "virtualSize", "files"}.

Examples:
  drydisk make-fs ./tree disk.qcow2
  drydisk make-fs --size 2G --format raw --label data ./tree disk.raw
  drydisk make-fs --type xfs --features ^bigtime,^inobtcount ./tree disk.qcow2
  drydisk make-fs --demo demo.qcow2 && drydisk customize demo.qcow2 --hostname web1 --dry-run`,
    )
    .action(async (_folder: string | undefined, _out: string | undefined, options: MakeFsOptions) => {
      const [folder, out] = options.demo ? [undefined, ...command.args] : command.args
      if (out === undefined || command.args.length > (options.demo ? 1 : 2))
        throw new UsageError(options.demo ? '--demo takes the image only' : 'a folder and the image to make')
      const { type, format, partition } = options
      if (type !== 'ext4' && type !== 'xfs')
        throw new UsageError(`--type is ${type}; expected ext4 or xfs, which are made`)
      if (format !== 'qcow2' && format !== 'raw')
        throw new UsageError(`--format is ${format}; expected qcow2 or raw`)
      if (partition !== 'gpt' && partition !== 'none')
        throw new UsageError(`--partition is ${partition}; expected gpt or none`)
      const uuid = randomUuid()
      const source =
        folder === undefined ? demoGuest(uuid, type) : await folderNode(folder, options.archive ?? false)
      const size = await sizeOf(folder, type, options.size)
      const counts = await create(out, format, size, disk =>
        makeFs(disk, source, {
          partition,
          type,
          uuid,
          ...(options.label === undefined ? {} : { label: options.label }),
          ...(options.features === undefined
            ? {}
            : { features: options.features.split(',').filter(Boolean) }),
        }),
      )
      if (options.json) await printJson({ image: out, format, virtualSize: size, files: counts.created })
      else if (!options.quiet) await print(`${out}: ${format}, ${humanSize(size)}, ${counts.created} files\n`)
    })
}

async function folderNode(folder: string, archive: boolean): Promise<SourceNode> {
  return hostSource(Buffer.from(folder), new Uint8Array(), { archive, follow: true })
}

async function sizeOf(
  folder: string | undefined,
  type: 'ext4' | 'xfs',
  size: string | undefined,
): Promise<number> {
  if (size !== undefined && !size.startsWith('+')) return parseSize(size)
  const needed = folder === undefined ? 512 * 2 ** 20 : diskSizeFor(await folderSize(folder), type)
  return needed + (size === undefined ? 0 : parseSize(size.slice(1)))
}

/** Makes the image file; what goes wrong, or Ctrl-C, takes it away again. */
async function create<T>(
  path: string,
  format: 'qcow2' | 'raw',
  size: number,
  fill: (disk: BlockDevice) => Promise<T>,
): Promise<T> {
  const storage = await FileStorage.open(path, 'create')
  const unfinished = { close: () => rm(path, { force: true }) }
  openImages.add(unfinished)
  try {
    const result =
      format === 'raw' ? await fillRaw(storage, size, fill) : await fillQcow2(storage, size, fill)
    openImages.delete(unfinished)
    return result
  } catch (error) {
    openImages.delete(unfinished)
    await storage.close().catch(() => undefined)
    await unfinished.close()
    throw error
  }
}

async function fillRaw<T>(
  storage: FileStorage,
  size: number,
  fill: (disk: BlockDevice) => Promise<T>,
): Promise<T> {
  await storage.truncate(size)
  const result = await fill(new StorageDevice(storage))
  await storage.flush()
  await storage.close()
  return result
}

async function fillQcow2<T>(
  storage: FileStorage,
  size: number,
  fill: (disk: BlockDevice) => Promise<T>,
): Promise<T> {
  await createQcow2(storage, { size })
  const nothing = () => Promise.reject(new Error('a new image refers to no other file'))
  const image = await openQcow2(storage, { writable: true, openBacking: nothing, openDataFile: nothing })
  const result = await fill(image)
  await image.commit()
  await image.close()
  return result
}
