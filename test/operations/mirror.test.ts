import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { type PhonyGuestName, phonyGuest, phonyGuests } from '../../native-fixtures/phony-guests.ts'
import { mirror } from '../../src/operations/mirror/mirror.ts'
import { haveTool, runOk, temporaryFolder } from '../support/native.ts'
import { memoryGuest, runTwice, text } from './support/operations.ts'

/** What apt itself takes from the sources: `SITE RELEASE`. */
async function targets(files: Record<string, string>): Promise<string[]> {
  const root = temporaryFolder()
  mkdirSync(join(root, 'etc/apt/sources.list.d'), { recursive: true })
  mkdirSync(join(root, 'var/lib/apt/lists/partial'), { recursive: true })
  for (const [path, content] of Object.entries(files)) writeFileSync(join(root, path), content)
  const output = await runOk('apt-get', [
    'indextargets',
    '--no-release-info',
    '-o',
    `Dir=${root}`,
    '-o',
    'Dir::State::status=/dev/null',
    '--format',
    '$(REPO_URI) $(RELEASE)',
    'Created-By: Packages',
  ])
  return [...new Set(output.trim().split('\n'))].sort()
}

const ONE_LINE = `# deb cdrom:[Debian]/ bookworm main
deb http://deb.debian.org/debian bookworm main contrib # the base
deb-src [arch=amd64 signed-by=/usr/share/keyrings/a.gpg] http://deb.debian.org/debian  bookworm main
deb http://security.debian.org/debian-security bookworm-security main
deb http://deb.debian.org/debian bookworm-updates main
`
const DEB822 = `# Ubuntu sources
Types: deb
URIs: http://archive.ubuntu.com/ubuntu/
# why
 http://de.archive.ubuntu.com/ubuntu/
Suites: noble noble-updates noble-backports
Components: main universe
Signed-By: /usr/share/keyrings/ubuntu-archive-keyring.gpg

Types: deb
URIs: http://security.ubuntu.com/ubuntu/
Suites: noble-security
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQ
`
const DOCKER = 'deb [signed-by=/k] https://download.docker.com/linux/debian bookworm stable\n'

describe('apt', () => {
  it('changes one-line sources, security by name', async () => {
    const files = {
      '/etc/apt/sources.list': ONE_LINE,
      '/etc/apt/sources.list.d/docker.list': DOCKER,
      '/etc/cloud/cloud.cfg': 'apt:\n   # why\n   preserve_sources_list: false\n',
    }
    const guest = await memoryGuest(files)
    const report = await runTwice(guest, mirror, { url: 'http://mirror.example.com/debian' })
    expect(await text(guest, '/etc/apt/sources.list')).toBe(
      ONE_LINE.replaceAll('http://deb.debian.org/debian', 'http://mirror.example.com/debian'),
    )
    expect(await text(guest, '/etc/apt/sources.list.d/docker.list')).toBe(DOCKER)
    expect(report.warnings).toEqual([expect.stringContaining('http://security.debian.org/debian-security')])
    expect(report.changes.at(-1)).toMatchObject({
      setting: 'cloud-init apt.preserve_sources_list',
      after: 'true',
    })
    await runTwice(guest, mirror, { url: 'http://mirror.example.com/security', name: 'security' })
    await runTwice(guest, mirror, { url: 'http://mirror.example.com/docker', name: 'docker' })
    expect((await runTwice(guest, mirror, { url: 'http://other.example.com/debian' })).changes.length).toBe(3)
    if (haveTool('apt-get'))
      expect(
        await targets({
          'etc/apt/sources.list': await text(guest, '/etc/apt/sources.list'),
          'etc/apt/sources.list.d/docker.list': await text(guest, '/etc/apt/sources.list.d/docker.list'),
        }),
      ).toEqual([
        'http://mirror.example.com/docker/ bookworm',
        'http://mirror.example.com/security/ bookworm-security',
        'http://other.example.com/debian/ bookworm',
        'http://other.example.com/debian/ bookworm-updates',
      ])
  })

  it('changes deb822 sources and keeps the rest of them', async () => {
    const path = '/etc/apt/sources.list.d/ubuntu.sources'
    const guest = await memoryGuest({ [path]: DEB822 })
    await runTwice(guest, mirror, { url: 'http://mirror.example.com/ubuntu' })
    const after = await text(guest, path)
    expect(after).toBe(
      DEB822.replace(
        'URIs: http://archive.ubuntu.com/ubuntu/\n# why\n http://de.archive.ubuntu.com/ubuntu/\n',
        '# why\nURIs: http://mirror.example.com/ubuntu\n',
      ),
    )
    if (haveTool('apt-get'))
      expect(await targets({ 'etc/apt/sources.list.d/ubuntu.sources': after })).toEqual([
        'http://mirror.example.com/ubuntu/ noble',
        'http://mirror.example.com/ubuntu/ noble-backports',
        'http://mirror.example.com/ubuntu/ noble-updates',
        'http://security.ubuntu.com/ubuntu/ noble-security',
      ])
  })

  it("knows Debian's cloud image by what it serves", async () => {
    const path = '/etc/apt/sources.list.d/debian.sources'
    const stanza = (list: string, suites: string) =>
      `Types: deb deb-src\nURIs: mirror+file:///etc/apt/mirrors/${list}.list\nSuites: ${suites}\nComponents: main\n`
    const guest = await memoryGuest({
      [path]: `${stanza('debian', 'bookworm bookworm-updates')}\n${stanza('debian-security', 'bookworm-security')}`,
    })
    const report = await runTwice(guest, mirror, { url: 'http://m/debian' })
    expect(report.changes.map(change => [change.before, change.after])).toEqual([
      ['mirror+file:///etc/apt/mirrors/debian.list', 'http://m/debian'],
    ])
  })
})

describe('yum, dnf, zypper, apk', () => {
  const CENTOS7 = `# CentOS-Base.repo
[base]
name=CentOS-$releasever - Base
mirrorlist=http://mirrorlist.centos.org/?release=$releasever&arch=$basearch&repo=os&infra=$infra
#baseurl=http://mirror.centos.org/centos/$releasever/os/$basearch/
gpgcheck=1

[third]
name=x
baseurl=http://third.example.com/a
  http://third.example.com/b
enabled=1
`
  it('puts base URLs for mirror lists', async () => {
    const path = '/etc/yum.repos.d/CentOS-Base.repo'
    const guest = await memoryGuest({ [path]: CENTOS7 })
    const report = await runTwice(guest, mirror, { url: 'http://mirror.example.com/centos/' })
    expect(await text(guest, path)).toBe(
      CENTOS7.replace('\nmirrorlist', '\n#mirrorlist').replace(
        '$basearch/\ngpgcheck',
        '$basearch/\nbaseurl=http://mirror.example.com/centos/$releasever/os/$basearch/\ngpgcheck',
      ),
    )
    expect(report.changes).toMatchObject([
      { setting: 'repository base', line: 6, before: expect.stringContaining('mirrorlist.centos') },
    ])
    await runTwice(guest, mirror, { url: 'http://m/third', name: 'third' })
    expect(await text(guest, path)).toContain('\nbaseurl=http://m/third\nenabled=1\n')
    await expect(mirror.run(guest, { url: 'http://m/x', name: 'none' })).rejects.toThrow(
      /there are base, third/,
    )
    if (haveTool('python3')) {
      const file = join(temporaryFolder(), 'x.repo')
      writeFileSync(file, await text(guest, path))
      const read = await runOk('python3', [
        '-c',
        "import configparser,sys;c=configparser.RawConfigParser();c.read(sys.argv[1]);print([(s,sorted(c[s])) for s in c.sections()], c['base']['baseurl'])",
        file,
      ])
      expect(read.trim()).toBe(
        "[('base', ['baseurl', 'gpgcheck', 'name']), ('third', ['baseurl', 'enabled', 'name'])] http://mirror.example.com/centos/$releasever/os/$basearch/",
      )
    }
  })

  it('knows where the families have their repositories below a mirror', async () => {
    const cases: [string, string][] = [
      [
        '#baseurl=http://dl.rockylinux.org/$contentdir/$releasever/BaseOS/$basearch/os/',
        '$releasever/BaseOS/$basearch/os/',
      ],
      [
        '# baseurl=https://repo.almalinux.org/almalinux/$releasever/AppStream/$basearch/os/',
        '$releasever/AppStream/$basearch/os/',
      ],
      [
        '#baseurl=http://download.example/pub/fedora/linux/releases/$releasever/Everything/$basearch/os/',
        'releases/$releasever/Everything/$basearch/os/',
      ],
      [
        'metalink=https://mirrors.centos.org/metalink?repo=centos-appstream-$stream&arch=$basearch&protocol=https,http',
        '$stream/AppStream/$basearch/os/',
      ],
      ['baseurl=http://vault.centos.org/centos/$releasever/os/$basearch/', '$releasever/os/$basearch/'],
      [
        'baseurl=http://download.opensuse.org/distribution/leap/$releasever/repo/oss/',
        'distribution/leap/$releasever/repo/oss/',
      ],
    ]
    for (const [line, below] of cases) {
      const guest = await memoryGuest({ '/etc/yum.repos.d/a.repo': `[a]\nname=a\n${line}\n` })
      await runTwice(guest, mirror, { url: 'http://m/root' })
      expect(await text(guest, '/etc/yum.repos.d/a.repo')).toContain(`\nbaseurl=http://m/root/${below}\n`)
    }
  })

  it('changes what comes before the branch for apk', async () => {
    const path = '/etc/apk/repositories'
    const before =
      '#/media/cdrom/apks\nhttps://dl-cdn.alpinelinux.org/alpine/v3.19/main\n@edge https://dl-cdn.alpinelinux.org/alpine/edge/testing\n'
    const guest = await memoryGuest({ [path]: before })
    await runTwice(guest, mirror, { url: 'http://m/alpine' })
    expect(await text(guest, path)).toBe(before.replaceAll('https://dl-cdn.alpinelinux.org', 'http://m'))
  })

  it('refuses what is no URL, and says what there is', async () => {
    for (const url of ['', 'mirror', 'http://a b', 'http://a\nb', 'javascript:x'])
      await expect(mirror.run(await memoryGuest({}), { url })).rejects.toMatchObject({
        code: 'ERR_INVALID_ARGUMENT',
      })
    await expect(mirror.run(await memoryGuest({}), { url: 'http://m' })).rejects.toMatchObject({
      code: 'ENOENT',
    })
  })

  it('settles in every whole guest', async () => {
    for (const name of Object.keys(phonyGuests) as PhonyGuestName[]) {
      const guest = await phonyGuest(name)
      try {
        await runTwice(guest, mirror, { url: 'http://mirror.example.com/x' })
      } catch (error) {
        expect(error).toMatchObject({ code: 'ENOENT' })
      }
    }
  })

  it('names no security suites where there are none', async () => {
    const guest = await memoryGuest({
      '/etc/apt/sources.list': 'deb http://deb.debian.org/debian bookworm main\n',
    })
    await expect(mirror.run(guest, { url: 'http://x.example/d', name: 'security' })).rejects.toThrow(
      /no repository "security"$/,
    )
  })
})
