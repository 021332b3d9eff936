import { library, planned, type Step } from './step.ts'

/** The system as a whole: time, language. */
export const systemSteps: readonly Step[] = [
  {
    name: 'keymap',
    value: 'LAYOUT[:VARIANT]',
    help: 'set the keyboard layout of the console, such as us, or de:nodeadkeys on Debian',
    async plan(value) {
      const [name = '', variant] = value.split(':')
      const { operations } = await library()
      return planned(operations.keymap, variant === undefined ? { keymap: name } : { keymap: name, variant })
    },
  },
  {
    name: 'locale',
    value: 'LOCALE',
    help: 'set the language of the system, such as en_US.UTF-8',
    async plan(value) {
      const { operations } = await library()
      return planned(operations.locale, { locale: value })
    },
  },
  {
    name: 'timezone',
    value: 'TIMEZONE',
    help: 'set the time zone, such as Europe/Berlin',
    async plan(timezone) {
      const { operations } = await library()
      return planned(operations.timezone, { timezone })
    },
  },
]
