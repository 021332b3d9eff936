import { createHash } from 'node:crypto'
import { createWriteStream, openAsBlob, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { finished } from 'node:stream/promises'
import { beforeAll, describe, expect, it } from 'vitest'
import { errorText, ImageSession, volumesToChoose } from '../../examples/browser/session.ts'
import { cli } from '../support/cli.ts'
import { checkWrittenImages, runOk, temporaryFolder, writes } from '../support/native.ts'

checkWrittenImages()

const KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEPecB1V+gvC6dzhdChYg+uyfbtvSPlcwHRriVGwh4oS you@laptop'

async function ok(...args: string[]): Promise<string> {
  const { status, stdout, stderr } = await cli(...args)
  expect(stderr).toBe('')
  expect(status).toBe(0)
  return stdout
}

const made = new Map<string, string>()
let folder: string

beforeAll(() => {
  folder = temporaryFolder()
})

/** The page never writes to what was dropped onto it, so the tests share images. */
async function demo(...options: string[]): Promise<string> {
  if (options.length === 0) options.push('--size', '64M')
  const key = options.join(' ')
  const image = made.get(key) ?? join(folder, `demo-${made.size}.img`)
  if (!made.has(key)) await ok('make-fs', '--demo', ...options, image)
  made.set(key, image)
  return image
}

async function open(image: string): Promise<ImageSession> {
  return ImageSession.open(await openAsBlob(image), { name: 'demo.img' })
}

/** What a browser would have saved. */
async function saved(session: ImageSession): Promise<string> {
  const path = writes(join(temporaryFolder(), 'saved.img'), 'disk')
  await store(await session.save(), path)
  return path
}

async function store(blob: Blob, path: string): Promise<void> {
  await finished(Readable.fromWeb(blob.stream()).pipe(createWriteStream(path)))
}

function digest(path: string): string {
  return createHash('sha256').update(readFileSync(path)).digest('hex')
}

describe.each([
  ['qcow2 with ext4', ['--size', '64M']],
  ['qcow2 with XFS', ['--type', 'xfs']],
  ['raw with ext4', ['--format', 'raw', '--size', '64M']],
])('an image that is dropped onto the page: %s', (_name, options) => {
  it('is listed, read, edited and saved; the file itself stays as it is', async () => {
    const image = await demo(...options)
    const before = digest(image)
    const session = await open(image)
    expect(session.facts).toMatchObject({ file: 'demo.img', system: expect.stringMatching(/Debian/) })
    const { entries } = await session.list('/etc')
    const found = entries.find(({ name }) => name === 'hostname')
    expect(found?.type).toBe('file')
    expect(await session.read('/etc/hostname')).toEqual({ text: `${session.facts.hostname}\n` })

    await session.write(found?.path ?? '', 'dropped.example\n')
    await session.create('/etc/motd.d')
    await session.write('/etc/motd.d', 'saved by a page\n')
    await session.injectSshKeys('root', KEY)
    await session.enableSerialConsole()
    const changes = await session.changes()
    const change = changes.find(({ path }) => path === '/etc/hostname')
    expect(change?.diff).toContain('+dropped.example')

    const path = await saved(session)
    await session.close()
    expect(digest(image)).toBe(before)
    expect(await ok('cat', path, '/etc/hostname', '/etc/motd.d')).toBe('dropped.example\nsaved by a page\n')
    // The page's list is that of a comparison of both images, which has folders' times besides.
    const { changes: compared } = JSON.parse((await cli('diff', '--json', image, path)).stdout) as {
      changes: { path: string; kind: string; type: string }[]
    }
    expect(
      compared.filter(({ kind, type }) => type !== 'directory' || kind !== 'changed').map(one => one.path),
    ).toEqual(changes.map(one => one.path))
  })
})

it('the image is whole each time that it is saved, and what comes later is not in it', async () => {
  const session = await open(await demo())
  await session.setHostname('first')
  const first = await session.save()
  await session.setHostname('second')
  const second = await session.save()
  for (const [name, blob] of Object.entries({ first, second })) {
    const path = writes(join(temporaryFolder(), `${name}.qcow2`), 'disk')
    await store(blob, path)
    expect(await ok('cat', path, '/etc/hostname')).toBe(`${name}\n`)
  }
})

it('an image without a change is saved as the same disk', async () => {
  const image = await demo()
  const session = await open(image)
  await session.list('/')
  expect(await session.changes()).toEqual([])
  await runOk('qemu-img', ['compare', image, await saved(session)])
})

it('of a large image little is read', async () => {
  const image = await demo('--size', '32G')
  const blob = await openAsBlob(image)
  let read = 0
  const counted = new Proxy(blob, {
    get(target, key) {
      if (key === 'size') return target.size
      return (start: number, end: number) => {
        read += end - start
        return target.slice(start, end)
      }
    },
  })
  const session = await ImageSession.open(counted, { name: 'large.qcow2' })
  await session.list('/etc')
  await session.write('/etc/hostname', 'large\n')
  await session.changes()
  expect(read).toBeLessThan(8 << 20)
})

describe('text', () => {
  const files = {
    crlf: 'one\r\ntwo\r\n',
    latin1: Uint8Array.of(0x63, 0x61, 0x66, 0xe9, 0x0a),
    binary: 'a\0b',
    mixed: 'a\r\nb\n',
    long: 'x'.repeat((2 << 20) + 1),
  }
  let image: string
  beforeAll(async () => {
    image = join(folder, 'texts.img')
    await ok('make-fs', '--demo', '--size', '64M', '--format', 'raw', image)
    for (const [name, content] of Object.entries(files)) writeFileSync(join(folder, name), content)
    await ok('cp', ...Object.keys(files).map(name => join(folder, name)), `${image}:/etc/`)
  })

  it('keeps ends of lines that a text field would not', async () => {
    const session = await open(image)
    expect(await session.read('/etc/crlf')).toEqual({ text: 'one\ntwo\n' })
    await session.write('/etc/crlf', 'one\nthree\n')
    const path = await saved(session)
    expect(await ok('cat', path, '/etc/crlf')).toBe('one\r\nthree\r\n')
  })

  it('keeps the bytes of what is not UTF-8', async () => {
    const session = await open(image)
    expect(await session.read('/etc/latin1')).toEqual({ text: 'café\n' })
    await session.write('/etc/latin1', 'un café\n')
    const path = await saved(session)
    const { stdout } = await cli('cat', '--json', path, '/etc/latin1')
    expect(JSON.parse(stdout)).toMatchObject({
      files: [{ base64: Buffer.from('un café\n', 'latin1').toString('base64') }],
    })
  })

  it('is not made of what is none', async () => {
    const session = await open(image)
    expect(await session.read('/etc/binary')).toEqual({ why: expect.stringMatching(/no text/) })
    expect(await session.read('/etc/mixed')).toEqual({ why: expect.stringMatching(/end in different ways/) })
    expect(await session.read('/etc/long')).toEqual({ why: expect.stringMatching(/too many/) })
    expect(await session.read('/etc')).toEqual({ why: expect.stringMatching(/folder/) })
  })
})

describe('a change', () => {
  it('is undone without a trace', async () => {
    const image = await demo()
    const session = await open(image)
    await session.write('/etc/hostname', 'other\n')
    await session.create('/etc/new')
    for (const { undo } of await session.changes()) await undo?.()
    expect(await session.changes()).toEqual([])
    const path = await saved(session)
    const { stdout } = await cli('diff', '--json', image, path)
    const { changes } = JSON.parse(stdout) as { changes: { path: string }[] }
    // A folder in which a file was made and taken away has another time.
    expect(changes.map(one => one.path).filter(one => one !== '/etc')).toEqual([])
  })

  it('waits for the one before', async () => {
    const session = await open(await demo())
    await Promise.all([
      session.setHostname('one'),
      session.setHostname('two'),
      session.write('/etc/motd', 'hello\n'),
    ])
    expect(await session.read('/etc/hostname')).toEqual({ text: 'two\n' })
    expect(await session.read('/etc/motd')).toEqual({ text: 'hello\n' })
  })

  it('that is wrong is told, and the next one is made', async () => {
    const session = await open(await demo())
    const refused = [
      session.setHostname('not a name'),
      session.create('etc'),
      session.create('/etc/hostname'),
    ]
    for (const one of refused) await expect(one).rejects.toThrow()
    await session.setHostname('fine')
    expect(await session.read('/etc/hostname')).toEqual({ text: 'fine\n' })
  })

  it('takes a file away', async () => {
    const session = await open(await demo())
    await session.remove('/etc/hostname')
    const [change] = await session.changes()
    expect(change?.summary).toContain('removed file /etc/hostname')
    expect((await session.list('/etc')).entries.some(({ name }) => name === 'hostname')).toBe(false)
  })
})

it('what cannot be written is read, and why is told', async () => {
  const bytes = readFileSync(await demo())
  // The incompatible feature bit of a corrupt image (qcow2 specification, byte 79, bit 1).
  bytes[79] = (bytes[79] ?? 0) | 2
  const session = await ImageSession.open(new Blob([bytes]), { name: 'marked' })
  expect(session.facts.readOnly).toMatch(/marked as corrupt/)
  expect((await session.list('/etc')).entries.length).toBeGreaterThan(3)
  await expect(session.write('/etc/hostname', 'other\n')).rejects.toThrow()
  await expect(session.save()).rejects.toThrow(/only read/)
})

describe('what is no image for the page is told in words', () => {
  async function why(blob: Blob): Promise<string> {
    return ImageSession.open(blob, { name: 'dropped' }).then(
      () => 'opened',
      (error: unknown) => errorText(error),
    )
  }

  it('a file without a disk', async () => {
    const error: unknown = await ImageSession.open(new Blob(['hello'.repeat(1000)])).catch(
      (one: unknown) => one,
    )
    expect(errorText(error)).toMatch(/no root filesystem .*choose one:$/)
    expect(volumesToChoose(error)).toEqual(['/dev/sda'])
    expect(await why(new Blob([]))).toMatch(/dropped|no |not /)
  })

  it('but a disk without Linux is opened, where a volume is chosen', async () => {
    const data = join(folder, 'data.qcow2')
    const tree = temporaryFolder()
    writeFileSync(join(tree, 'notes'), 'some notes\n')
    await ok('make-fs', '--size', '64M', tree, data)
    const blob = await openAsBlob(data)
    const session = await ImageSession.open(blob, { root: '/dev/sda1' })
    expect(await session.read('/notes')).toEqual({ text: 'some notes\n' })
    await session.write('/notes', 'other notes\n')
    expect(await ok('cat', '--root', '/dev/sda1', await saved(session), '/notes')).toBe('other notes\n')
  })

  it('an image that was cut short', async () => {
    expect(await why((await openAsBlob(await demo())).slice(0, 70_000))).toMatch(
      /dropped: .* lies outside the file of 70000 bytes/,
    )
  })

  it('an image with a backing file', async () => {
    await ok('create', '-f', 'qcow2', '-b', await demo(), '-F', 'qcow2', join(folder, 'top.qcow2'))
    expect(await why(await openAsBlob(join(folder, 'top.qcow2')))).toMatch(/backing file .*drydisk convert/)
  })
})
