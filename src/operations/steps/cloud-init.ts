import { invalid, library, planned, type Step } from './step.ts'

/** What cloud-init does at first boot. */
export const cloudInitSteps: readonly Step[] = [
  {
    name: 'cloud-init',
    value: 'KEY=VALUE',
    help: 'set a value of cloud.cfg: KEY=VALUE, KEY+=ITEM, KEY-=ITEM',
    async plan(setting) {
      const { operations } = await library()
      return planned(operations['cloud-init'], { setting })
    },
  },
  {
    name: 'cloud-init-clean',
    value: 'seed',
    optional: true,
    help: 'make the next boot the first one for cloud-init: state, logs and what it generated go (=seed: the seed too)',
    async plan(value) {
      if (value !== '' && value !== 'seed') throw invalid(`"${value}" is not "seed"`)
      const { operations } = await library()
      return planned(operations['cloud-init-clean'], { seed: value === 'seed' })
    },
  },
  {
    name: 'cloud-init-datasources',
    value: 'LIST',
    help: 'where cloud-init looks for the data of an instance, such as OpenStack,ConfigDrive,None',
    async plan(value) {
      const datasources = value
        .replace(/^\s*\[(.*)\]\s*$/s, '$1')
        .split(',')
        .map(name => name.trim())
        .filter(name => name !== '')
      const { operations } = await library()
      return planned(operations['cloud-init-datasources'], { datasources })
    },
  },
  {
    name: 'cloud-init-unblock',
    help: 'remove what keeps cloud-init from running: cloud-init.disabled, masks, what an installer left',
    async plan() {
      const { operations } = await library()
      return planned(operations['cloud-init-unblock'], {})
    },
  },
  {
    name: 'cloud-init-user',
    value: 'NAME',
    help: 'name the user that cloud-init makes and gives the keys',
    async plan(user) {
      const { operations } = await library()
      return planned(operations['cloud-init-user'], { user })
    },
  },
]
