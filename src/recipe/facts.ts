import type { GuestFs } from '../guest/guest-fs.ts'
import { type GuestIdentity, readIdentity } from '../guest/identity.ts'
import { type InstalledPackages, installedPackages } from '../guest/packages/installed.ts'
import { glob } from '../operations/glob.ts'
import { type InitSystem, initSystem } from '../operations/services/init-system.ts'
import type { Fact } from './expression.ts'

/** What conditions ask of a guest. Identity and packages are read once; files are looked for each time. */
export class ConditionFacts {
  readonly #guest: GuestFs
  #identity: Promise<GuestIdentity> | undefined
  #init: Promise<InitSystem> | undefined
  #packages: Promise<InstalledPackages> | undefined

  constructor(guest: GuestFs) {
    this.#guest = guest
  }

  async fact(name: Fact): Promise<string> {
    if (name === 'init') {
      this.#init ??= initSystem(this.#guest)
      return this.#init
    }
    this.#identity ??= readIdentity(this.#guest)
    const identity = await this.#identity
    return name === 'distribution' ? identity.id : identity[name]
  }

  async hasPackage(name: string): Promise<boolean> {
    this.#packages ??= installedPackages(this.#guest)
    return (await this.#packages).has(name)
  }

  async hasFile(pattern: string): Promise<boolean> {
    return (await glob(this.#guest, pattern)).length > 0
  }
}
