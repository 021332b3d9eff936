/** Where the bytes of a part of a task's buffer come from. `file` numbers the storages, or the devices, of a plan. */
export type Segment =
  | {
      readonly kind: 'data' | 'device'
      readonly at: number
      readonly length: number
      readonly file: number
      readonly host: number
    }
  | {
      readonly kind: 'compressed'
      readonly at: number
      readonly length: number
      readonly file: number
      readonly host: number
      readonly stored: number
      readonly within: number
      readonly clusterSize: number
      readonly compression: 'zlib' | 'zstd'
    }

/** A compressed cluster that goes to the target as it is. */
export interface StoredCluster {
  readonly file: number
  readonly host: number
  /** Bytes. */
  readonly length: number
}

/** A run of the target, whole clusters where it has clusters. */
export type TaskRun = {
  /** Bytes of the target. */
  readonly offset: number
  readonly length: number
} & (
  | { readonly kind: 'buffer' }
  /** Has to read as zeros by an entry of its own. */
  | { readonly kind: 'zero' }
  | { readonly kind: 'stored'; readonly clusters: StoredCluster[] }
)

/**
 * Some megabytes of the target to be made: the segments fill a buffer, gaps between them with zeros, and the `buffer` runs
 * take their bytes from it one after another.
 */
export interface Task {
  readonly runs: readonly TaskRun[]
  /** By `at`, ascending. */
  readonly segments: readonly Segment[]
  /** Bytes of the buffer. */
  readonly length: number
  /** Bytes of the stored clusters. */
  readonly stored: number
  /** How far the target is planned with this task. */
  readonly end: number
}

/** What a task's clusters came to, in the order of its runs, without those of `zero` runs. */
export interface Loaded {
  /**
   * Bytes to be written by cluster: 0 when it reads as zeros, -1 when the backing file has it already, the cluster size when it is stored as it is, less when it is
   * compressed.
   */
  readonly lengths: Int32Array
  /** By cluster: its subclusters that do not read as zeros; only where there are subclusters. */
  readonly masks?: Uint32Array
}

/** How clusters are made. */
export interface ClusterSettings {
  readonly clusterSize: number
  readonly subclusters: 1 | 32
  /** Bytes of zeros that are worth leaving out; 0: none are. */
  readonly sparseSize: number
  readonly compress: { readonly type: 'zlib' | 'zstd'; readonly level?: number } | undefined
}

/** Carries tasks out. Loading and storing are apart, because where clusters go is decided in the order of the tasks. */
export interface Engine {
  /** Tasks that may be under way at once. */
  readonly capacity: number
  /** Reads, and compresses. What is loaded is kept until it is stored. */
  load(task: Task): Promise<Loaded>
  /** Writes to these host offsets, by cluster as `lengths`; -1 where nothing is written. @returns bytes. */
  store(task: Task, hosts: Float64Array): Promise<number>
  /** Loads, and writes what does not read as zeros to the place that it has in the target. @returns bytes. */
  copy(task: Task): Promise<number>
  close(): Promise<void>
}
