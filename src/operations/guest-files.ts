import { type DecodedText, decodeText, encodeText } from '../config/text.ts'
import { DrydiskError, isDrydiskError } from '../errors.ts'
import type { GuestFs, GuestPath, NewFileOptions } from '../guest/guest-fs.ts'

/** A guest's text file, or `undefined` where there is none (a missing folder, or a dangling symlink, too). */
export async function readConfig(guest: GuestFs, path: GuestPath): Promise<DecodedText | undefined> {
  try {
    return decodeText(await guest.readFile(path), displayPath(path))
  } catch (error) {
    if (isDrydiskError(error, 'ENOENT', 'ENOTDIR')) return undefined
    throw error
  }
}

/** As `readConfig`, but its absence is an error that says what the file is for. */
export async function requireConfig(guest: GuestFs, path: GuestPath, purpose: string): Promise<DecodedText> {
  const config = await readConfig(guest, path)
  if (config) return config
  throw new DrydiskError(
    'ENOENT',
    `${displayPath(path)} does not exist in this guest; it is needed ${purpose}`,
    {
      path: displayPath(path),
    },
  )
}

/**
 * Writes `text` where it differs from what was read. Inode, owner, mode and label of an existing file stay. `false` when
 * there was nothing to write.
 */
export async function writeConfig(
  guest: GuestFs,
  path: GuestPath,
  before: DecodedText | undefined,
  text: string,
  options: NewFileOptions = {},
): Promise<boolean> {
  if (before && before.text === text) return false
  await guest.writeFile(path, encodeText(text, before?.encoding), options)
  return true
}

/** The regular files of a folder by byte order of their names, as full paths; none where there is no such folder. */
export async function listFolder(guest: GuestFs, folder: string, pattern: RegExp): Promise<string[]> {
  try {
    const names: string[] = []
    for (const entry of await guest.readdir(folder)) {
      if (entry.type !== 'file' && entry.type !== 'symlink') continue
      const { text, encoding } = decodeText(entry.name)
      if (encoding === 'utf-8' && pattern.test(text)) names.push(text)
    }
    return names.sort(compareBytes).map(name => `${folder.replace(/\/$/, '')}/${name}`)
  } catch (error) {
    if (isDrydiskError(error, 'ENOENT', 'ENOTDIR')) return []
    throw error
  }
}

/** The order of LC_ALL=C: UTF-8 bytes compare as code points do, which is not how JavaScript compares strings. */
export function compareBytes(a: string, b: string): number {
  const left = encodeText(a)
  const right = encodeText(b)
  const length = Math.min(left.length, right.length)
  for (let i = 0; i < length; i++) {
    const difference = (left[i] ?? 0) - (right[i] ?? 0)
    if (difference !== 0) return difference
  }
  return left.length - right.length
}

/** A path for reports and messages: bytes that are not UTF-8 as `\xNN`. */
export function displayPath(path: GuestPath): string {
  if (typeof path === 'string') return path
  const { text, encoding } = decodeText(path)
  if (encoding === 'utf-8') return text
  return text.replace(/[\x80-\xff]/g, c => `\\x${c.charCodeAt(0).toString(16)}`)
}

export async function lstatOrUndefined(guest: GuestFs, path: GuestPath) {
  try {
    return await guest.lstat(path)
  } catch (error) {
    if (isDrydiskError(error, 'ENOENT', 'ENOTDIR')) return undefined
    throw error
  }
}

export async function statOrUndefined(guest: GuestFs, path: GuestPath) {
  try {
    return await guest.stat(path)
  } catch (error) {
    if (isDrydiskError(error, 'ENOENT', 'ENOTDIR')) return undefined
    throw error
  }
}

export function pathBytes(path: GuestPath): Uint8Array {
  return typeof path === 'string' ? encodeText(path) : path
}

const SLASH = 0x2f

/** `folder/name` on bytes. */
export function joinPath(folder: GuestPath, name: GuestPath): Uint8Array {
  const left = pathBytes(folder)
  const right = pathBytes(name)
  const slash = left.length > 0 && left[left.length - 1] === SLASH ? 0 : 1
  const joined = new Uint8Array(left.length + slash + right.length)
  joined.set(left)
  if (slash) joined[left.length] = SLASH
  joined.set(right, left.length + slash)
  return joined
}

/** Folder and last component, ignoring slashes at the end; the root has an empty last component. */
export function splitPath(path: GuestPath): { folder: Uint8Array; name: Uint8Array } {
  const bytes = pathBytes(path)
  let end = bytes.length
  while (end > 0 && bytes[end - 1] === SLASH) end--
  let start = end
  while (start > 0 && bytes[start - 1] !== SLASH) start--
  let folderEnd = start
  while (folderEnd > 1 && bytes[folderEnd - 1] === SLASH) folderEnd--
  const folder = folderEnd === 0 ? encodeText('/') : bytes.subarray(0, folderEnd)
  return { folder, name: bytes.subarray(start, end) }
}
