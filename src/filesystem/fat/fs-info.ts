import { littleEndian } from '../../bytes/byte-view.ts'

const LEAD = 0x4161_5252
const STRUCTURE = 0x6141_7272

/** FAT32's FSInfo sector: hints about free space (fatgen103, "FAT32 FSInfo Sector Structure"). */
export class FsInfo {
  readonly #view: ReturnType<typeof littleEndian>

  /** @param bytes of the sector: what is set is set in them. */
  constructor(bytes: Uint8Array) {
    this.#view = littleEndian(bytes, 'FSInfo')
  }

  /** Whether both signatures that Linux goes by are there; without them the sector is something else. */
  get isValid(): boolean {
    return this.#view.u32(0) === LEAD && this.#view.u32(484) === STRUCTURE
  }

  get FSI_Free_Count(): number {
    return this.#view.u32(488)
  }
  set FSI_Free_Count(clusters: number) {
    this.#view.setU32(488, clusters)
  }

  /** The cluster that was given out last, by what Linux and Windows make of it. */
  get FSI_Nxt_Free(): number {
    return this.#view.u32(492)
  }
  set FSI_Nxt_Free(cluster: number) {
    this.#view.setU32(492, cluster)
  }
}
