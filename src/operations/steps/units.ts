import { nameList } from './settings.ts'
import { invalid, library, type Step } from './step.ts'

type Verb = 'enable-service' | 'disable-service' | 'mask-service' | 'unmask-service'

function verb(name: Verb, help: string): Step {
  return {
    name,
    value: 'UNITS',
    help: `${help}; several with commas, ".service" may be left out`,
    async plan(value) {
      const units = nameList(value)
      if (units.length === 0) throw invalid('no unit is named')
      const { operations } = await library()
      return guest => operations[name].run(guest, { units })
    },
  }
}

/** Whether services start at boot. */
export const unitSteps: readonly Step[] = [
  verb('enable-service', 'have services start at boot'),
  verb('disable-service', 'keep services from starting at boot'),
  verb('mask-service', 'keep units from starting at all'),
  verb('unmask-service', 'take the mask off units'),
]
