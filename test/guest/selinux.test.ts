import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { makeExt4Image, withExt4 } from '../../native-fixtures/ext4-images.ts'
import type { FileType } from '../../src/filesystem/filesystem.ts'
import type { GuestFs } from '../../src/guest/guest-fs.ts'
import { HostFolderGuest } from '../../src/guest/host-folder-guest.ts'
import { memoryGuest } from '../../src/guest/memory-guest.ts'
import { MountTable } from '../../src/guest/mount-table.ts'
import { MountedGuest } from '../../src/guest/mounted-guest.ts'
import { parseSelinuxConfig } from '../../src/guest/selinux/config.ts'
import { parseFileContexts, parsePathAliases } from '../../src/guest/selinux/file-contexts.ts'
import { LabelPolicy } from '../../src/guest/selinux/policy.ts'
import { selinuxRelabel } from '../../src/operations/selinux-relabel.ts'
import { copy } from '../../src/operations/tree.ts'
import { runTwice, watched } from '../operations/support/operations.ts'
import {
  checkWrittenImages,
  haveTool,
  propertySettings,
  runOk,
  temporaryFolder,
  writes,
} from '../support/native.ts'

checkWrittenImages()

const t = (type: string) => `system_u:object_r:${type}_t:s0`

const CONTEXTS = `# a comment
/.*\t${t('default')}
/etc/.*\t${t('etc')}
/etc/shadow.*\t--\t${t('shadow')}
/etc/hosts ${t('net_conf')}
/usr/.*\t${t('usr')}
/usr/(.*/)?bin(/.*)?\t${t('bin')}
/usr/lib/systemd/system(/.*)?\t${t('unit')}
/srv/([^/]*/)?www(/.*)?\t${t('httpd')}
/tmp/.*\t<<none>>
/tmp\t-d\t${t('tmp')}
/dev/[shmxv]d[^/]*\t-b\t${t('disk')}
/dev\t-d\t${t('device')}
`
const HOMEDIRS = `/home/[^/]+\t-d\t${t('user_home_dir')}\n/home/[^/]+/.+\t${t('user_home')}\n`
const SUBS = '/etc/systemd/system /usr/lib/systemd/system\n/bin /usr/bin\n'

const FILES = '/etc/selinux/targeted/contexts/files/file_contexts'
const SELINUX: Readonly<Record<string, string>> = {
  '/etc/selinux/config': 'SELINUX=enforcing\nSELINUXTYPE=targeted\n',
  [FILES]: CONTEXTS,
  [`${FILES}.homedirs`]: HOMEDIRS,
  [`${FILES}.subs_dist`]: SUBS,
}

async function label(guest: GuestFs, path: string): Promise<string | undefined> {
  const value = await guest.getxattr(path, 'security.selinux')
  return value && new TextDecoder().decode(value)
}

function policy(text: string, aliases = ''): LabelPolicy {
  return new LabelPolicy({
    contexts: [parseFileContexts(text)],
    aliases: [],
    distributionAliases: parsePathAliases(aliases),
  })
}

describe('new files get the label of the guest policy', () => {
  it('by path and type, with the NUL byte that ends a label', async () => {
    const guest = await memoryGuest(SELINUX)
    await guest.writeFile('/etc/shadow', 'x')
    await guest.mkdir('/etc/shadow.d')
    await guest.writeFile('/etc/hosts', 'x')
    await guest.mkdir('/home/ann/.ssh', { recursive: true })
    await guest.writeFile('/home/ann/.ssh/authorized_keys', 'x')
    await guest.mkdir('/srv/a/www', { recursive: true })
    await guest.symlink('index', '/srv/a/www/home')
    await guest.mkdir('/dev')
    await guest.mknod('/dev/sda', 'block-device', { major: 8, minor: 0 })
    await guest.mkdir('/etc/systemd/system', { recursive: true })
    await guest.writeFile('/etc/systemd/system/a.service', 'x')
    expect(await label(guest, '/etc/shadow')).toBe(`${t('shadow')}\0`)
    expect(await label(guest, '/etc/shadow.d')).toBe(`${t('etc')}\0`)
    expect(await label(guest, '/etc/hosts')).toBe(`${t('net_conf')}\0`)
    expect(await label(guest, '/home/ann')).toBe(`${t('user_home_dir')}\0`)
    expect(await label(guest, '/home/ann/.ssh/authorized_keys')).toBe(`${t('user_home')}\0`)
    expect(await label(guest, '/srv/a/www/home')).toBe(`${t('httpd')}\0`)
    expect(await label(guest, '/dev/sda')).toBe(`${t('disk')}\0`)
    expect(await label(guest, '/etc/systemd/system/a.service')).toBe(`${t('unit')}\0`)
  })

  it('by the real path, not by the one that was asked for', async () => {
    const guest = await memoryGuest(SELINUX)
    await guest.mkdir('/srv/www', { recursive: true })
    await guest.symlink('/srv/www', '/etc/site')
    await guest.writeFile('/etc/site/x', '')
    expect(await label(guest, '/srv/www/x')).toBe(`${t('httpd')}\0`)
    await copy.run(guest, { from: '/srv/www/x', to: '/etc/y' })
    expect(await label(guest, '/etc/y')).toBe(`${t('etc')}\0`)
  })

  it('what is edited or renamed keeps its label; <<none>> takes that of the directory', async () => {
    const guest = await memoryGuest(SELINUX)
    await guest.writeFile('/etc/a', '1')
    await guest.setxattr('/etc/a', 'security.selinux', new TextEncoder().encode('own\0'))
    await guest.writeFile('/etc/a', '22')
    await guest.appendFile('/etc/a', '3')
    await guest.rename('/etc/a', '/etc/hosts')
    expect(await label(guest, '/etc/hosts')).toBe('own\0')
    await guest.mkdir('/tmp')
    await guest.writeFile('/tmp/x', '')
    expect(await label(guest, '/tmp')).toBe(`${t('tmp')}\0`)
    expect(await label(guest, '/tmp/x')).toBe(`${t('tmp')}\0`)
  })

  it('follows a policy that changes, and stays without labels where SELinux is off', async () => {
    const guest = await memoryGuest(SELINUX)
    await guest.writeFile('/etc/a', '')
    await guest.writeFile(`${FILES}.local`, `/etc/b ${t('local')}\n`)
    await guest.writeFile('/etc/b', '')
    expect(await label(guest, '/etc/b')).toBe(`${t('local')}\0`)
    await guest.writeFile(`${FILES}.new`, `/etc/.* ${t('renamed')}\n`)
    await guest.rename(`${FILES}.new`, FILES)
    await guest.writeFile('/etc/c', '')
    expect(await label(guest, '/etc/c')).toBe(`${t('renamed')}\0`)

    const off = await memoryGuest({ ...SELINUX, '/etc/selinux/config': 'SELINUX=disabled\n' })
    await off.writeFile('/etc/a', '')
    expect(await label(off, '/etc/a')).toBeUndefined()
    const plain = await memoryGuest({ '/etc/hosts': '' })
    expect(await label(plain, '/etc/hosts')).toBeUndefined()
  })
})

describe('selinux-relabel', () => {
  it('labels the whole tree, leaves <<none>> alone, and takes the relabel at boot back', async () => {
    const guest = await memoryGuest({
      '/tmp/x': '',
      '/usr/bin/ls': '',
      '/etc/hosts': '',
      '/.autorelabel': '',
      ...SELINUX,
    })
    await guest.link('/usr/bin/ls', '/etc/ls')
    const report = await runTwice(guest, selinuxRelabel, {})
    expect(report.changes.map(change => change.setting)).toEqual([
      'SELinux labels',
      'relabel at the next boot',
    ])
    expect(await label(guest, '/usr/bin/ls')).toBe(`${t('etc')}\0`)
    expect(await label(guest, '/usr/bin')).toBe(`${t('bin')}\0`)
    expect(await label(guest, '/tmp/x')).toBeUndefined()
    expect(await label(guest, '/')).toBe(`${t('default')}\0`)
    expect(await guest.exists('/.autorelabel')).toBe(false)
  })

  it('where there is no policy to read, or nowhere to write labels: at the next boot', async () => {
    const lost = await memoryGuest({ '/etc/selinux/config': 'SELINUX=enforcing\n' })
    const report = await runTwice(lost, selinuxRelabel, {})
    expect(report.warnings[0]).toContain(`${FILES} does not exist`)
    expect(await lost.exists('/.autorelabel')).toBe(true)

    const root = temporaryFolder()
    await mkdir(join(root, FILES, '..'), { recursive: true })
    await writeFile(join(root, FILES), CONTEXTS)
    await writeFile(join(root, 'etc/selinux/config'), 'SELINUX=permissive\n')
    const folder = new HostFolderGuest(root)
    await runTwice(folder, selinuxRelabel, {})
    expect(await folder.exists('/.autorelabel')).toBe(true)
  })

  it('does nothing where SELinux is not used', async () => {
    for (const files of [{}, { '/etc/selinux/config': 'SELINUX=disabled\n' }]) {
      const { guest, writes } = watched(await memoryGuest(files))
      const report = await selinuxRelabel.run(guest, {})
      expect(report.warnings).toHaveLength(1)
      expect(writes).toEqual([])
    }
  })
})

describe('on ext4', () => {
  it.skipIf(!haveTool('debugfs'))('labels are as the kernel keeps them', async () => {
    const image = writes(await makeExt4Image({ name: '', arguments: ['-t', 'ext4'], megabytes: 16 }), 'ext4')
    await withExt4(image, true, async fs => {
      const guest = new MountedGuest(new MountTable({ fs, source: image }))
      await guest.mkdir('/usr/bin', { recursive: true })
      await guest.writeFile('/usr/bin/old', '')
      for (const [path, content] of Object.entries(SELINUX)) {
        await guest.mkdir(path.slice(0, path.lastIndexOf('/')), { recursive: true })
        await guest.writeFile(path, content)
      }
      await guest.writeFile('/usr/bin/new', '')
      await guest.symlink('x', '/usr/bin/link')
      await runTwice(guest, selinuxRelabel, {})
      await fs.close()
    })
    for (const path of ['/usr/bin/new', '/usr/bin/old', '/usr/bin/link', '/usr/bin'])
      expect(await runOk('debugfs', ['-R', `ea_get ${path} security.selinux`, image])).toContain(
        `"${t('bin')}\\000"`,
      )
  })
})

describe('the policy files', () => {
  it('/etc/selinux/config is read as libselinux reads it', () => {
    expect(
      parseSelinuxConfig('# SELINUX=disabled\nSELINUX= Permissive\nSELINUX=disabled\n SELINUXTYPE=mls \n'),
    ).toEqual({
      mode: 'permissive',
      type: 'mls',
    })
    expect(parseSelinuxConfig('SELINUXTYPE=../../etc\n')).toEqual({ mode: 'permissive', type: 'targeted' })
  })

  it('a pattern that is not understood decides nothing', () => {
    for (const pattern of ['/a(?=b).*', '/a|/b', '/a\\1(x)', '/a*+b', '/a[b', '/(((', '/a{3}{4}', '/a$b'])
      expect(policy(`/.* ${t('x')}\n${pattern} ${t('y')}\n`).lookup('/a', 'file'), pattern).toMatchObject(
        pattern.startsWith('/a{') || pattern === '/a*+b' || pattern === '/(((' || pattern === '/a|/b'
          ? { kind: expect.any(String) as string }
          : { kind: 'unknown', pattern },
      )
    expect(policy(`/.* ${t('x')}\n/x(?=b).* ${t('y')}\n`).lookup('/a', 'file')).toEqual({
      kind: 'label',
      context: t('x'),
    })
  })

  it('hostile patterns cost bounded time', () => {
    const path = `/${'a'.repeat(4000)}`
    const begun = performance.now()
    for (const pattern of [
      `/${'(a*)*'.repeat(50)}b`,
      `/${'(a|a)*'.repeat(40)}b`,
      '/((((a{1,99}){1,99}){1,99}){1,99})b',
      '/((){65535}){65535}',
      `/${'.*'.repeat(1000)}b`,
      '/(.*a){200}b',
    ])
      policy(`${pattern} ${t('x')}\n`).lookup(path, 'file')
    const many = policy(`${'/.*a.*a.*b system_u:object_r:x_t:s0\n'.repeat(190_000)}`)
    expect(() => {
      for (let i = 0; i < 2000; i++) many.lookup(`${path}${i}`, 'file')
    }).toThrow(/takes too long/)
    expect(performance.now() - begun).toBeLessThan(30_000)
  })
})

describe.skipIf(!haveTool('matchpathcon'))('against libselinux (matchpathcon)', () => {
  const MODES: Readonly<Partial<Record<FileType, string>>> = {
    file: 'file',
    directory: 'dir',
    symlink: 'link',
    'block-device': 'block',
    'character-device': 'char',
    fifo: 'pipe',
    socket: 'socket',
  }

  async function expectSame(text: string, subs: string, paths: readonly string[]): Promise<void> {
    const file = join(temporaryFolder(), 'file_contexts')
    await writeFile(file, text)
    await writeFile(`${file}.subs_dist`, subs)
    const ours = policy(text, subs)
    for (const [type, mode] of Object.entries(MODES)) {
      const stdout = await runOk('matchpathcon', ['-n', '-m', mode, '-f', file, ...paths])
      const answers = paths.map(path => ours.lookup(path, type as FileType))
      expect(
        answers.map(answer => (answer.kind === 'label' ? answer.context : '<<none>>')),
        `${type} ${text}`,
      ).toEqual(stdout.trim().split('\n'))
    }
  }

  it('a policy by hand', async () => {
    await expectSame(CONTEXTS + HOMEDIRS, SUBS, [
      ...[
        '/',
        '/etc',
        '/etc/shadow',
        '/etc/shadow-',
        '/etc/hosts',
        '/etc/hosts/',
        '//etc//hosts',
        '/bin',
        '/bin/ls',
        '/binx',
      ],
      ...[
        '/usr',
        '/usr/local/bin',
        '/usr/local/bin/x',
        '/usr/bin',
        '/srv/www',
        '/srv/a/www/b',
        '/srv/a/b/www',
        '/tmp',
        '/tmp/x',
      ],
      ...['/dev/sda', '/home/a', '/home/a/b', '/etc/systemd/system/x.service', '/etc/systemd/systemx'],
    ])
  })

  it('any policy', async () => {
    const name = fc.constantFrom('a', 'b', 'ab', 'a.b', 'usr', 'x-y', 'a+b')
    const piece = fc.oneof(
      { weight: 3, arbitrary: name.map(n => `/${n.replace(/[.+]/g, '\\$&')}`) },
      fc.constantFrom(
        '/[^/]*',
        '(/.*)?',
        '/.*',
        '/(.*/)?b',
        '(/a|/b)',
        '/[ab]+',
        '/[^a-b]',
        '/a{2}',
        '/a{1,2}b',
        '/\\.a?',
        '/a\\.b',
      ),
      fc.constantFrom(
        '/a*?b',
        '/(?:a|usr)',
        '/[[:alnum:]_.-]+',
        '/\\w+',
        '/a/x\\-y',
        '/.',
        '/(a(b)?)+',
        '/[]a]',
        '/a.b',
        '{',
        'b?',
      ),
    )
    const pattern = fc.array(piece, { minLength: 1, maxLength: 4 }).map(parts => parts.join(''))
    const line = fc.tuple(pattern, fc.constantFrom('', '', '--', '-d', '-l', '-b'), fc.nat(30))
    const path = fc.array(fc.oneof(name, fc.constantFrom('aa', 'aab', '.a', '.', 'c', ']', '{')), {
      minLength: 1,
      maxLength: 4,
    })
    await fc.assert(
      fc.asyncProperty(
        fc.array(line, { minLength: 1, maxLength: 12 }),
        fc.array(fc.tuple(path, path), { maxLength: 2 }),
        fc.array(path, { minLength: 5, maxLength: 40 }),
        async (lines, subs, paths) => {
          const text = lines
            .map(([regex, type, n]) => `${regex}\t${type}\t${n === 0 ? '<<none>>' : t(`n${n}`)}\n`)
            .join('')
          const aliases = subs.map(([from, to]) => `/${from.join('/')} /${to.join('/')}\n`).join('')
          await expectSame(
            text,
            aliases,
            paths.map(parts => `/${parts.join('/')}`),
          )
        },
      ),
      propertySettings(30),
    )
  })
})
