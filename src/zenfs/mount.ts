import { type BoundContext, bindContext, boundContexts, type FileSystem as ZenFileSystem } from '@zenfs/core'
import type { FileSystem } from '../filesystem/filesystem.ts'
import type { GuestFs, GuestStats } from '../guest/guest-fs.ts'
import { Stats } from '../guest/guest-stats.ts'
import { fileSystemOf, type Mount, MountTable } from '../guest/mount-table.ts'
import { MountedGuest } from '../guest/mounted-guest.ts'
import type { Guest } from '../guest/open-guest.ts'
import { GuestBackend } from './guest-backend.ts'
import { nameText, pathBytes } from './names.ts'
import { nodeError, noSync } from './node-error.ts'
import { turnsOf } from './turns.ts'

/** node:fs over an image: `context.fs.promises.readFile('/etc/hostname', 'utf8')`. */
export type ImageContext = Pick<BoundContext, 'fs' | 'path' | 'bind' | 'credentials'> & {
  /** Closes nothing of the image, which stays with whoever opened it. */
  close(): void
  [Symbol.dispose](): void
}

/**
 * The guest of an image as a filesystem of ZenFS, in a context of its own: several images can be mounted at once, and none
 * sees ZenFS's global one. Each of the guest's mounts is a mount of the context.
 */
export async function mountGuest(guest: Pick<Guest, 'fs' | 'mounts' | 'sync'>): Promise<ImageContext> {
  const { fs } = guest
  const covered = new Map<string, GuestStats>()
  const places = new Map<string, Mount>()
  for (const mount of guest.mounts) {
    // fstab may name it by a symbolic link, and ZenFS looks mounts up by where they are.
    const path = mount.covers === undefined ? '/' : nameText(await fs.realpath(mount.path))
    places.set(path, mount)
    if (mount.covers === undefined) continue
    const under = mount.covers.mount
    covered.set(path, new Stats(await fileSystemOf(under).stat(mount.covers.ino), under.dev))
  }
  const mounts: Record<string, ZenFileSystem> = {}
  for (const [path, mount] of places) {
    // Its own root is no directory that another covers.
    const others = new Map([...covered].filter(([other]) => other !== path))
    mounts[path] = new GuestBackend(fs, {
      path,
      name: mount.type,
      dev: mount.dev,
      covered: others,
      writable: fs.writable && (mount.fs?.writable ?? false),
      sync: guest.sync,
      ...usageOf(mount.fs),
    })
  }
  return contextOf(fs, mounts)
}

/** One filesystem, as `mountGuest`. */
export async function mountFileSystem(fs: FileSystem): Promise<ImageContext> {
  const guest = new MountedGuest(new MountTable({ fs, source: fs.type }))
  return contextOf(guest, {
    '/': new GuestBackend(guest, { name: fs.type, sync: () => fs.sync(), ...usageOf(fs) }),
  })
}

/** Any tree with the face of a guest: one in memory, or a folder of the host. */
export async function mountTree(guest: GuestFs): Promise<ImageContext> {
  return contextOf(guest, { '/': new GuestBackend(guest) })
}

function usageOf(fs: FileSystem | undefined): { usage?: () => ReturnType<FileSystem['statfs']> } {
  return fs === undefined ? {} : { usage: () => fs.statfs() }
}

async function contextOf(guest: GuestFs, mounts: Record<string, ZenFileSystem>): Promise<ImageContext> {
  for (const backend of Object.values(mounts)) await backend.ready()
  const context = bindContext({ mounts, root: '/', pwd: '/', credentials: { uid: 0, gid: 0 } })
  const close = (): void => {
    boundContexts.delete(context.id)
  }
  resolveLinks(guest, context)
  refuseSync(context)
  return Object.assign(context, { close, [Symbol.dispose]: close })
}

/**
 * ZenFS takes a path that can be looked up as it is for the real one, and a guest looks up what is behind symbolic links to
 * directories too.
 */
function resolveLinks(guest: GuestFs, context: BoundContext): void {
  const { promises } = context.fs
  const given = promises.realpath
  type Path = Parameters<typeof given>[0]
  const real = async (path: Path): Promise<string> => {
    const text = path instanceof URL ? decodeURIComponent(path.pathname) : path
    const absolute = context.path.resolve(typeof text === 'string' ? text : nameText(text))
    try {
      return nameText(await turnsOf(guest)(() => guest.realpath(pathBytes(absolute))))
    } catch (error) {
      throw nodeError(error, absolute)
    }
  }
  const realpath = async (path: Path, options?: Parameters<typeof given>[1]) =>
    given(await real(path), options)
  Object.assign(promises, { realpath })
}

/** These take nothing from the image. */
const NEED_NO_IMAGE = new Set(['opendirSync', 'statfsSync'])

/** ZenFS would take the error of a synchronous call for a file that is not there. */
function refuseSync({ fs }: BoundContext): void {
  const refused: Record<string, () => never> = {}
  for (const name of Object.keys(fs))
    if (name.endsWith('Sync') && !NEED_NO_IMAGE.has(name)) refused[name] = () => noSync(name.slice(0, -4))
  Object.assign(fs, refused)
}
