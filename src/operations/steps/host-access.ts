import type { ByteSource, SourceNode } from '../source-tree.ts'

/**
 * What steps see of the world outside the guest. Relative paths are meant from a folder that the implementation knows: the current
 * one for a command line, the recipe's own for a recipe.
 */
export interface HostAccess {
  /** A text file, whole. `ERR_INVALID_ARGUMENT` where it cannot be read. */
  readText(path: string): Promise<string>
  /** A file, whole. `ERR_INVALID_ARGUMENT` where it cannot be read. */
  readBytes(path: string): Promise<Uint8Array>
  /** A file that is read when the guest takes it, in pieces; its errors are those of node:fs. */
  source(path: string): ByteSource
  /** Permission bits of a file; errors of node:fs. */
  mode(path: string): Promise<number>
  /** A file or folder with all that is below it, under its own name, for root; errors of node:fs. */
  tree(path: string): Promise<SourceNode>
  /** A variable of the environment, or `undefined`. */
  environment(name: string): string | undefined
  /** The next line of standard input: secrets take one each, in order. `ERR_INVALID_ARGUMENT` when there are no more. */
  inputLine(): Promise<string>
  /** The newest public SSH key of the person who runs this, as ssh-copy-id takes it. `ERR_INVALID_ARGUMENT` without one. */
  publicKey(): Promise<string>
}
