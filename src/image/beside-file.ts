import { realpath } from 'node:fs/promises'
import { basename, dirname, resolve } from 'node:path'
import { fileError } from '../device/file-error.ts'
import { shownPlace } from '../device/shown-place.ts'
import { DrydiskError } from '../errors.ts'

/** Which files that an image names may be opened: those in a folder that the image lies in, any, or none. */
export type BackingPolicy = 'beside' | 'any' | 'none'

/** Where an image is. */
export interface ImagePlace {
  /** With no symbolic link in it. */
  readonly path: string
  /** Folder and plain name of `path`. */
  readonly folder: string
  readonly name: string
  /** The folder of the path as it was given: relative names in the image start there, as with QEMU. */
  readonly givenFolder: string
}

export async function placeOf(given: string): Promise<ImagePlace> {
  let path: string
  try {
    path = await realpath(given)
  } catch (error) {
    throw fileError(error, given, 'open')
  }
  return { path, folder: dirname(path), name: basename(path), givenFolder: dirname(resolve(given)) }
}

/** Everything that a chain of images may refer to when the policy is `beside`: what lies in these folders. */
export async function foldersBeside(image: ImagePlace): Promise<ReadonlySet<string>> {
  return new Set([image.folder, await realpath(image.givenFolder)])
}

/** Path of the file that an image in `folder` means by a name, as with QEMU. `undefined` for what is no file: a protocol, a JSON description. */
export function pathOfName(name: string, folder: string): string | undefined {
  const protocol = protocolOf(name)
  if (protocol !== undefined && protocol !== 'file') return undefined
  return resolve(folder, protocol === 'file' ? name.slice('file:'.length) : name)
}

/** What comes before a colon, if no slash comes before that. */
function protocolOf(name: string): string | undefined {
  return /^([^/:]*):/.exec(name)?.[1]
}

/** Path of the backing file that a new image is to have. Errors: `ERR_UNSUPPORTED` for what is no file. */
export function newBackingPath(image: string, name: string): string {
  const path = pathOfName(name, dirname(resolve(image)))
  if (path === undefined)
    throw new DrydiskError(
      'ERR_UNSUPPORTED',
      `the backing file ${JSON.stringify(shownPlace(name))} is no file of this machine, and below an image that is one, drydisk opens files alone. ` +
        'Bring it here first: drydisk convert',
      { path: image },
    )
  return path
}

/** For one that is not where the image says. */
const ADVICE = {
  'backing file': 'Bring it there, or say where it is now with "drydisk rebase -u -b FILE"',
  'data file': 'Bring it there: without it the image holds nothing',
} as const

/**
 * Resolves the name of a backing or data file as QEMU does, and applies the policy to where it really lies: a symbolic link
 * beside the image that leads elsewhere does not get around it.
 * @param from the image that has the name.
 * Errors: `ERR_UNSUPPORTED` for what is not a file, `ERR_NOT_ALLOWED`, `ENOENT`.
 */
export async function resolveBeside(
  name: string,
  kind: 'backing file' | 'data file',
  from: ImagePlace,
  policy: BackingPolicy,
  folders: ReadonlySet<string>,
): Promise<ImagePlace> {
  const shown = JSON.stringify(shownPlace(name))
  const context = { path: from.path, name: shownPlace(name) }
  if (policy === 'none')
    throw new DrydiskError(
      'ERR_NOT_ALLOWED',
      `${from.path} has the ${kind} ${shown}, and opening one is not allowed here`,
      context,
    )
  const path = pathOfName(name, from.givenFolder)
  if (path === undefined) {
    const protocol = protocolOf(name)
    throw new DrydiskError(
      'ERR_UNSUPPORTED',
      `${from.path} has the ${kind} ${shown}: drydisk opens files, not ${protocol === 'json' ? 'JSON descriptions' : `${protocol}:`}. ` +
        'Point the image at a local file with "drydisk rebase -u -b FILE", or flatten it where the other one can be reached',
      context,
    )
  }
  let place: ImagePlace
  try {
    place = await placeOf(path)
  } catch (error) {
    const posix = fileError(error, path, `open the ${kind} of ${from.path},`)
    throw new DrydiskError(
      posix.code,
      `${from.path} has the ${kind} ${shown}: ${posix.message}. ${ADVICE[kind]}`,
      context,
      error,
    )
  }
  if (policy === 'beside' && !folders.has(place.folder))
    throw new DrydiskError(
      'ERR_NOT_ALLOWED',
      `${from.path} has the ${kind} ${shown}, which lies in ${place.folder}, not beside the image. ` +
        'If you trust the image, allow it with --backing any (option allowBacking)',
      context,
    )
  return place
}
