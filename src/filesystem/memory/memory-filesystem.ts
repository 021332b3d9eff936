import { byteKey, printable } from '../../bytes/names.ts'
import { DrydiskError, type ErrorCode } from '../../errors.ts'
import type {
  AttributeChange,
  DeviceNumber,
  DirectoryEntry,
  FileExtent,
  FileSystem,
  FileSystemUsage,
  FileType,
  InodeNumber,
  InodeStat,
  NewInode,
  Timestamp,
} from '../filesystem.ts'
import { MemoryNode } from './memory-node.ts'

/** NAME_MAX, PATH_MAX and XATTR_SIZE_MAX of linux/limits.h. */
const NAME_MAX = 255
const PATH_MAX = 4096
const XATTR_SIZE_MAX = 65_536
const ROOT = 2
const NAMESPACES = ['user.', 'trusted.', 'security.', 'system.']

/** What a `MemoryFileSystem` is made with. */
export interface MemoryFileSystemOptions {
  /** Writing is `EROFS` when false. Default true. */
  readonly writable?: boolean
  readonly uuid?: string
  readonly label?: string
  /** The clock; default the system's. */
  readonly now?: () => Timestamp
  /** Bytes that `statfs` tells of; nothing is refused by it. Default 1 GiB. */
  readonly capacity?: number
}

function fail(code: ErrorCode, message: string, context: Record<string, string | number> = {}): never {
  throw new DrydiskError(code, message, context)
}

function checkOffset(offset: number): void {
  if (!Number.isSafeInteger(offset) || offset < 0)
    fail('EINVAL', `${offset} is not an offset in a file`, { offset })
}

/** A filesystem in memory with the semantics of Linux: the model that tests hold others to, and a tree to operate on. */
export class MemoryFileSystem implements FileSystem {
  readonly type = 'memory'
  readonly root = ROOT
  readonly writable: boolean
  readonly uuid: string
  readonly label: string
  readonly #now: () => Timestamp
  readonly #capacity: number
  readonly #nodes = new Map<InodeNumber, MemoryNode>()
  #nextIno = 11

  constructor(options: MemoryFileSystemOptions = {}) {
    this.writable = options.writable ?? true
    this.uuid = options.uuid ?? ''
    this.label = options.label ?? ''
    this.#now = options.now ?? (() => BigInt(Date.now()) * 1_000_000n)
    this.#capacity = options.capacity ?? 2 ** 30
    this.#nodes.set(ROOT, new MemoryNode(ROOT, 'directory', { mode: 0o755, uid: 0, gid: 0 }, this.#now()))
  }

  #node(ino: InodeNumber): MemoryNode {
    return this.#nodes.get(ino) ?? fail('ENOENT', `there is no inode ${ino}`, { inode: ino })
  }

  #directory(ino: InodeNumber): MemoryNode {
    const node = this.#node(ino)
    if (node.type !== 'directory')
      fail('ENOTDIR', `inode ${ino} is a ${node.type}, not a directory`, { inode: ino })
    return node
  }

  #file(ino: InodeNumber): MemoryNode {
    const node = this.#node(ino)
    if (node.type === 'directory') fail('EISDIR', `inode ${ino} is a directory`, { inode: ino })
    if (node.type !== 'file') fail('EINVAL', `inode ${ino} is a ${node.type}, not a file`, { inode: ino })
    return node
  }

  #checkWritable(): void {
    if (!this.writable) fail('EROFS', 'the filesystem is open for reading only')
  }

  /** `special`: the code for `.` and `..`, which system calls refuse in different ways. */
  #checkName(name: Uint8Array, special: ErrorCode): void {
    if (name.length > NAME_MAX)
      fail('ENAMETOOLONG', `a name of ${name.length} bytes is longer than ${NAME_MAX}`, {
        length: name.length,
      })
    if (name.length === 0 || name.includes(0) || name.includes(0x2f))
      fail('EINVAL', `'${printable(name)}' is not a file name: it is empty or contains '/' or NUL`)
    const text = byteKey(name)
    if (text === '.' || text === '..') fail(special, `'${text}' cannot be made, removed or renamed`)
  }

  #find(directory: MemoryNode, name: Uint8Array): MemoryNode {
    const entry = directory.entries.get(byteKey(name))
    if (!entry)
      fail('ENOENT', `there is no '${printable(name)}' in inode ${directory.ino}`, { inode: directory.ino })
    return this.#node(entry.ino)
  }

  #touch(node: MemoryNode): void {
    node.mtime = this.#now()
    node.ctime = node.mtime
  }

  #add(ino: InodeNumber, name: Uint8Array, type: FileType, attributes: NewInode): MemoryNode {
    this.#checkWritable()
    const directory = this.#directory(ino)
    this.#checkName(name, 'EEXIST')
    const key = byteKey(name)
    if (directory.entries.has(key)) fail('EEXIST', `'${printable(name)}' exists`, { inode: ino })
    const node = new MemoryNode(this.#nextIno++, type, attributes, this.#now())
    this.#nodes.set(node.ino, node)
    directory.entries.set(key, { name: name.slice(), ino: node.ino })
    if (type === 'directory') {
      node.parent = ino
      directory.nlink++
    }
    this.#touch(directory)
    return node
  }

  /** Takes one name from a node that is not a directory. */
  #drop(node: MemoryNode): void {
    node.nlink--
    node.ctime = this.#now()
    if (node.nlink === 0) this.#nodes.delete(node.ino)
  }

  async lookup(directory: InodeNumber, name: Uint8Array): Promise<InodeNumber> {
    const node = this.#directory(directory)
    if (name.length > NAME_MAX)
      fail('ENAMETOOLONG', `a name of ${name.length} bytes is longer than ${NAME_MAX}`, {
        length: name.length,
      })
    const text = byteKey(name)
    if (text === '.') return directory
    if (text === '..') return node.parent
    return this.#find(node, name).ino
  }

  async stat(ino: InodeNumber): Promise<InodeStat> {
    return this.#node(ino).stat()
  }

  async *readdir(directory: InodeNumber): AsyncIterable<DirectoryEntry> {
    for (const { name, ino } of [...this.#directory(directory).entries.values()])
      yield { name: name.slice(), ino, type: this.#node(ino).type }
  }

  async read(ino: InodeNumber, offset: number, into: Uint8Array): Promise<number> {
    checkOffset(offset)
    return this.#file(ino).content.read(offset, into)
  }

  async readlink(ino: InodeNumber): Promise<Uint8Array> {
    const node = this.#node(ino)
    if (node.type !== 'symlink')
      fail('EINVAL', `inode ${ino} is a ${node.type}, not a symlink`, { inode: ino })
    return node.target.slice()
  }

  async *fileExtents(ino: InodeNumber): AsyncIterable<FileExtent> {
    yield* this.#file(ino).content.extents()
  }

  async write(ino: InodeNumber, offset: number, from: Uint8Array): Promise<void> {
    this.#checkWritable()
    checkOffset(offset)
    checkOffset(offset + from.length)
    const node = this.#file(ino)
    if (from.length === 0) return
    node.content.write(offset, from)
    this.#touch(node)
  }

  async truncate(ino: InodeNumber, size: number): Promise<void> {
    this.#checkWritable()
    checkOffset(size)
    const node = this.#file(ino)
    node.content.truncate(size)
    this.#touch(node)
  }

  async create(directory: InodeNumber, name: Uint8Array, attributes: NewInode): Promise<InodeNumber> {
    return this.#add(directory, name, 'file', attributes).ino
  }

  async mkdir(directory: InodeNumber, name: Uint8Array, attributes: NewInode): Promise<InodeNumber> {
    return this.#add(directory, name, 'directory', attributes).ino
  }

  async symlink(
    directory: InodeNumber,
    name: Uint8Array,
    target: Uint8Array,
    attributes: NewInode,
  ): Promise<InodeNumber> {
    if (target.length === 0) fail('ENOENT', 'a symlink needs a target')
    if (target.length >= PATH_MAX)
      fail('ENAMETOOLONG', `a target of ${target.length} bytes is longer than ${PATH_MAX - 1}`)
    const node = this.#add(directory, name, 'symlink', { ...attributes, mode: 0o777 })
    node.target = target.slice()
    return node.ino
  }

  async mknod(
    directory: InodeNumber,
    name: Uint8Array,
    type: 'character-device' | 'block-device' | 'fifo' | 'socket',
    device: DeviceNumber,
    attributes: NewInode,
  ): Promise<InodeNumber> {
    const node = this.#add(directory, name, type, attributes)
    if (type === 'character-device' || type === 'block-device') node.rdev = { ...device }
    return node.ino
  }

  async link(ino: InodeNumber, directory: InodeNumber, name: Uint8Array): Promise<void> {
    this.#checkWritable()
    const into = this.#directory(directory)
    this.#checkName(name, 'EEXIST')
    const node = this.#node(ino)
    const key = byteKey(name)
    if (into.entries.has(key)) fail('EEXIST', `'${printable(name)}' exists`, { inode: directory })
    if (node.type === 'directory')
      fail('EPERM', `inode ${ino} is a directory: it has one name`, { inode: ino })
    into.entries.set(key, { name: name.slice(), ino })
    node.nlink++
    node.ctime = this.#now()
    this.#touch(into)
  }

  async unlink(directory: InodeNumber, name: Uint8Array): Promise<void> {
    this.#checkWritable()
    const from = this.#directory(directory)
    this.#checkName(name, 'EISDIR')
    const node = this.#find(from, name)
    if (node.type === 'directory') fail('EISDIR', `'${printable(name)}' is a directory`, { inode: node.ino })
    from.entries.delete(byteKey(name))
    this.#touch(from)
    this.#drop(node)
  }

  async rmdir(directory: InodeNumber, name: Uint8Array): Promise<void> {
    this.#checkWritable()
    const from = this.#directory(directory)
    this.#checkName(name, 'EINVAL')
    const node = this.#find(from, name)
    if (node.type !== 'directory')
      fail('ENOTDIR', `'${printable(name)}' is not a directory`, { inode: node.ino })
    if (node.entries.size > 0) fail('ENOTEMPTY', `'${printable(name)}' is not empty`, { inode: node.ino })
    from.entries.delete(byteKey(name))
    from.nlink--
    this.#touch(from)
    this.#nodes.delete(node.ino)
  }

  async rename(
    fromDirectory: InodeNumber,
    fromName: Uint8Array,
    toDirectory: InodeNumber,
    toName: Uint8Array,
  ): Promise<void> {
    this.#checkWritable()
    const from = this.#directory(fromDirectory)
    const to = this.#directory(toDirectory)
    this.#checkName(fromName, 'EBUSY')
    this.#checkName(toName, 'EBUSY')
    const node = this.#find(from, fromName)
    const present = to.entries.get(byteKey(toName))
    const replaced = present && this.#node(present.ino)
    // The order of the checks is that of vfs_rename and lock_rename in Linux.
    if (node.type === 'directory' && this.#isWithin(to, node))
      fail('EINVAL', `'${printable(fromName)}' cannot be moved into itself`, { inode: node.ino })
    if (replaced === node) return
    if (replaced?.type === 'directory' && this.#isWithin(from, replaced))
      fail('ENOTEMPTY', `'${printable(toName)}' is not empty`, { inode: replaced.ino })
    if (replaced) this.#checkReplaceable(node, replaced, toName)
    from.entries.delete(byteKey(fromName))
    to.entries.set(byteKey(toName), { name: toName.slice(), ino: node.ino })
    if (node.type === 'directory') {
      node.parent = to.ino
      from.nlink--
      to.nlink++
    }
    if (replaced?.type === 'directory') {
      to.nlink--
      this.#nodes.delete(replaced.ino)
    } else if (replaced) this.#drop(replaced)
    node.ctime = this.#now()
    this.#touch(from)
    this.#touch(to)
  }

  #checkReplaceable(node: MemoryNode, replaced: MemoryNode, name: Uint8Array): void {
    if (node.type === 'directory' && replaced.type !== 'directory')
      fail('ENOTDIR', `'${printable(name)}' is not a directory`, { inode: replaced.ino })
    if (node.type !== 'directory' && replaced.type === 'directory')
      fail('EISDIR', `'${printable(name)}' is a directory`, { inode: replaced.ino })
    if (replaced.entries.size > 0)
      fail('ENOTEMPTY', `'${printable(name)}' is not empty`, { inode: replaced.ino })
  }

  /** Whether `node` is `ancestor` or lies below it. */
  #isWithin(node: MemoryNode, ancestor: MemoryNode): boolean {
    let at = node
    while (at !== ancestor) {
      if (at.ino === ROOT) return false
      at = this.#node(at.parent)
    }
    return true
  }

  async setAttributes(ino: InodeNumber, change: AttributeChange): Promise<void> {
    this.#checkWritable()
    const node = this.#node(ino)
    if (change.mode !== undefined) node.mode = change.mode & 0o7777
    if (change.uid !== undefined) node.uid = change.uid
    if (change.gid !== undefined) node.gid = change.gid
    if (change.atime !== undefined) node.atime = change.atime
    if (change.mtime !== undefined) node.mtime = change.mtime
    node.ctime = change.ctime ?? this.#now()
  }

  async listxattr(ino: InodeNumber): Promise<string[]> {
    return [...this.#node(ino).xattrs.keys()]
  }

  async getxattr(ino: InodeNumber, name: string): Promise<Uint8Array | undefined> {
    return this.#node(ino).xattrs.get(name)?.slice()
  }

  async setxattr(ino: InodeNumber, name: string, value: Uint8Array): Promise<void> {
    this.#checkWritable()
    const node = this.#node(ino)
    if (!NAMESPACES.some(prefix => name.startsWith(prefix) && name.length > prefix.length))
      fail('ENOTSUP', `'${printable(name)}' is in none of the namespaces ${NAMESPACES.join(' ')}`)
    if (value.length > XATTR_SIZE_MAX)
      fail('ERANGE', `an attribute of ${value.length} bytes is longer than ${XATTR_SIZE_MAX}`)
    node.xattrs.set(name, value.slice())
    node.ctime = this.#now()
  }

  async removexattr(ino: InodeNumber, name: string): Promise<void> {
    this.#checkWritable()
    const node = this.#node(ino)
    if (!node.xattrs.delete(name))
      fail('ENODATA', `inode ${ino} has no attribute '${printable(name)}'`, { inode: ino })
    node.ctime = this.#now()
  }

  async statfs(): Promise<FileSystemUsage> {
    let used = 0
    for (const node of this.#nodes.values()) used += Math.ceil(node.stat().blocks / 8)
    const blocks = Math.floor(this.#capacity / 4096)
    const free = Math.max(0, blocks - used)
    const inodes = Math.max(blocks, this.#nodes.size)
    return {
      blockSize: 4096,
      blocks,
      freeBlocks: free,
      availableBlocks: free,
      inodes,
      freeInodes: inodes - this.#nodes.size,
      maxNameLength: NAME_MAX,
    }
  }

  async sync(): Promise<void> {}

  async close(): Promise<void> {}
}
