import { createHash } from 'node:crypto'
import { lstatSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { FileSystem, InodeNumber } from '../../src/filesystem/filesystem.ts'
import { runOk, temporaryFolder } from './native.ts'

/** Runs one of mtools on an image, with the code page that Linux has for short names, and whatever the number of clusters. */
export async function mtools(tool: string, image: string, ...args: string[]): Promise<string> {
  const settings = join(temporaryFolder(), 'mtoolsrc')
  writeFileSync(settings, 'mtools_skip_check=1\ndefault_codepage=437\n')
  return runOk('env', [`MTOOLSRC=${settings}`, tool, '-i', image, ...args])
}

/** Path → `directory`, or length and sha256 of the content. */
export type Tree = Record<string, string>

function digest(bytes: Uint8Array): string {
  return `${bytes.length}:${createHash('sha256').update(bytes).digest('hex')}`
}

/** A folder of the host. */
export function hostTree(folder: string): Tree {
  const tree: Tree = {}
  const visit = (path: string): void => {
    for (const name of readdirSync(join(folder, path))) {
      const child = path === '' ? name : `${path}/${name}`
      if (lstatSync(join(folder, child)).isDirectory()) {
        tree[child] = 'directory'
        visit(child)
      } else tree[child] = digest(readFileSync(join(folder, child)))
    }
  }
  visit('')
  return tree
}

/** What mtools copy out of an image. */
export async function mtoolsTree(image: string): Promise<Tree> {
  const folder = join(temporaryFolder(), 'out')
  mkdirSync(folder)
  // mcopy takes an empty root directory for a missing file.
  if ((await mtools('mdir', image, '-b', '::/')).trim() === '') return {}
  await mtools('mcopy', image, '-s', '-n', '-Q', '::/*', folder)
  return hostTree(folder)
}

/** What drydisk reads. */
export async function ownFatTree(fs: FileSystem): Promise<Tree> {
  const tree: Tree = {}
  const visit = async (path: string, ino: InodeNumber): Promise<void> => {
    for await (const entry of fs.readdir(ino)) {
      const name = new TextDecoder().decode(entry.name)
      const child = path === '' ? name : `${path}/${name}`
      if (tree[child] !== undefined) throw new Error(`${child} is listed twice`)
      if (entry.type === 'directory') {
        tree[child] = 'directory'
        await visit(child, entry.ino)
        continue
      }
      const { size } = await fs.stat(entry.ino)
      const bytes = new Uint8Array(size)
      if ((await fs.read(entry.ino, 0, bytes)) !== size) throw new Error(`${child} is too short`)
      tree[child] = digest(bytes)
    }
  }
  await visit('', fs.root)
  return tree
}
