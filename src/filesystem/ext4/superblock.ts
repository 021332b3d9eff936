export interface Superblock {
  readonly placeholder?: never
}
