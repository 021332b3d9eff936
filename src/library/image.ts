import type { DiskImage } from '../device/block-device.ts'
import { changedRanges } from '../device/changed-ranges.ts'
import type { Fetched } from '../device/http-storage.ts'
import { DrydiskError, isDrydiskError } from '../errors.ts'
import type { FileSystem } from '../filesystem/filesystem.ts'
import { isWritable, openFileSystem, whyUnsupported } from '../filesystem/open.ts'
import { probe } from '../filesystem/probe.ts'
import { type CompareGuestsOptions, compareGuests } from '../guest/compare-guests.ts'
import { compareStates } from '../guest/compare-states.ts'
import type { GuestChange } from '../guest/guest-changes.ts'
import { type Guest, openGuest } from '../guest/open-guest.ts'
import { readVolumes } from '../volume/read-volumes.ts'
import type { VolumeList } from '../volume/volume.ts'
import { type ImageInfo, readImageInfo } from './image-info.ts'

/** What an `Image` is made of, for a disk that was opened by other means. */
export interface ImageParts {
  /** As messages and `info()` name it. */
  readonly name: string
  /** Opens the committed state again, for reading; what `diff()` of an image with itself compares with. */
  readonly committed?: () => Promise<DiskImage>
  /** What was fetched of an image on a web server. */
  readonly fetched?: () => Fetched
}

/** Which guest of an image is meant. */
export interface GuestChoice {
  /** Name of the volume with the root filesystem, `/dev/sda2` or `/dev/sda2[/subvolume]`, where it is not to be found by itself. */
  readonly root?: string
}

/**
 * A disk image: its volumes, its guest, and one commit for all that was changed in it. Nothing on disk changes before `commit()`;
 * `close()` without it is a rollback, and so is the end of a block with `await using`.
 */
export class Image {
  /** The disk as an array of bytes: what the functions take that work below filesystems. */
  readonly disk: DiskImage
  readonly name: string
  readonly #parts: ImageParts
  /** By the volume of the root filesystem that was asked for, or nothing. */
  readonly #guests = new Map<string | undefined, Promise<Guest>>()
  readonly #fileSystems = new Map<string, Promise<FileSystem>>()

  constructor(disk: DiskImage, parts: ImageParts) {
    this.disk = disk
    this.name = parts.name
    this.#parts = parts
  }

  /** `raw`, `qcow2`. */
  get format(): string {
    return this.disk.format
  }
  /** Bytes of the disk. */
  get size(): number {
    return this.disk.size
  }
  get writable(): boolean {
    return this.disk.writable
  }
  /** Of an image on a web server, how much was read so far. */
  get fetched(): Fetched | undefined {
    return this.#parts.fetched?.()
  }

  /** All that is known of the image: what `drydisk info --json` prints. What was edited and not committed is in it. */
  async info(choice: GuestChoice = {}): Promise<ImageInfo> {
    await this.sync()
    return readImageInfo(this.name, this.disk, choice.root)
  }

  /** The partition table and logical volumes. */
  volumes(): Promise<VolumeList> {
    return readVolumes(this.disk)
  }

  /**
   * The installed system, with all that its fstab mounts; the same object at each call. For writing where the image is.
   * Errors: those of `openGuest`; `ERR_IN_USE` after `fileSystem` of a writable image.
   */
  guest({ root }: GuestChoice = {}): Promise<Guest> {
    return remember(this.#guests, root, async () => {
      if (this.writable && (this.#fileSystems.size > 0 || this.#guests.size > 0))
        throw inUse(this.name, 'two views of one filesystem would not see each other’s changes')
      const { volumes } = await this.volumes()
      return openGuest(volumes, { writable: this.writable, ...(root === undefined ? {} : { root }) })
    })
  }

  /**
   * The filesystem on a volume, by inode and byte names, whether or not it belongs to a guest; the same object at each call. For
   * writing where the image is and drydisk writes that type.
   * @param name of the volume: `/dev/sda1`, `/dev/mapper/group-root`; `/dev/sda` for a disk without partitions.
   * Errors: `ENOENT` for a name that no volume has; `ERR_UNSUPPORTED`, `ERR_CORRUPT`; `ERR_IN_USE` after `guest` of a writable image.
   */
  fileSystem(name: string): Promise<FileSystem> {
    return remember(this.#fileSystems, name, async () => {
      if (this.writable && this.#guests.size > 0)
        throw inUse(this.name, 'its guest has the filesystems: take them from its mounts')
      const { volumes } = await this.volumes()
      const volume = volumes.find(one => one.name === name || one.aliases.includes(name))
      if (volume === undefined)
        throw new DrydiskError(
          'ENOENT',
          `${this.name} has no volume ${name}: there are ${volumes.map(one => one.name).join(', ')}`,
          { path: this.name, volume: name },
        )
      const found = await probe(volume.device)
      if (found === undefined)
        throw new DrydiskError('ERR_UNSUPPORTED', `${name} ${whyUnsupported(found)}`, { volume: name })
      const writable = this.writable && volume.readOnly === undefined && isWritable(found.type)
      return openFileSystem(volume.device, { writable, found })
    })
  }

  /**
   * What differs from this guest to that of another image: what one would change here to get there. Without another image: what
   * `commit()` would change.
   */
  async *diff(
    other?: Image,
    { root, ...options }: CompareGuestsOptions & GuestChoice = {},
  ): AsyncGenerator<GuestChange> {
    const choice = root === undefined ? {} : { root }
    const own = await this.guest(choice)
    if (other !== undefined) {
      const { fs } = await other.guest(choice)
      yield* compareGuests(own.fs, fs, options)
      return
    }
    if (!this.writable) return
    const { committed } = this.#parts
    if (committed === undefined)
      throw new DrydiskError('ERR_UNSUPPORTED', `${this.name}: its committed state cannot be opened again`)
    const before = new Image(await committed(), { name: this.name })
    try {
      await this.sync()
      const changed = await changedRanges(before.disk, this.disk)
      if (changed.runs === 0 && options.path === undefined) return
      yield* compareStates(await before.guest(choice), own, changed, options)
    } finally {
      await before.close()
    }
  }

  /** Has the guest and the filesystems write to the disk what they hold in memory. `commit` does it by itself. */
  async sync(): Promise<void> {
    if (!this.writable) return
    for (const guest of this.#guests.values()) await (await guest).sync()
    for (const fs of this.#fileSystems.values()) {
      const opened = await fs
      if (opened.writable) await opened.sync()
    }
  }

  /**
   * Publishes all that was changed, at once, and makes it durable. The image stays open, and so does its guest. On an error nothing
   * is published, unless the error's context says `published: true`.
   */
  async commit(): Promise<void> {
    await this.sync()
    await this.disk.commit()
  }

  /** Drops what was changed. The guest is another object afterwards. */
  async rollback(): Promise<void> {
    await this.#forget()
    await this.disk.rollback()
  }

  /** Lets go of the image. What was not committed is dropped. */
  async close(): Promise<void> {
    await this.#forget()
    await this.disk.close()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #forget(): Promise<void> {
    const opened = [...this.#guests.values(), ...this.#fileSystems.values()]
    this.#guests.clear()
    this.#fileSystems.clear()
    // To close one that is written would be to write it: what it holds goes with the rest of what was staged.
    for (const one of await Promise.allSettled(opened))
      if (one.status === 'fulfilled' && !this.writable) await one.value.close().catch(passOver)
  }
}

/** Of what is only read, there is nothing to lose. */
function passOver(error: unknown): void {
  if (!isDrydiskError(error)) throw error
}

function inUse(name: string, why: string): DrydiskError {
  return new DrydiskError('ERR_IN_USE', `${name}: ${why}`, { path: name })
}

/** What was opened once; not what failed. */
function remember<Key, Value>(
  map: Map<Key, Promise<Value>>,
  key: Key,
  open: () => Promise<Value>,
): Promise<Value> {
  const known = map.get(key)
  if (known !== undefined) return known
  const opening = open()
  map.set(key, opening)
  opening.catch(() => {
    if (map.get(key) === opening) map.delete(key)
  })
  return opening
}
