import type { ImageBuilder } from '../image/qcow2/image-builder.ts'
import type { Loaded, Task } from './task.ts'

/** Decides, in the order of the tasks, where each cluster of a qcow2 target goes, and enters it into the tables. */
export class TargetLayout {
  readonly #builder: ImageBuilder
  /** Up to this byte of the disk, zeros need an entry of their own. */
  readonly #backed: number

  constructor(builder: ImageBuilder, backed: number) {
    this.#builder = builder
    this.#backed = backed
  }

  /** Host offsets by cluster; -1 for those that are not written. */
  async place(task: Task, { lengths, masks }: Loaded): Promise<Float64Array> {
    const { clusterSize } = this.#builder.geometry
    const hosts = new Float64Array(lengths.length).fill(-1)
    let index = 0
    for (const run of task.runs) {
      const first = run.offset / clusterSize
      const count = run.length / clusterSize
      if (run.kind === 'zero') {
        for (let cluster = first; cluster < first + count && this.#isBacked(cluster); cluster++)
          await this.#builder.setZero(cluster)
        continue
      }
      for (let at = 0; at < count; ) {
        const length = lengths[index + at] ?? 0
        if (length === clusterSize) {
          let next = at + 1
          while (next < count && lengths[index + next] === clusterSize) next++
          const host = this.#builder.placeData(next - at)
          for (let part = at; part < next; part++) hosts[index + part] = host + (part - at) * clusterSize
          if (masks === undefined) await this.#builder.setDataRun(first + at, host, next - at)
          else
            for (let part = at; part < next; part++)
              await this.#data(first + part, host + (part - at) * clusterSize, masks[index + part])
          at = next
          continue
        }
        if (length > 0) {
          const host = this.#builder.placeCompressed(length)
          hosts[index + at] = host
          await this.#builder.setCompressed(first + at, host, length)
        } else if (length === 0 && this.#isBacked(first + at)) await this.#builder.setZero(first + at)
        at++
      }
      index += count
    }
    return hosts
  }

  async #data(cluster: number, host: number, mask = 0xffff_ffff): Promise<void> {
    // What a subcluster does not say, the backing file does.
    const zero = this.#isBacked(cluster) ? ~mask >>> 0 : 0
    await this.#builder.setData(cluster, host, mask, zero)
  }

  #isBacked(cluster: number): boolean {
    return cluster * this.#builder.geometry.clusterSize < this.#backed
  }
}
