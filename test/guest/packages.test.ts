import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { memoryGuest } from '../../src/guest/memory-guest.ts'
import { parseApkInstalled } from '../../src/guest/packages/apk-installed.ts'
import { parseDpkgStatus } from '../../src/guest/packages/dpkg-status.ts'
import { packageVersions } from '../../src/guest/packages/package-versions.ts'
import { haveTool, runOk } from '../support/native.ts'

describe('text databases', () => {
  it('dpkg: installed ones alone, whatever stands in descriptions', () => {
    const text = `Package: a
Status: install ok installed
Version: 1:2.0-1
Description: x
 Version: 9
 .
 Package: b

Package: gone
Status: deinstall ok config-files
Version: 3

Version: 4~rc1
Status: hold ok installed
Package: c
`
    expect([...parseDpkgStatus(text)]).toEqual([
      ['a', '1:2.0-1'],
      ['c', '4~rc1'],
    ])
    expect([...parseDpkgStatus('')]).toEqual([])
    expect([...parseDpkgStatus('\n\n\n')]).toEqual([])
  })

  it('apk', () => {
    expect([...parseApkInstalled('C:Q1\nP:a\nV:1-r0\nF:usr\nR:V:9\n\nP:b\nV:2-r1')]).toEqual([
      ['a', '1-r0'],
      ['b', '2-r1'],
    ])
  })

  it.skipIf(!haveTool('dpkg-query'))('dpkg: as dpkg-query says of this machine', async () => {
    const listed = await runOk('dpkg-query', ['-W', '-f', `\${db:Status-Abbrev}|\${Package}|\${Version}\n`])
    const expected = new Map(
      listed
        .split('\n')
        .map(line => line.split('|'))
        .filter(([status]) => status?.[1] === 'i')
        .map(([, name = '', version = '']) => [name, version]),
    )
    expect(parseDpkgStatus(readFileSync('/var/lib/dpkg/status', 'utf8'))).toEqual(expected)
  })

  it('packages of an image without a package manager, and of distroless', async () => {
    const wanted = new Set(['a'])
    expect(await packageVersions(await memoryGuest({ '/etc/passwd': '' }), wanted)).toMatchObject({
      database: 'none',
    })
    const guest = await memoryGuest({
      '/var/lib/dpkg/status.d/a': 'Package: a\nVersion: 1\n',
      '/var/lib/dpkg/status.d/a.md5sums': 'Package: b\nVersion: 1\n',
    })
    const found = await packageVersions(guest, wanted)
    expect(found.database).toBe('dpkg')
    expect([...found.versions]).toEqual([['a', '1']])
    const arch = await memoryGuest({ '/var/lib/pacman/local/linux-lts-6.6.1-1/desc': '' })
    expect([...(await packageVersions(arch, wanted)).versions]).toEqual([['linux-lts', '6.6.1-1']])
    const el7 = await memoryGuest({ '/var/lib/rpm/Packages': 'b1' })
    expect(await packageVersions(el7, wanted)).toMatchObject({
      database: 'rpm',
      problem: expect.stringContaining('Berkeley DB'),
    })
  })
})
