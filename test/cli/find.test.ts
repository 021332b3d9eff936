import { execFileSync } from 'node:child_process'
import { chmodSync, mkdirSync, symlinkSync, truncateSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { beforeAll, describe, expect, test } from 'vitest'
import { cli, cliOk } from '../support/cli.ts'
import { propertySettings, temporaryFolder } from '../support/native.ts'

let tree = ''
let image = ''

beforeAll(async () => {
  tree = join(temporaryFolder(), 'tree')
  for (const folder of ['etc/ssh', 'etc/.hidden', 'var/log', 'empty'])
    mkdirSync(join(tree, folder), { recursive: true })
  const file = (path: string, size: number, mode: number, age: number) => {
    const at = join(tree, path)
    writeFileSync(at, 'x'.repeat(Math.min(size, 5000)))
    truncateSync(at, size)
    chmodSync(at, mode)
    const time = Date.now() / 1000 - age
    utimesSync(at, time, time)
  }
  file('etc/passwd', 100, 0o644, 90 * 86_400)
  file('etc/shadow', 0, 0o640, 10 * 86_400)
  file('etc/ssh/sshd_config', 3000, 0o600, 3600)
  file('etc/.hidden/.file', 4096, 0o4755, 86_400 * 3)
  file('var/log/big', 3 << 20, 0o644, 60)
  file('var/log/sgid', 1, 0o2755, 60)
  symlinkSync('../etc', join(tree, 'var/link'))
  image = join(temporaryFolder(), 'disk.raw')
  await cliOk('make-fs', '--archive', '--format', 'raw', '--partition', 'none', '--size', '32M', tree, image)
})

/** What find(1) finds in the folder that the image was made of. */
function findOnHost(...args: string[]): string[] {
  const output = execFileSync('find', ['.', '-mindepth', '1', ...args], { cwd: tree, encoding: 'utf8' })
  return output
    .split('\n')
    .filter(line => line !== '')
    .map(line => line.slice(1))
    .sort()
}

async function findInImage(...args: string[]): Promise<string[]> {
  const output = await cliOk('find', image, '--mindepth', '1', ...args)
  return output
    .split('\n')
    .filter(line => line !== '' && line !== '/lost+found')
    .sort()
}

describe('find', () => {
  test('finds what find(1) finds, for any tests together', async () => {
    const one = fc.constantFrom<readonly [readonly string[], readonly string[]]>(
      [
        ['--name', '*s*'],
        ['-name', '*s*'],
      ],
      [
        ['--name', '*file'],
        ['-name', '*file'],
      ],
      [
        ['--path', '/etc/*d*'],
        ['-path', './etc/*d*'],
      ],
      [
        ['--type', 'f'],
        ['-type', 'f'],
      ],
      [
        ['--type', 'd,l'],
        ['-type', 'd,l'],
      ],
      [
        ['--size', '+99'],
        ['-size', '+99c'],
      ],
      [
        ['--size', '-4k'],
        ['-size', '-4096c'],
      ],
      [
        ['--perm', '0644'],
        ['-perm', '0644'],
      ],
      [
        ['--perm', '-0600'],
        ['-perm', '-0600'],
      ],
      [
        ['--perm', '/6000'],
        ['-perm', '/6000'],
      ],
      [
        ['--newer', '1d'],
        ['-newermt', '1 day ago'],
      ],
      [
        ['--older', '5d'],
        ['-not', '-newermt', '5 days ago'],
      ],
      [['--empty'], ['-empty']],
      [
        ['--links', '2'],
        ['-links', '+1'],
      ],
      [
        ['--maxdepth', '2'],
        ['-maxdepth', '2'],
      ],
    )
    const tests = fc.uniqueArray(one, { maxLength: 3, selector: ([ours]) => ours[0] })
    await fc.assert(
      fc.asyncProperty(tests, async chosen => {
        const ours = await findInImage(...chosen.flatMap(([args]) => args))
        // A size of its own in each filesystem.
        const files = (paths: string[]) =>
          paths.filter(path => !/^\/(etc|var|empty)(\/(ssh|log|\.hidden|link))?$/.test(path))
        const sized = chosen.some(([[name]]) => name === '--size')
        const theirs = findOnHost(...chosen.flatMap(([, args]) => args))
        if (sized) expect(files(ours)).toEqual(files(theirs))
        else expect(ours).toEqual(theirs)
      }),
      propertySettings(25),
    )
  })

  test('prints lists, bytes and JSON', async () => {
    expect(await cliOk('find', `${image}:/etc`, '--name', 'shadow', '-l')).toMatch(
      /^-rw-r----- .* \/etc\/shadow\n$/,
    )
    expect(await cliOk('find', '-0', image, '/etc/ssh')).toBe('/etc/ssh\0/etc/ssh/sshd_config\0')
    const { files } = JSON.parse(await cliOk('find', '--json', image, '/var', '--type', 'l'))
    expect(files).toMatchObject([{ path: '/var/link', type: 'symlink' }])
  })

  test('says what is wrong, and goes on', async () => {
    const missing = await cli('find', image, '/nowhere', '/empty')
    expect(missing).toMatchObject({ status: 1, stdout: '/empty\n' })
    expect(missing.stderr).toContain('/nowhere')
    for (const wrong of [
      ['--size', 'much'],
      ['--perm', '9'],
      ['--type', 'x'],
      ['--newer', 'soon'],
      ['--user', 'nobody-here'],
    ])
      expect((await cli('find', image, ...wrong)).status).toBe(2)
  })
})
