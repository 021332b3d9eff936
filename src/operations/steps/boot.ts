import { invalid, library, planned, type Step } from './step.ts'

/** Boot loader, kernel and consoles. */
export const bootSteps: readonly Step[] = [
  {
    name: 'kernel-arg',
    value: 'ARG',
    help: 'set a kernel argument (name=value), add one more (+arg) or remove one (-arg)',
    async plan(value) {
      const { operations, parseKernelArgumentChange } = await library()
      const changes = [parseKernelArgumentChange(value)]
      return planned(operations['kernel-arg'], { changes })
    },
  },
  {
    name: 'serial-console',
    value: 'DEVICE,SPEED',
    optional: true,
    help: 'kernel, boot menu and login on the serial console (=ttyS0,115200 when left out)',
    async plan(value) {
      const [, device, speed] = /^(?:([A-Za-z]\w*)(?:,(\d+)\w*)?)?$/.exec(value) ?? []
      if (value !== '' && device === undefined) throw invalid(`"${value}" is not of the form ttyS0,115200`)
      const args = { ...(device ? { device } : {}), ...(speed ? { speed: Number(speed) } : {}) }
      const { operations } = await library()
      return planned(operations['serial-console'], args)
    },
  },
]
