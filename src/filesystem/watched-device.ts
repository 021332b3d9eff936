import { SliceDevice } from '../device/slice-device.ts'

/** A device that counts the writes that failed: whatever the code, the change that made them is then half done. */
export class WatchedDevice extends SliceDevice {
  #failures = 0

  get failures(): number {
    return this.#failures
  }

  override async write(offset: number, from: Uint8Array): Promise<void> {
    try {
      await super.write(offset, from)
    } catch (error) {
      this.#failures++
      throw error
    }
  }
}
