import { DrydiskError } from '../errors.ts'
import type {
  AttributeChange,
  DeviceNumber,
  DirectoryEntry,
  FileExtent,
  FileSystem,
  FileSystemUsage,
  InodeNumber,
  InodeStat,
  NewInode,
} from './filesystem.ts'

/** A filesystem that drydisk reads and does not write: every change is `EROFS`. */
export abstract class ReadOnlyFileSystem implements FileSystem {
  readonly writable = false
  abstract readonly type: string
  abstract readonly root: InodeNumber
  abstract readonly uuid: string
  abstract readonly label: string

  abstract lookup(directory: InodeNumber, name: Uint8Array): Promise<InodeNumber>
  abstract stat(ino: InodeNumber): Promise<InodeStat>
  abstract readdir(directory: InodeNumber): AsyncIterable<DirectoryEntry>
  abstract read(ino: InodeNumber, offset: number, into: Uint8Array): Promise<number>
  abstract readlink(ino: InodeNumber): Promise<Uint8Array>
  abstract fileExtents(ino: InodeNumber): AsyncIterable<FileExtent>
  abstract listxattr(ino: InodeNumber): Promise<string[]>
  abstract getxattr(ino: InodeNumber, name: string): Promise<Uint8Array | undefined>
  abstract statfs(): Promise<FileSystemUsage>

  async #refuse(): Promise<never> {
    throw new DrydiskError('EROFS', `drydisk reads ${this.type} and does not write it: nothing was changed`, {
      type: this.type,
    })
  }

  write(_ino: InodeNumber, _offset: number, _from: Uint8Array): Promise<void> {
    return this.#refuse()
  }
  truncate(_ino: InodeNumber, _size: number): Promise<void> {
    return this.#refuse()
  }
  create(_directory: InodeNumber, _name: Uint8Array, _attributes: NewInode): Promise<InodeNumber> {
    return this.#refuse()
  }
  mkdir(_directory: InodeNumber, _name: Uint8Array, _attributes: NewInode): Promise<InodeNumber> {
    return this.#refuse()
  }
  symlink(
    _directory: InodeNumber,
    _name: Uint8Array,
    _target: Uint8Array,
    _attributes: NewInode,
  ): Promise<InodeNumber> {
    return this.#refuse()
  }
  mknod(
    _directory: InodeNumber,
    _name: Uint8Array,
    _type: 'character-device' | 'block-device' | 'fifo' | 'socket',
    _device: DeviceNumber,
    _attributes: NewInode,
  ): Promise<InodeNumber> {
    return this.#refuse()
  }
  link(_ino: InodeNumber, _directory: InodeNumber, _name: Uint8Array): Promise<void> {
    return this.#refuse()
  }
  unlink(_directory: InodeNumber, _name: Uint8Array): Promise<void> {
    return this.#refuse()
  }
  rmdir(_directory: InodeNumber, _name: Uint8Array): Promise<void> {
    return this.#refuse()
  }
  rename(
    _fromDirectory: InodeNumber,
    _fromName: Uint8Array,
    _toDirectory: InodeNumber,
    _toName: Uint8Array,
  ): Promise<void> {
    return this.#refuse()
  }
  setAttributes(_ino: InodeNumber, _change: AttributeChange): Promise<void> {
    return this.#refuse()
  }
  setxattr(_ino: InodeNumber, _name: string, _value: Uint8Array): Promise<void> {
    return this.#refuse()
  }
  removexattr(_ino: InodeNumber, _name: string): Promise<void> {
    return this.#refuse()
  }

  async sync(): Promise<void> {}
  async close(): Promise<void> {}
}
