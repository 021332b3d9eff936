import { checkThere, hostAndGuest, library, planned, type Step } from './step.ts'

/** What goes in as an archive, and what goes for good. */
export const contentSteps: readonly Step[] = [
  {
    name: 'scrub',
    value: 'FILE',
    help: 'overwrite a file with zeros and delete it',
    async plan(path) {
      const { operations } = await library()
      return planned(operations.scrub, { path })
    },
  },
  {
    name: 'tar-in',
    value: 'TARFILE:REMOTEDIR',
    help: 'unpack a tar archive of the host (plain, gzip, xz or zstd) into a directory of the guest',
    async plan(value, host) {
      const [local, folder] = hostAndGuest(value, 'TARFILE:REMOTEDIR')
      await checkThere(local, host)
      const { operations } = await library()
      return guest => operations['tar-in'].run(guest, { source: host.source(local), folder })
    },
  },
]
