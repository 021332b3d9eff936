import { copyFileSync, readFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { FileStorage } from '../../src/device/file-storage.ts'
import { NbdListener } from '../../src/device/nbd/node-listener.ts'
import { NbdServer } from '../../src/device/nbd/server.ts'
import { StorageDevice } from '../../src/device/storage-device.ts'
import { cli, cliOk } from '../support/cli.ts'
import { temporaryFolder } from '../support/native.ts'
import { webServer } from '../support/web-server.ts'

let image = ''
beforeAll(async () => {
  image = join(temporaryFolder(), 'disk.qcow2')
  await cliOk('make-fs', '--demo', '--size', '96M', image)
})

/** The file as it is behind NBD, until the test ends. */
async function nbd(path: string): Promise<string> {
  const storage = await FileStorage.open(path, 'read')
  const socket = join(temporaryFolder(), 's')
  const listener = await NbdListener.listen({ socket }, new NbdServer(new StorageDevice(storage)))
  onTestFinished(async () => {
    await listener.close()
    await storage.close()
  })
  return listener.uri()
}

async function web(path: string): Promise<string> {
  return `${(await webServer(dirname(path))).url}/${basename(path)}`
}

const FETCHED = /^drydisk: fetched .*\n/gm

describe.each([
  ['a web server', web],
  ['NBD', nbd],
] as const)('an image on %s', (_name, serve) => {
  /** What reads an image, with what it prints the same wherever the image is. */
  const reading: readonly (readonly string[])[] = [
    ['check', 'IMAGE'],
    ['check', '--json', 'IMAGE'],
    ['map', '--json', 'IMAGE'],
    ['measure', '-O', 'qcow2', 'IMAGE'],
    ['compare', 'IMAGE', 'IMAGE'],
    ['compare', 'FILE', 'IMAGE'],
    ['info', 'IMAGE'],
    ['info', '--json', 'IMAGE'],
    ['df', '--json', 'IMAGE'],
    ['ls', '-l', 'IMAGE', '/etc'],
    ['find', 'IMAGE', '/etc'],
    ['cat', 'IMAGE', '/etc/os-release'],
    ['log', 'IMAGE'],
    ['diff', 'FILE', 'IMAGE'],
    ['diff', 'IMAGE', 'IMAGE'],
    ['doctor', '--json', 'IMAGE'],
    ['doctor', '--json', '--fix', '--dry-run', 'IMAGE'],
    ['customize', '--dry-run', 'IMAGE', '--hostname', 'x'],
    ['sysprep', '--dry-run', 'IMAGE'],
    ['edit', '--dry-run', 'IMAGE', '/etc/os-release', '-e', 's/NAME/NAMES/'],
    ['sparsify', '--dry-run', 'IMAGE'],
    ['sparsify', 'IMAGE', 'TARGET'],
    ['convert', '-O', 'qcow2', 'IMAGE', 'TARGET'],
    ['convert', '-c', '-O', 'qcow2', 'IMAGE', 'TARGET'],
    ['tar-out', 'IMAGE', '/etc', 'TARGET'],
    ['cp', '-L', '-a', 'IMAGE', ':/etc/os-release', 'TARGET'],
  ]

  test.each(reading.map(line => [line.join(' '), line] as const))('is read by: %s', async (_words, line) => {
    const place = await serve(image)
    const folder = temporaryFolder()
    const run = async (where: string) => {
      const target = join(folder, 'target')
      const names: Readonly<Record<string, string>> = { IMAGE: where, FILE: image, TARGET: target }
      const { status, stdout, stderr } = await cli(
        ...line.map(word => names[word] ?? word.replace('IMAGE:', () => `${where}:`)),
        ...(line.includes('TARGET') && line[0] !== 'cp' && line[0] !== 'tar-out' ? ['--force'] : []),
      )
      const told = [stdout, stderr.replaceAll(FETCHED, '')].map(text => text.replaceAll(where, 'IMAGE'))
      const made = line.includes('TARGET') ? readFileSync(target).toString('base64') : ''
      return { status, told, made, lines: stderr.match(FETCHED) ?? [] }
    }
    const [there, here] = [await run(place), await run(image)]
    expect({ ...there, lines: here.lines }).toEqual(here)
    expect(there.lines).toHaveLength(place.startsWith('http') ? 1 : 0)
  })

  test.each(
    [
      ['check', '--repair', 'all', 'IMAGE'],
      ['compact', 'IMAGE'],
      ['sparsify', 'IMAGE'],
      ['resize', 'IMAGE', '+1G'],
      ['snapshot', 'list', 'IMAGE'],
      ['amend', '-o', 'compat=1.1', 'IMAGE'],
      ['rebase', '-b', '', 'IMAGE'],
      ['commit', 'IMAGE'],
    ].map(line => [line.join(' '), line] as const),
  )('is not worked on by: %s', async (_words, line) => {
    const place = (await serve(image)).replace('http://', 'http://me:word@')
    const { status, stderr } = await cli(...line.map(word => (word === 'IMAGE' ? place : word)))
    expect(status).toBe(1)
    // A disk behind NBD is trimmed where it is, but not where the server exports it for reading.
    const isTrimmed = line[0] === 'sparsify' && !place.startsWith('http')
    expect(stderr).toContain(
      isTrimmed
        ? 'the server exports it for reading only'
        : 'only a file of this machine can be worked on here. Bring it here first',
    )
    expect(stderr).not.toContain('word')
  })

  test('is no backing file of one on this machine, and words say so', async () => {
    const place = await serve(image)
    const folder = temporaryFolder()
    const [top, copy] = [join(folder, 'top.qcow2'), join(folder, 'copy.qcow2')]
    copyFileSync(image, copy)
    for (const line of [
      ['create', '-b', place, '-F', 'qcow2', top],
      ['convert', '-O', 'qcow2', '-B', place, '-F', 'qcow2', image, top],
      ['rebase', '-b', place, '-F', 'qcow2', copy],
    ]) {
      const { status, stderr } = await cli(...line)
      expect({ line, status, stderr }).toMatchObject({
        status: 1,
        stderr: expect.stringMatching(/drydisk opens files/) as string,
      })
    }
    expect(await cliOk('create', '-u', '-b', place, '-F', 'qcow2', top, '96M')).toContain('96 MiB')
    expect((await cli('info', top)).stderr).toMatch(/drydisk opens files/)
  })
})
