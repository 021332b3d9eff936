import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { FaultMedium } from '../../src/device/fault-medium.ts'
import { applySnapshot, createSnapshot, deleteSnapshot } from '../../src/image/qcow2/snapshots.ts'
import * as files from '../../src/image/snapshots.ts'
import { checkWrittenImages, haveTool, run, runOk, temporaryFolder, writes } from '../support/native.ts'
import { everyPowerLoss, fileOf } from '../support/power-loss.ts'
import { qemuCheck } from '../support/qcow2.ts'

checkWrittenImages()

/** An image with data, compressed data where asked, two snapshots between writes, and what was written after them. */
async function make(options: string, size = '300k'): Promise<string> {
  const image = join(temporaryFolder(), 't.qcow2')
  const io = (...commands: string[]) =>
    runOk('qemu-io', [...commands.flatMap(command => ['-c', command]), image])
  await runOk('qemu-img', ['create', '-q', '-f', 'qcow2', '-o', options, image, size])
  const compressed = options.includes('extended_l2') ? [] : ['write -c -P 7 64k 64k']
  await io('write -P 1 0 60k', ...compressed, 'write -P 2 200k 20k')
  await runOk('qemu-img', ['snapshot', '-c', 'first', image])
  await io('write -P 3 10k 50k', 'write -P 4 260k 30k')
  if (!options.includes('0.10')) await io('write -z 64k 64k')
  await runOk('qemu-img', ['snapshot', '-c', 'second', image])
  await io('write -P 5 30k 3k', 'write -P 6 150k 4k')
  return image
}

const VARIANTS = [
  'cluster_size=512',
  'cluster_size=4k,refcount_bits=8',
  'cluster_size=64k',
  'compat=0.10,cluster_size=1k',
  'extended_l2=on,cluster_size=16k',
]

/** Every snapshot's and the disk's content, by qemu's word. */
async function contents(image: string): Promise<string[]> {
  const { snapshots = [] } = JSON.parse(await runOk('qemu-img', ['info', '--output=json', image])) as {
    snapshots?: { id: string; name: string }[]
  }
  const found: string[] = []
  for (const { id, name } of [...snapshots, { id: '', name: '' }]) {
    const raw = `${image}.raw`
    const choice = id === '' ? [] : ['-l', `snapshot.id=${id}`]
    await runOk('qemu-img', ['convert', '-f', 'qcow2', '-O', 'raw', ...choice, image, raw])
    found.push(`${id} ${name} ${Buffer.from(readFileSync(raw)).toString('latin1')}`)
  }
  return found
}

const copyOf = (image: string): string => {
  const copy = join(temporaryFolder(), 't.qcow2')
  writeFileSync(copy, readFileSync(image))
  return copy
}

describe.skipIf(!haveTool('qemu-img') || !haveTool('qemu-io'))('internal snapshots', () => {
  for (const options of VARIANTS) {
    it(`${options}: as qemu-img does it`, async () => {
      const image = await make(options)
      const actions: [string[], (path: string) => Promise<unknown>][] = [
        [['-c', 'new'], path => files.createSnapshot(path, { name: 'new' })],
        [['-a', 'first'], path => files.applySnapshot(path, 'first')],
        [['-a', '2'], path => files.applySnapshot(path, '2')],
        [['-d', 'first'], path => files.deleteSnapshot(path, 'first')],
        [['-d', 'second'], path => files.deleteSnapshot(path, 'second')],
      ]
      for (const [words, act] of actions) {
        const theirs = copyOf(image)
        const ours = writes(copyOf(image), 'qcow2')
        await runOk('qemu-img', ['snapshot', ...words, theirs])
        await act(ours)
        expect(await qemuCheck(ours)).toEqual({ corruptions: 0, leaks: 0, errors: 0 })
        expect(await contents(ours), words.join(' ')).toEqual(await contents(theirs))
        // What qemu does next with what is ours.
        for (const next of [
          ['-c', 'later'],
          ['-a', 'second'],
          ['-d', 'first'],
        ])
          await run('qemu-img', ['snapshot', ...next, ours])
        await runOk('qemu-io', ['-c', 'write -P 9 20k 200k', ours])
        expect(await qemuCheck(ours)).toEqual({ corruptions: 0, leaks: 0, errors: 0 })
      }
    })

    it(`${options}: old or new at every power loss`, async () => {
      const image = { 't.qcow2': new Uint8Array(readFileSync(await make(options))) }
      const file = (medium: FaultMedium) => fileOf(medium, 't.qcow2', 'write')
      for (const act of [
        async (medium: FaultMedium) =>
          void (await createSnapshot(await file(medium), { name: 'new', date: 1e12 })),
        async (medium: FaultMedium) => void (await applySnapshot(await file(medium), 'first')),
        async (medium: FaultMedium) => void (await deleteSnapshot(await file(medium), 'second')),
      ])
        expect(await everyPowerLoss(image, act)).toBeGreaterThan(4)
    })
  }
})
