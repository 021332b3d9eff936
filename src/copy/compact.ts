import type { CompactOptions, CompactResult } from '../image/qcow2/compact.ts'

export interface CompactImageOptions extends CompactOptions {
  /** Goes on although something else holds the image. */
  readonly force?: boolean
}

/** Makes an image's file as short as it gets without changing what is in it: `drydisk compact IMAGE`. */
export async function compactImage(
  _path: string,
  _options: CompactImageOptions = {},
): Promise<CompactResult> {
  throw new Error('not yet')
}
