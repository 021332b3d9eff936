import type { Command } from 'commander'
import type { BlockDevice, DiskImage } from '../../device/block-device.ts'
import { NbdListener } from '../../device/nbd/node-listener.ts'
import type { Address } from '../../device/nbd/node-socket.ts'
import { NbdServer } from '../../device/nbd/server.ts'
import { DrydiskError } from '../../errors.ts'
import { readVolumes } from '../../volume/read-volumes.ts'
import { UsageError } from '../errors.ts'
import { stoppable, uninterrupted } from '../interruption.ts'
import { type ImageOptions, imageOptions } from '../options.ts'
import { print, printEvent, warn } from '../output.ts'
import { closeDisk, openDisk } from '../session.ts'

interface ServeCommandOptions extends ImageOptions {
  readonly socket?: string
  readonly port?: string
  readonly bind: string
  readonly name: string
  readonly volume?: string
  readonly writable?: boolean
  readonly once?: boolean
}

export function configure(command: Command): void {
  imageOptions(command)
    .argument('[image]', 'the image')
    .option('-k, --socket <path>', 'listen on a unix socket')
    .option('-p, --port <number>', 'listen on a TCP port: 10809 when left out, 0 for any that is free')
    .option('-b, --bind <address>', 'listen on this address', '127.0.0.1')
    .option('-x, --name <name>', 'what the export is called', '')
    .option('--volume <volume>', 'serve one volume instead of the disk: /dev/sda1, /dev/vg/root')
    .option('-w, --writable', 'let clients write; without this they cannot')
    .option('-1, --once', 'end when the last client has gone')
    .option('--force', 'write even if the image is in use (it may be destroyed)')
    .addHelpText(
      'after',
      `
Exports an image over NBD, and prints the URI. qemu-img, qemu-system, nbdcopy, nbd-client and drydisk itself take it. There is no password and
no encryption: whoever reaches the socket reads the disk (and with --writable writes it), so it listens on this machine alone unless
--bind says otherwise.
What clients write is staged. A flush, a write with FUA and a client's leave publish it, whole and atomically: the
image is what it was or what they wrote. What was not flushed when the server is stopped is dropped.
With --json: {"uri", "size", "writable"}, once it listens.

Examples:
  drydisk serve disk.qcow2
  drydisk serve --writable --socket /run/disk.sock disk.qcow2
  qemu-img convert -O raw nbd://localhost disk.raw
  drydisk cat nbd+unix:///?socket=/run/disk.sock /etc/os-release`,
    )
    .action(async (argument: string | undefined, options: ServeCommandOptions) => {
      const path = argument ?? options.add
      if (path === undefined || (argument !== undefined && options.add !== undefined))
        throw new UsageError('one image is served: name it first, or with -a IMAGE')
      const address = addressOf(options)
      const image = await openDisk(path, options, options.writable ?? false)
      try {
        const device = options.volume === undefined ? image : await volumeOf(image, options.volume)
        await serve(image, device, address, path, options)
      } finally {
        if (image.dirty) warn('warning: what was written after the last flush is dropped')
        await closeDisk(image)
      }
    })
}

function addressOf({ socket, port, bind }: ServeCommandOptions): Address {
  if (socket !== undefined && port !== undefined)
    throw new UsageError('--socket and --port exclude each other')
  if (socket !== undefined) return { socket }
  const number = Number(port ?? 10_809)
  if (!Number.isInteger(number) || number < 0 || number > 65_535)
    throw new UsageError(`--port is ${port}; expected 0 to 65535`)
  return { host: bind, port: number }
}

async function volumeOf(image: DiskImage, name: string): Promise<BlockDevice> {
  const { volumes } = await readVolumes(image)
  const volume = volumes.find(each => each.name === name || each.aliases.includes(name))
  if (volume === undefined)
    throw new DrydiskError(
      'ENOENT',
      `there is no volume ${name}; there are ${volumes.map(each => each.name).join(', ') || 'none'}`,
      { volume: name },
    )
  return volume.device
}

async function serve(
  image: DiskImage,
  device: BlockDevice,
  address: Address,
  path: string,
  options: ServeCommandOptions,
): Promise<void> {
  const server = new NbdServer(device, {
    name: options.name,
    description: path,
    commit: () => uninterrupted(() => image.commit()),
    warn: message => warn(`warning: ${message}`),
  })
  await stoppable(async signal => {
    const stopped = new Promise<void>(resolve =>
      signal.addEventListener('abort', () => resolve(), { once: true }),
    )
    let last: () => void = () => undefined
    const allGone = new Promise<void>(resolve => {
      last = resolve
    })
    const listener = await NbdListener.listen(address, server, () => {
      if (options.once) last()
    })
    try {
      const uri = listener.uri(options.name)
      if (options.json) await printEvent({ uri, size: device.size, writable: device.writable })
      else await print(`${uri}\n`)
      await Promise.race([stopped, allGone])
    } finally {
      await listener.close()
    }
  })
}
