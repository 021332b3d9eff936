import type { Fetched } from '../device/http-storage.ts'
import { humanSize, warn } from './output.ts'

/** What is counted while a command runs; a command may open an image more than once. */
const remote: { readonly path: string; readonly fetched: () => Fetched }[] = []

/** Counts what is fetched of an image on a web server. */
export function countFetched(path: string, fetched: () => Fetched): void {
  remote.push({ path, fetched })
}

/** Says once, at the end of a command, how much of the images on web servers it took. */
export function tellFetched(): void {
  let [bytes, requests] = [0, 0]
  const sizes = new Map<string, number>()
  for (const { path, fetched } of remote.splice(0)) {
    const one = fetched()
    bytes += one.bytes
    requests += one.requests
    sizes.set(path, one.size)
  }
  if (sizes.size === 0) return
  const size = [...sizes.values()].reduce((sum, each) => sum + each)
  warn(`fetched ${humanSize(bytes)} of ${humanSize(size)} in ${requests} request${requests === 1 ? '' : 's'}`)
}
