import { enableService, unmaskService } from '../services/service-operations.ts'
import { serviceState } from '../services/service-state.ts'
import type { CheckContext } from './check.ts'

/** Has a service start at boot that is masked or disabled, where mending is wanted. @returns whether it was. */
export async function start({ mend, guest }: CheckContext, state: string, unit: string): Promise<boolean> {
  if (state === 'masked') {
    if (!(await mend(inner => unmaskService.run(inner, { units: [unit] })))) return false
    if ((await serviceState(guest, unit)).state !== 'disabled') return true
  }
  return mend(inner => enableService.run(inner, { units: [unit] }))
}
