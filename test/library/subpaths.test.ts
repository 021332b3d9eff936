import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { describe, expect, test } from 'vitest'
import { installedPackage } from '../support/installed-package.ts'
import { run, runOk } from '../support/native.ts'

const installed = installedPackage()

/** What each subpath is for, in few lines; printed text is what it has to give. */
const USES: Readonly<Record<string, { readonly code: string; readonly prints: string }>> = {
  'drydisk/qcow2': {
    code: `import { createQcow2, MemoryStorage, openStorage } from 'drydisk/qcow2'
const storage = new MemoryStorage()
await createQcow2(storage, { size: 1 << 20 })
const image = await openStorage(storage)
await image.write(4096, new Uint8Array([1, 2, 3]))
await image.commit()
console.log(image.format, image.size)`,
    prints: 'qcow2 1048576\n',
  },
  'drydisk/ext4': {
    code: `import { makeExt4, MemoryDevice, openExt4, type Timestamp } from 'drydisk/ext4'
const device = new MemoryDevice(64 << 20)
await makeExt4(device, { label: 'data' })
const now: Timestamp = 5n
const fs = await openExt4(device, { writable: true, now: () => now })
const ino = await fs.create(fs.root, new TextEncoder().encode('hello'), { mode: 0o644, uid: 0, gid: 0 })
console.log(fs.label, (await fs.stat(ino)).mtime)
await fs.close()`,
    prints: 'data 5n\n',
  },
  'drydisk/xfs': {
    code: `import { makeXfs, MemoryDevice, openXfs } from 'drydisk/xfs'
const device = new MemoryDevice(320 << 20)
await makeXfs(device, { label: 'data' })
const fs = await openXfs(device, { writable: true })
await fs.mkdir(fs.root, new TextEncoder().encode('folder'), { mode: 0o755, uid: 0, gid: 0 })
for await (const { type } of fs.readdir(fs.root)) console.log(fs.label, type)
await fs.close()`,
    prints: 'data directory\n',
  },
  'drydisk/config': {
    code: `import { setIniValue, setInSshdFile, setShellValue } from 'drydisk/config'
console.log(setInSshdFile('#PermitRootLogin yes\\n', 'PermitRootLogin', 'no').includes('\\nPermitRootLogin no'))
console.log(setIniValue('[main]\\n', 'main', 'dns', 'none'))
console.log(setShellValue('A=1 # one\\n', 'A', '2'))`,
    prints: 'true\n[main]\ndns=none\n\nA=2 # one\n\n',
  },
  'drydisk/portable': {
    code: `import { memoryGuest, operations } from 'drydisk/portable'
const guest = await memoryGuest({ '/etc/hostname': 'old\\n', '/etc/os-release': 'ID=debian\\n' })
await operations.hostname.run(guest, { hostname: 'new' })
console.log(await guest.readText('/etc/hostname'))`,
    prints: 'new\n\n',
  },
  'drydisk/zenfs': {
    code: `import { memoryGuest } from 'drydisk/portable'
import { mountTree } from 'drydisk/zenfs'
const { fs } = await mountTree(await memoryGuest({ '/etc/hostname': 'old\\n' }))
console.log(await fs.promises.readFile('/etc/hostname', 'utf8'))`,
    prints: 'old\n\n',
  },
  drydisk: {
    code: `import { convert, doctor, openImage, operate, sparsify, apply } from 'drydisk'
console.log([apply, convert, doctor, openImage, sparsify, operate.rootPassword].map(one => typeof one).join())`,
    prints: 'function,function,function,function,function,function\n',
  },
}

/** What a browser has no word for is not in them. */
const PORTABLE = ['config', 'ext4', 'portable', 'qcow2', 'xfs']

describe('the package, installed from its tarball', () => {
  test('has no subpath but those that are tried here', async () => {
    const { exports } = JSON.parse(
      readFileSync(join(await installed, 'node_modules/drydisk/package.json'), 'utf8'),
    ) as { exports: Record<string, unknown> }
    const names = Object.keys(exports).map(name => `drydisk${name.slice(1)}`)
    expect(names.filter(name => name !== 'drydisk/package.json').sort()).toEqual(Object.keys(USES).sort())
  })

  test('is imported by each of them, and the types fit', async () => {
    const user = await installed
    const names = Object.keys(USES)
    for (const [index, { code }] of Object.values(USES).entries())
      writeFileSync(join(user, `use-${index}.ts`), `${code}\n`)
    const strict = { strict: true, exactOptionalPropertyTypes: true, module: 'nodenext', target: 'es2023' }
    writeFileSync(
      join(user, 'tsconfig.json'),
      JSON.stringify({
        compilerOptions: {
          ...strict,
          lib: ['es2023', 'esnext.disposable', 'dom'],
          types: [],
          skipLibCheck: true,
        },
        include: ['use-*.ts'],
      }),
    )
    await runOk(process.execPath, [resolve('node_modules/typescript/bin/tsc'), '-p', user])
    const told: Record<string, string> = {}
    for (const [index, name] of names.entries())
      told[name] = (await run(process.execPath, [join(user, `use-${index}.js`)])).stdout
    expect(told).toEqual(Object.fromEntries(names.map(name => [name, USES[name]?.prints])))
  })

  test('asks the portable subpaths for nothing of Node: neither their types nor a module', async () => {
    const user = await installed
    const folder = join(user, 'portable')
    mkdirSync(folder)
    for (const name of PORTABLE)
      writeFileSync(join(folder, `${name}.ts`), `export * as all from 'drydisk/${name}'\n`)
    const options = { strict: true, exactOptionalPropertyTypes: true, module: 'nodenext', target: 'es2023' }
    writeFileSync(
      join(folder, 'tsconfig.json'),
      JSON.stringify({
        compilerOptions: {
          ...{ ...options, lib: ['es2023', 'esnext.disposable', 'dom', 'dom.asynciterable'] },
          ...{ types: [], skipLibCheck: false, noEmit: true },
        },
        include: ['*.ts'],
      }),
    )
    // With the declarations themselves checked: a name that only Node knows is an error.
    await runOk(process.execPath, [resolve('node_modules/typescript/bin/tsc'), '-p', folder])
    const dist = join(user, 'node_modules/drydisk/dist')
    const seen = new Set<string>()
    const visit = (file: string): void => {
      if (seen.has(file)) return
      seen.add(file)
      for (const [, name = ''] of readFileSync(file, 'utf8').matchAll(
        /(?:from|import)\s*\(?\s*['"]([^'"]+)['"]/g,
      )) {
        expect(`${file}: ${name}`).not.toMatch(/: node:/)
        if (name.startsWith('.')) visit(resolve(dirname(file), name))
      }
    }
    for (const name of PORTABLE) visit(join(dist, `${name}.js`))
    expect(seen.size).toBeGreaterThan(100)
    expect(readdirSync(dist)).toContain('zenfs.d.ts')
  })
})
