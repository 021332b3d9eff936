import type { PhysicalVolume, Volume, VolumeList } from '../volume/volume.ts'

/** Whose the bytes of a disk are: which volumes lie on which, and which claim the same. */
export class VolumeOwners {
  /** All but the logical ones. */
  readonly #placed: readonly Volume[]
  readonly #ignored: ReadonlySet<string>
  readonly #members = new Map<string, PhysicalVolume>()
  /** Names of the physical volumes under a logical one. */
  readonly #bases = new Map<string, ReadonlySet<string>>()
  readonly #overlapped = new Map<Volume, string | undefined>()

  /** @param ignored names of volumes to leave as they are. */
  constructor(list: VolumeList, ignored: readonly string[]) {
    this.#placed = list.volumes.filter(({ offset }) => offset !== undefined)
    this.#ignored = new Set(ignored)
    for (const { physicalVolumes, logicalVolumes } of list.groups) {
      const bases = new Set<string>()
      for (const member of physicalVolumes)
        if (member.name !== undefined) {
          bases.add(member.name)
          this.#members.set(member.name, member)
        }
      for (const name of logicalVolumes) this.#bases.set(name, bases)
    }
  }

  /** What LVM knows of a volume that is a physical one. */
  member({ name }: Volume): PhysicalVolume | undefined {
    return this.#members.get(name)
  }

  /** Why nothing of a volume is to be changed whatever is in it, in words that follow its name. */
  whyLeft(volume: Volume): string | undefined {
    if (volume.unreadable !== undefined) return volume.unreadable
    if (volume.readOnly !== undefined) return `is left as it is: it ${volume.readOnly}`
    if ([volume.name, ...volume.aliases].some(name => this.#ignored.has(name)))
      return 'is left as it is, as asked'
    return volume.offset === undefined ? this.#whyBaseLeft(volume) : this.#whyOverlapped(volume)
  }

  #whyBaseLeft({ name }: Volume): string | undefined {
    const bases = this.#bases.get(name)
    for (const base of this.#placed) {
      if (!bases?.has(base.name)) continue
      if (this.#ignored.has(base.name))
        return `is left as it is, as asked: it is in a volume group on ${base.name}`
      const reason = this.#whyOverlapped(base)
      if (reason !== undefined) return `is in a volume group on ${base.name}, which ${reason}`
    }
    return undefined
  }

  #whyOverlapped(volume: Volume): string | undefined {
    const known = this.#overlapped.has(volume)
    if (!known) this.#overlapped.set(volume, this.#findOverlap(volume))
    return this.#overlapped.get(volume)
  }

  #findOverlap({ device, offset: start = 0, length: size }: Volume): string | undefined {
    const other = this.#placed.find(
      each =>
        each.device !== device &&
        (each.offset ?? 0) < start + size &&
        (each.offset ?? 0) + each.length > start,
    )
    return other && `overlaps ${other.name}`
  }
}
