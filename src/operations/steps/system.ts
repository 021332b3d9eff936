import { library, type Step } from './step.ts'

/** The system as a whole: time, language. */
export const systemSteps: readonly Step[] = [
  {
    name: 'timezone',
    value: 'TIMEZONE',
    help: 'set the time zone, such as Europe/Berlin',
    async plan(timezone) {
      const { operations } = await library()
      return guest => operations.timezone.run(guest, { timezone })
    },
  },
]
