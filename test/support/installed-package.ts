import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { builtPackage } from './built-package.ts'
import { runOk, temporaryFolder } from './native.ts'

let installing: Promise<string> | undefined

/**
 * An otherwise empty folder into which the package was installed from its tarball, with the packages that it names as dependencies
 * (and ZenFS, its optional peer) and no others. To be called outside a test: it is made once for a test file.
 */
export function installedPackage(): Promise<string> {
  installing ??= install(temporaryFolder())
  return installing
}

interface Manifest {
  readonly version: string
  readonly dependencies: Readonly<Record<string, string>>
  readonly peerDependencies: Readonly<Record<string, string>>
}

async function install(folder: string): Promise<string> {
  const sources = await builtPackage()
  await runOk('npm', ['pack', '--silent', '--ignore-scripts', '--pack-destination', folder, sources])
  const { version, dependencies, peerDependencies } = JSON.parse(
    readFileSync('package.json', 'utf8'),
  ) as Manifest
  const user = join(folder, 'user')
  const modules = join(user, 'node_modules')
  mkdirSync(join(modules, 'drydisk'), { recursive: true })
  const tarball = ['-xzf', join(folder, `drydisk-${version}.tgz`), '-C', join(modules, 'drydisk')]
  await runOk('tar', [...tarball, '--strip-components=1'])
  for (const name of [...Object.keys(dependencies), ...Object.keys(peerDependencies)]) {
    mkdirSync(dirname(join(modules, name)), { recursive: true })
    symlinkSync(resolve('node_modules', name), join(modules, name))
  }
  writeFileSync(join(user, 'package.json'), '{ "type": "module", "private": true }\n')
  return user
}
