import { spawn } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { openUrl } from '../../src/image/open-url.ts'
import { cli } from '../support/cli.ts'
import { haveTool, runOk, temporaryFolder } from '../support/native.ts'
import { redirectingServer, webServer } from '../support/web-server.ts'

describe.skipIf(!haveTool('qemu-img') || !haveTool('mke2fs'))('an image on a web server', () => {
  async function images(): Promise<{ folder: string; tree: string }> {
    const folder = temporaryFolder()
    const tree = join(folder, 'tree')
    mkdirSync(join(tree, 'etc'), { recursive: true })
    await runOk('sh', [
      '-c',
      `echo NAME=Some > ${tree}/etc/os-release; head -c 20000000 /dev/urandom > ${tree}/big`,
    ])
    await runOk('mke2fs', ['-q', '-t', 'ext4', '-d', tree, join(folder, 'disk.raw'), '64M'])
    await runOk('qemu-img', [
      'convert',
      '-c',
      '-O',
      'qcow2',
      join(folder, 'disk.raw'),
      join(folder, 'disk.qcow2'),
    ])
    const overlay = [
      'create',
      '-q',
      '-f',
      'qcow2',
      '-F',
      'qcow2',
      '-b',
      'disk.qcow2',
      join(folder, 'top.qcow2'),
    ]
    await runOk('qemu-img', overlay)
    mkdirSync(join(folder, 'elsewhere'))
    await runOk('qemu-img', [
      ...overlay.slice(0, -3),
      '-u',
      '-b',
      '../disk.qcow2',
      join(folder, 'elsewhere', 'far.qcow2'),
      '64M',
    ])
    return { folder, tree }
  }

  test('is read by the command line, and little of it is fetched', async () => {
    const { folder } = await images()
    const { url } = await webServer(folder)
    for (const name of ['disk.raw', 'disk.qcow2', 'top.qcow2']) {
      const { status, stdout, stderr } = await cli('cat', `${url}/${name}`, '/etc/os-release')
      expect({ status, stdout }).toEqual({ status: 0, stdout: 'NAME=Some\n' })
      // Of 64 MiB or, compressed, 19 MiB.
      const [, amount, unit] = /^drydisk: fetched ([\d.]+) (\w+) of .* in \d+ requests?$/m.exec(stderr) ?? []
      expect(Number(amount) * (unit === 'MiB' ? 1024 : 1)).toBeLessThan(2048)
    }
  })

  test.skipIf(!haveTool('busybox'))('is read from a server of another project', async () => {
    const { folder } = await images()
    const port = 20_000 + Math.floor(Math.random() * 20_000)
    const server = spawn('busybox', ['httpd', '-f', '-p', `127.0.0.1:${port}`, '-h', folder], {
      stdio: 'inherit',
    })
    onTestFinished(() => {
      server.kill()
    })
    const read = () => cli('cat', `http://127.0.0.1:${port}/top.qcow2`, '/etc/os-release')
    await expect.poll(async () => (await read()).stdout, { timeout: 10_000 }).toBe('NAME=Some\n')
  })

  test('is not written', async () => {
    const { status, stderr } = await cli('customize', 'http://127.0.0.1:9/x.qcow2', '--hostname', 'x')
    expect(status).not.toBe(0)
    expect(stderr).toMatch(/only read/)
  })

  test('is brought here by convert, whole', async () => {
    const { folder } = await images()
    const { url } = await webServer(folder)
    const target = join(folder, 'copy.qcow2')
    const { status, stderr } = await cli('convert', '-O', 'qcow2', `${url}/top.qcow2`, target)
    expect(stderr).toMatch(/fetched/)
    expect(status).toBe(0)
    await runOk('qemu-img', ['check', '-q', target])
    await runOk('qemu-img', ['compare', '-q', join(folder, 'disk.raw'), target])
  })

  test('opens no backing file but those beside it, unless that is allowed', async () => {
    const { folder } = await images()
    const { url } = await webServer(folder)
    await expect(openUrl(`${url}/elsewhere/far.qcow2`)).rejects.toMatchObject({ code: 'ERR_NOT_ALLOWED' })
    const { image } = await openUrl(`${url}/elsewhere/far.qcow2`, { allowBacking: 'any' })
    await image.close()
    await expect(openUrl(`${url}/top.qcow2`, { allowBacking: 'none' })).rejects.toMatchObject({
      code: 'ERR_NOT_ALLOWED',
    })
  })

  test('with a signature in its URL, its backing file is asked for with the same', async () => {
    const { folder } = await images()
    const { url, requests } = await webServer(folder)
    const { image } = await openUrl(`${url}/top.qcow2?sig=1`)
    await image.close()
    expect(new Set(requests.map(({ url: path }) => path))).toEqual(
      new Set(['/top.qcow2?sig=1', '/disk.qcow2?sig=1']),
    )
  })

  test('images and backing files that differ in the query alone are different ones', async () => {
    const { folder } = await images()
    const { url: files } = await webServer(folder)
    // As a storage service does: one path, and the query says which object.
    const { url, requests } = await redirectingServer(
      path => `${files}/${new URL(path, files).searchParams.get('key')}`,
    )
    const create = ['create', '-q', '-f', 'qcow2', '-F', 'qcow2', '-u', '-b']
    await runOk('qemu-img', [...create, `${url}/get?key=disk.qcow2`, join(folder, 'middle.qcow2'), '64M'])
    await runOk('qemu-img', [...create, `${url}/get?key=middle.qcow2`, join(folder, 'last.qcow2'), '64M'])
    const { status, stdout } = await cli('cat', `${url}/get?key=last.qcow2`, '/etc/os-release')
    expect({ status, stdout }).toEqual({ status: 0, stdout: 'NAME=Some\n' })
    expect(new Set(requests.map(request => request.url))).toEqual(
      new Set(['last', 'middle', 'disk'].map(name => `/get?key=${name}.qcow2`)),
    )
  })

  test('what is sent to its server is not sent to another one that it names', async () => {
    const { folder } = await images()
    const [here, there] = [await webServer(folder), await webServer(folder)]
    const overlay = join(folder, 'remote.qcow2')
    const backing = `${there.url}/disk.qcow2`
    await runOk('qemu-img', [
      'create',
      '-q',
      '-f',
      'qcow2',
      '-F',
      'qcow2',
      '-u',
      '-b',
      backing,
      overlay,
      '64M',
    ])
    const { image } = await openUrl(`${here.url}/remote.qcow2`, {
      allowBacking: 'any',
      headers: { Authorization: 'Bearer secret', 'X-Token': 'secret' },
    })
    await image.close()
    expect(here.requests[0]?.headers).toMatchObject({ authorization: 'Bearer secret', 'x-token': 'secret' })
    expect(there.requests.length).toBeGreaterThan(0)
    for (const { headers } of there.requests) expect(JSON.stringify(headers)).not.toMatch(/secret/)
  })
})

test('what is no URL, and a user that is not encoded as one, are told as such', async () => {
  for (const url of ['http://', 'http://a%zz:b@127.0.0.1:9/x', 'http://127.0.0.1:99999/x'])
    await expect(openUrl(url)).rejects.toMatchObject({ code: 'ERR_INVALID_ARGUMENT' })
  const { status, stderr } = await cli('cat', 'http://a%zz:word@127.0.0.1:9/x', '/etc/passwd')
  expect(status).not.toBe(0)
  expect(stderr).not.toMatch(/word/)
})
