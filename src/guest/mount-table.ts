import { printable } from '../bytes/names.ts'
import { DrydiskError } from '../errors.ts'
import type { FileSystem, InodeNumber } from '../filesystem/filesystem.ts'

/** An inode of one of the mounted filesystems. */
export interface Place {
  readonly mount: Mount
  readonly ino: InodeNumber
}

/** A filesystem at a directory of the guest; or the knowledge that one belongs there that cannot be read. */
export interface Mount {
  /** Where in the guest: `/`, `/boot`, … */
  readonly path: string
  /** The volume: `/dev/sda1`. */
  readonly source: string
  /** As mount(8) names it: `ext4`, `vfat`, … */
  readonly type: string
  /** Tells the mounts of a guest apart; `GuestStats.dev`. */
  readonly dev: number
  /** `undefined`: what belongs here cannot be read, and `reason` says why. */
  readonly fs: FileSystem | undefined
  readonly reason: string | undefined
  /** The directory that it covers; `undefined` for the root. */
  readonly covers: Place | undefined
}

/** The filesystem of a mount, or `ERR_UNSUPPORTED` that names it: never the directory underneath. */
export function fileSystemOf(mount: Mount): FileSystem {
  if (mount.fs) return mount.fs
  throw new DrydiskError(
    'ERR_UNSUPPORTED',
    `${printable(mount.path)} is ${printable(mount.source)} (${printable(mount.type)}): ${mount.reason ?? 'it cannot be read'}`,
    { path: mount.path, source: mount.source, type: mount.type },
  )
}

/** A directory that a path led to. */
export interface WalkedFolder {
  readonly at: Place
  /** The names from the root, every symlink resolved. */
  readonly trail: readonly Uint8Array[]
  /** On the way to it. */
  readonly symlinks: number
}

/** Directories that are remembered: those above the files that are looked at just now. */
const MAX_FOLDERS = 1024

/** What is mounted where, and where paths led. */
export class MountTable {
  readonly #mounts: Mount[] = []
  readonly #covering = new Map<string, Mount>()
  readonly #folders = new Map<string, WalkedFolder>()

  constructor(root: { fs: FileSystem; source: string }) {
    this.#mounts.push({
      path: '/',
      source: root.source,
      type: root.fs.type,
      dev: 1,
      fs: root.fs,
      reason: undefined,
      covers: undefined,
    })
  }

  get mounts(): readonly Mount[] {
    return this.#mounts
  }

  get root(): Mount {
    const [root] = this.#mounts
    if (!root) throw new DrydiskError('EINVAL', 'a guest has a root filesystem')
    return root
  }

  /** Covers a directory. A second mount on the same directory covers the first, as in Linux. */
  add(mount: Omit<Mount, 'dev' | 'covers'> & { covers: Place }): Mount {
    const added: Mount = { ...mount, dev: this.#mounts.length + 1 }
    this.#mounts.push(added)
    this.forgetFolders()
    this.#covering.set(key(mount.covers), added)
    return added
  }

  /** Where the path of a directory led, if that is known. */
  folder(key: string): WalkedFolder | undefined {
    return this.#folders.get(key)
  }

  rememberFolder(key: string, folder: WalkedFolder): void {
    if (this.#folders.size >= MAX_FOLDERS) this.#folders.clear()
    this.#folders.set(key, folder)
  }

  /** To be called when a name was removed, replaced or moved: a path may lead elsewhere now. */
  forgetFolders(): void {
    this.#folders.clear()
  }

  /** What is mounted on a directory, however many times. */
  covering(place: Place): Mount | undefined {
    if (this.#covering.size === 0) return undefined
    let found: Mount | undefined
    let at = place
    for (;;) {
      const mount = this.#covering.get(key(at))
      if (!mount) return found
      found = mount
      at = rootOf(mount)
    }
  }
}

/** The root directory of a mount; inode 0 where there is no filesystem to ask. */
export function rootOf(mount: Mount): Place {
  return { mount, ino: mount.fs?.root ?? 0 }
}

function key(place: Place): string {
  return `${place.mount.dev}:${place.ino}`
}
