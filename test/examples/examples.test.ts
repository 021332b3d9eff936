import { cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { createImage, demoGuest, makeFs, openImage } from '../../src/index.ts'
import { installedPackage } from '../support/installed-package.ts'
import {
  checkWrittenImages,
  haveTool,
  type RunResult,
  run,
  runOk,
  temporaryFolder,
  writes,
} from '../support/native.ts'
import { webServer } from '../support/web-server.ts'

checkWrittenImages()

const UUID = '6f1c3b1e-5a3f-4a57-9d0e-7a4b8d1c2e3f'
const NAMES = readdirSync('examples').filter(name => name.endsWith('.ts'))
const installed = installedPackage()
const images = temporaryFolder()
const golden = join(images, 'golden.qcow2')
const tried = new Set<string>()

/** Runs an example as a user would: with the package from its tarball, in a process of its own. */
async function example(name: string, ...args: string[]): Promise<RunResult> {
  tried.add(`${name}.ts`)
  return run(process.execPath, [join(await installed, `${name}.js`), ...args])
}

async function exampleOk(name: string, ...args: string[]): Promise<string> {
  const { status, stdout, stderr } = await example(name, ...args)
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
  return stdout
}

function copyOf(name: string): string {
  const path = join(temporaryFolder(), name)
  cpSync(golden, path)
  return writes(path, 'disk')
}

async function textOf(path: string, file: string): Promise<string> {
  await using image = await openImage(path)
  const { fs } = await image.guest()
  return await fs.readText(file)
}

describe('the examples', () => {
  beforeAll(async () => {
    await createImage(golden, { format: 'qcow2', size: 64 << 20 })
    {
      await using image = await openImage(golden, { writable: true })
      await makeFs(image.disk, demoGuest(UUID), { uuid: UUID })
      await image.commit()
    }
    const user = await installed
    for (const name of NAMES) cpSync(join('examples', name), join(user, name))
    mkdirSync(join(user, 'node_modules/@types'), { recursive: true })
    cpSync('node_modules/@types/node', join(user, 'node_modules/@types/node'), { recursive: true })
    cpSync('node_modules/undici-types', join(user, 'node_modules/undici-types'), { recursive: true })
    const options = { strict: true, exactOptionalPropertyTypes: true, skipLibCheck: true, types: ['node'] }
    const dialect = { module: 'nodenext', target: 'es2023', lib: ['es2023', 'esnext.disposable'] }
    writeFileSync(
      join(user, 'tsconfig.json'),
      JSON.stringify({ compilerOptions: { ...options, ...dialect }, include: ['*.ts'] }),
    )
    await runOk(process.execPath, [resolve('node_modules/typescript/bin/tsc'), '-p', user])
  })

  test('read-file is ten lines at most, patch-sshd fifteen', () => {
    const lines = (name: string) => readFileSync(`examples/${name}.ts`, 'utf8').trimEnd().split('\n').length
    expect(lines('read-file')).toBeLessThanOrEqual(10)
    expect(lines('patch-sshd')).toBeLessThanOrEqual(15)
  })

  test('read-file', async () => {
    expect(await exampleOk('read-file', golden, '/etc/hostname')).toBe('demo\n')
  })

  test('patch-sshd', async () => {
    const path = copyOf('sshd.qcow2')
    const told = await exampleOk('patch-sshd', path)
    expect(told).toMatch(/^permitrootlogin: .* → prohibit-password \(\/etc\/ssh\/\S+\)$/im)
    expect(told).toMatch(/\/etc\/ssh\/sshd_config\.d\/00-drydisk\.conf/)
    expect(await textOf(path, '/etc/ssh/sshd_config.d/00-drydisk.conf')).toMatch(
      /^PermitRootLogin prohibit-password$/m,
    )
    // A second run finds nothing to do.
    expect(await exampleOk('patch-sshd', path)).toBe('')
  })

  test('convert-with-progress', async () => {
    const target = writes(join(temporaryFolder(), 'copy.qcow2'), 'disk')
    const told = await exampleOk('convert-with-progress', golden, target)
    expect(told).toMatch(/^100 %$/m)
    expect(told).toContain(`a disk of ${64 << 20} bytes`)
    if (haveTool('qemu-img')) await runOk('qemu-img', ['compare', golden, target])
  })

  test('doctor-json', async () => {
    const { status, stdout } = await example('doctor-json', golden)
    const found = JSON.parse(stdout) as { ready: boolean; findings: { check: string; status: string }[] }
    expect({ status, ready: found.ready }).toEqual({ status: 1, ready: false })
    expect(found.findings.map(({ check }) => check)).toContain('serial-console')
  })

  test('apply-to-many', async () => {
    const recipe = join(temporaryFolder(), 'site.yaml')
    const name = '$' + '{HOSTNAME}'
    writeFileSync(recipe, `variables:\n  HOSTNAME:\n    required: yes\nsteps:\n  - hostname: ${name}\n`)
    const paths = [copyOf('one.qcow2'), copyOf('two.qcow2')]
    const told = await exampleOk('apply-to-many', recipe, 'web7', ...paths)
    for (const path of paths) {
      expect(told).toContain(`${path}: done, 1 of 1`)
      expect(await textOf(path, '/etc/hostname')).toBe('web7\n')
    }
    const { status, stderr } = await example('apply-to-many', recipe, 'web8', join(images, 'none.qcow2'))
    expect({ status, stderr }).toEqual({ status: 1, stderr: expect.stringContaining('ENOENT') })
  })

  test('read-over-http', async () => {
    const { url } = await webServer(images)
    const told = await exampleOk('read-over-http', `${url}/golden.qcow2`, '/etc/hostname')
    expect(told).toMatch(/^demo\n\nfetched \d+ of \d+ bytes\n$/)
  })

  test('zenfs-two-images', async () => {
    const changed = copyOf('from.qcow2')
    {
      await using image = await openImage(changed, { writable: true })
      await (await image.guest()).fs.writeFile('/etc/motd', 'from another image\n')
      await image.commit()
    }
    const target = copyOf('to.qcow2')
    expect(await exampleOk('zenfs-two-images', changed, target, '/etc/motd')).toMatch(
      /^\/etc\/motd: 19 bytes, 20\d\d-/,
    )
    expect(await textOf(target, '/etc/motd')).toBe('from another image\n')
  })

  test('are all tried', () => {
    expect([...tried].sort()).toEqual(NAMES.sort())
  })
})
