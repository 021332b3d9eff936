import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { type PhonyGuestName, phonyGuest } from '../../native-fixtures/phony-guests.ts'
import { describeCommands } from '../../src/cli/completion/describe.ts'
import { writeTar } from '../../src/operations/tar/write-tar.ts'
import { builtPackage } from '../support/built-package.ts'
import { checkWrittenImages, run, runOk, temporaryFolder, writes } from '../support/native.ts'
import { blocksOf, pages } from '../support/pages.ts'

checkWrittenImages()

/** What lies in the folder in which a page's blocks that are marked `runs` are carried out, in their order. */
interface Setting {
  readonly images: Readonly<Record<string, PhonyGuestName | 'demo'>>
  readonly files?: Readonly<Record<string, string>>
}

const KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEPecB1V+gvC6dzhdChYg+uyfbtvSPlcwHRriVGwh4oS you@laptop\n'

const settings: Readonly<Record<string, Setting>> = {
  'README.md': {
    images: { 'image.qcow2': 'demo' },
    files: { 'app/run.sh': '#!/bin/sh\n', 'id_ed25519.pub': KEY },
  },
  'docs/cookbook.md': {
    images: { 'centos.qcow2': 'el7', 'ubuntu.qcow2': 'ubuntu', 'web.qcow2': 'demo' },
    files: { secret: 'open sesame\n', 'id_ed25519.pub': KEY, 'site/index.html': '<p>here</p>\n' },
  },
}

let built = ''

async function image(path: string, guest: PhonyGuestName | 'demo'): Promise<void> {
  const drydisk = join(built, 'dist/bin/main.js')
  if (guest === 'demo') {
    await runOk(process.execPath, [drydisk, 'make-fs', '--demo', '--size', '400M', '-q', path])
    return
  }
  const folder = temporaryFolder()
  const archive: Uint8Array[] = []
  const source = await phonyGuest(guest)
  // The volumes that the guest's installer made are not on this disk.
  await source.writeFile('/etc/fstab', 'LABEL=root / ext4 defaults 0 1\n')
  for await (const piece of writeTar(source, '/')) archive.push(Uint8Array.from(piece))
  writeFileSync(join(folder, 'guest.tar'), Buffer.concat(archive))
  mkdirSync(join(folder, 'empty'))
  await runOk(process.execPath, [
    drydisk,
    'make-fs',
    '--label',
    'root',
    '--size',
    '400M',
    '-q',
    join(folder, 'empty'),
    path,
  ])
  await runOk(process.execPath, [
    drydisk,
    'tar-in',
    '-q',
    '--root',
    '/dev/sda1',
    path,
    join(folder, 'guest.tar'),
    '/',
  ])
}

describe('blocks marked as ones that run', () => {
  beforeAll(async () => {
    built = await builtPackage()
  }, 300_000)

  test('are on the pages that have a setting here, and on no others', () => {
    const marked = pages.filter(page => blocksOf(page).some(({ kind }) => kind.endsWith(' runs')))
    expect(marked.sort()).toEqual(Object.keys(settings).sort())
  })

  test.each(Object.entries(settings))(
    '%s',
    async (page, { images, files = {} }) => {
      const folder = temporaryFolder()
      mkdirSync(join(folder, 'bin'))
      const command = join(folder, 'bin/drydisk')
      writeFileSync(command, `#!/bin/sh\nexec ${process.execPath} ${join(built, 'dist/bin/main.js')} "$@"\n`)
      chmodSync(command, 0o755)
      for (const [name, content] of Object.entries(files)) {
        mkdirSync(dirname(join(folder, name)), { recursive: true })
        writeFileSync(join(folder, name), content)
      }
      for (const [name, guest] of Object.entries(images)) await image(join(folder, name), guest)
      const blocks = blocksOf(page).filter(({ kind }) => kind.endsWith(' runs'))
      // Of these, status 1 is an answer.
      const script = `
      set -euo pipefail
      cd ${folder}; export PATH=${folder}/bin:$PATH HOME=${folder}
      drydisk() {
        local status=0
        command drydisk "$@" || status=$?
        case "$1 $status" in 'doctor 1' | 'diff 1' | 'compare 1') status=0 ;; esac
        return $status
      }
      ${blocks.map(({ line, text }) => `echo "### ${page}:${line}" >&2\n${text}`).join('\n')}`
      const { status, stdout, stderr } = await run('bash', ['--norc', '-c', script])
      expect({
        status,
        printed: status === 0 ? '' : `${stdout.slice(-1500)}\n${stderr.slice(-3000)}`,
      }).toEqual({
        status: 0,
        printed: '',
      })
      for (const name of Object.keys(images))
        if (existsSync(join(folder, name))) writes(join(folder, name), 'disk')
    },
    300_000,
  )
})

describe('commands that pages show', () => {
  /** Lines that begin with drydisk or have it behind a bar, each whole. */
  const shown = pages.flatMap(page =>
    blocksOf(page)
      .filter(({ kind }) => kind === '' || kind.startsWith('sh'))
      .flatMap(({ text, line }) =>
        text
          .replaceAll(/\\\n\s*/g, ' ')
          .split('\n')
          .flatMap(row => row.split(/ (?:&&|\||·) /))
          .filter(row => row.startsWith('drydisk '))
          // Forms that show what may be left out are not commands.
          .filter(row => !/[[…]/.test(row))
          .map(row => [`${page}:${line}`, row.replace(/ +#.*$/, '')] as const),
      ),
  )

  test('have options that there are', async () => {
    expect(shown.length).toBeGreaterThan(100)
    const known = new Map((await describeCommands()).map(command => [command.name, command]))
    const wrong: string[] = []
    for (const [where, row] of shown) {
      const [, name = '', ...words] = row.match(/(?:[^\s'"]|'[^']*'|"[^"]*")+/g) ?? []
      if (name.startsWith('-') || name === 'help' || name === 'COMMAND') continue
      const command = known.get(name)
      if (command === undefined) {
        wrong.push(`${where}: no command ${name}: ${row}`)
        continue
      }
      for (const word of words) {
        if (word === '--') break
        const [option = ''] = word.split('=')
        if (option.startsWith('--') && !command.options.some(({ long }) => long === option))
          wrong.push(`${where}: ${name} has no ${option}`)
      }
    }
    expect(wrong).toEqual([])
  })

  test('links lead to pages and headings that there are', () => {
    const wrong: string[] = []
    for (const page of [...pages, 'CONTRIBUTING.md']) {
      const text = readFileSync(page, 'utf8').replaceAll(/^```.*?^```$/gms, '')
      for (const [, target = ''] of text.matchAll(/\]\(([^)\s]+)\)/g)) {
        if (/^[a-z]+:/.test(target)) continue
        const [path = '', heading] = target.split('#')
        const file = path === '' ? page : join(dirname(page), path)
        if (!existsSync(file)) wrong.push(`${page}: ${target}`)
        else if (heading !== undefined && !headingsOf(file).includes(heading))
          wrong.push(`${page}: ${target}`)
      }
    }
    expect(wrong).toEqual([])
  })
})

/** Anchors as GitHub makes them: small letters, spaces as dashes, no other signs. */
function headingsOf(page: string): string[] {
  const text = readFileSync(page, 'utf8').replaceAll(/^```.*?^```$/gms, '')
  return [...text.matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) =>
    heading
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  )
}
