import { MemoryDevice } from '../../src/device/memory-device.ts'
import { GPT_TYPE } from '../../src/volume/partition-types.ts'
import { writeGpt } from '../../src/volume/write-gpt.ts'
import { run, runOk, temporaryFolder } from '../support/native.ts'

/** A disk with a GPT whose partitions hold these bytes. */
export async function partitioned(...parts: readonly Uint8Array[]): Promise<MemoryDevice> {
  const size = parts.reduce((sum, { length }) => sum + length + (1 << 20), 3 << 20)
  const disk = new MemoryDevice(size)
  const placed = await writeGpt(
    disk,
    parts.map(({ length }) => ({ length, type: GPT_TYPE.lvm })),
  )
  for (const [index, bytes] of parts.entries()) await disk.write(placed[index]?.offset ?? 0, bytes)
  return disk
}

/** What lvm2 makes on loop devices, without device-mapper. A warning of one that looks is an error. */
export async function withLoops(
  disk: string,
  offsets: readonly { offset: number; length: number }[],
  step: (devices: string[], lvm: (...args: string[]) => Promise<string>) => Promise<void>,
): Promise<void> {
  const devices: string[] = []
  try {
    for (const { offset, length } of offsets)
      devices.push(
        (
          await runOk('losetup', ['-f', '--show', '-o', `${offset}`, '--sizelimit', `${length}`, disk])
        ).trim(),
      )
    const config = [
      'global/activation=0 devices/use_devicesfile=0 devices/scan=["/dev"] activation/udev_sync=0 activation/udev_rules=0',
      `backup/backup=0 backup/archive=0 global/locking_dir="${temporaryFolder()}"`,
      `devices/filter=[${devices.map(device => `"a|^${device}$|"`).join(',')},"r|.*|"]`,
    ].join(' ')
    await step(devices, async (...args) => {
      const command = ['LVM_SUPPRESS_FD_WARNINGS=1', 'lvm', ...args, '--config', config]
      const { status, stdout, stderr } = await run('env', command)
      // What it says of changes is of no interest, such as that nobody keeps a backup here.
      const complaint =
        /^(?:lvs|pvs|vgck|vgs)$/.test(args[0] ?? '') && /WARNING: (?!Activation disabled)/.test(stderr)
      if (status !== 0 || complaint) throw new Error(`lvm ${args.join(' ')}: ${stdout}${stderr}`)
      return stdout
    })
  } finally {
    for (const device of devices) await runOk('losetup', ['-d', device])
  }
}
