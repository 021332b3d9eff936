import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { DrydiskError } from '../../src/errors.ts'
import { memoryGuest } from '../../src/guest/memory-guest.ts'
import { berkeleyHashItems } from '../../src/guest/packages/berkeley-hash.ts'
import { installedPackages } from '../../src/guest/packages/installed.ts'
import { packageVersions } from '../../src/guest/packages/package-versions.ts'
import { readRpmHeader } from '../../src/guest/packages/rpm-header.ts'
import { ndbPackages } from '../../src/guest/packages/rpm-ndb.ts'
import { SqliteFile } from '../../src/guest/packages/sqlite-table.ts'
import { haveTool, propertySettings, run, runOk, temporaryFolder } from '../support/native.ts'

const bytesOf = (data: Uint8Array) => async (offset: number, into: Uint8Array) => {
  const part = data.subarray(offset, offset + into.length)
  into.set(part)
  return part.length
}

/** What `rpm -qa` prints of each package here. */
const FORMAT = '%{NAME} %|EPOCH?{%{EPOCH}:}:{}|%{VERSION}-%{RELEASE}\\n'

const versionsListed = (listed: string) =>
  new Map(
    listed
      .trim()
      .split('\n')
      .map((line): [string, string] => [line.split(' ')[0] ?? '', line.split(' ')[1] ?? '']),
  )

/** A header as rpm's database keeps it: index entries, then data. */
const header = (name: string, version: string) => {
  const data = new TextEncoder().encode(`${name}\0${version}\x001.el9\0`)
  const entries = [
    [1000, 6, 0],
    [1001, 6, name.length + 1],
    [1002, 6, name.length + version.length + 2],
  ]
  const bytes = new Uint8Array(8 + entries.length * 16 + data.length)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, entries.length)
  view.setUint32(4, data.length)
  entries.forEach(([tag = 0, type = 0, offset = 0], i) => {
    view.setUint32(8 + i * 16, tag)
    view.setUint32(12 + i * 16, type)
    view.setUint32(16 + i * 16, offset)
    view.setUint32(20 + i * 16, 1)
  })
  bytes.set(data, 8 + entries.length * 16)
  return bytes
}

/** An rpm database of 60 packages, some with headers of many pages, made by rpm itself. */
async function rpmDatabase(): Promise<{ database: Uint8Array; listed: Map<string, string> }> {
  const folder = temporaryFolder()
  const names = Array.from({ length: 60 }, (_, i) => `package-${i}`)
  const sub = names.map(
    (name, i) => `%package -n ${name}
Summary: s
Version: 1.${i}
${i % 3 === 0 ? `Epoch: ${i}` : ''}
%description -n ${name}
${'many words '.repeat(i % 7 === 0 ? 4000 : i * 3)}
%files -n ${name}
`,
  )
  writeFileSync(
    join(folder, 'p.spec'),
    `Name: cloud-init\nVersion: 23.4\nRelease: 7.el9\nSummary: x\nLicense: GPL\nBuildArch: noarch\n%description\nx\n%files\n${sub.join('')}`,
  )
  const defines = ['_topdir', '_rpmdir'].flatMap(name => ['--define', `${name} ${folder}`])
  await runOk('rpmbuild', ['-bb', ...defines, join(folder, 'p.spec')])
  const database = ['--dbpath', join(folder, 'db'), '--define', '_db_backend sqlite']
  const files = ['cloud-init', ...names].map((name, i) =>
    join(folder, 'noarch', `${name}-${i === 0 ? '23.4' : `1.${i - 1}`}-7.el9.noarch.rpm`),
  )
  const options = ['--justdb', '--nodeps', '--noscripts', '--ignoreos', '--ignorearch']
  await runOk('rpm', [...database, '-i', ...options, ...files])
  // Something goes, so that free pages and gaps between rows exist.
  await runOk('rpm', [...database, '-e', '--justdb', '--nodeps', 'package-7', 'package-30'])
  return {
    // Slices of a Buffer would share its bytes.
    database: Uint8Array.from(readFileSync(join(folder, 'db', 'rpmdb.sqlite'))),
    listed: versionsListed(await runOk('rpm', [...database, '-qa', '--qf', FORMAT])),
  }
}

const hasRpm = haveTool('rpmbuild') && haveTool('rpm')
/** One database is the ground of all tests here. */
const made = hasRpm
  ? rpmDatabase()
  : Promise.resolve({ database: new Uint8Array(), listed: new Map<string, string>() })

describe.skipIf(!hasRpm)('rpmdb.sqlite', () => {
  it('has the versions that rpm itself lists; damage is a typed error (property)', async () => {
    const { database, listed } = await made
    expect(listed.size).toBe(59)
    const wanted = new Set(listed.keys())
    const guest = await memoryGuest({ '/usr/lib/sysimage/rpm/rpmdb.sqlite': database })
    const found = await packageVersions(guest, wanted)
    expect(found).toMatchObject({ database: 'rpm', count: 59, problem: undefined })
    expect(found.versions).toEqual(listed)

    const one = await packageVersions(guest, new Set(['package-59', 'package-7', 'other']))
    expect([...one.versions]).toEqual([['package-59', listed.get('package-59')]])

    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat(database.length - 1), fc.nat(255)), { minLength: 1, maxLength: 30 }),
        fc.option(fc.nat(database.length), { freq: 4 }),
        async (changes, cut) => {
          const damaged = database.slice(0, cut ?? database.length)
          for (const [at, value] of changes) if (at < damaged.length) damaged[at % 8192] = value
          for (const [at, value] of changes) if (at < damaged.length) damaged[at] = value
          try {
            const file = await SqliteFile.open(bytesOf(damaged), damaged.length)
            const root = await file.rootOf('Packages')
            if (root === undefined) return
            for await (const row of file.rows(root, 4096)) if (row.rowid > 1e6) break
          } catch (error) {
            if (!(error instanceof DrydiskError)) throw error
          }
        },
      ),
      propertySettings(60),
    )
  })
})

/** rpm's Packages file with the headers of another database, made by Berkeley DB itself. */
async function berkeleyDatabase(
  sqlite: Uint8Array,
  folder: string,
  order: '1234' | '4321',
  pageSize: number,
): Promise<Uint8Array> {
  const file = await SqliteFile.open(bytesOf(sqlite), sqlite.length)
  const hex = (bytes: Uint8Array) => ` ${Buffer.from(bytes).toString('hex')}\n`
  const number = (value: number) => {
    const bytes = new Uint8Array(4)
    new DataView(bytes.buffer).setUint32(0, value, order === '1234')
    return bytes
  }
  let dump = `VERSION=3\nformat=bytevalue\ntype=hash\ndb_pagesize=${pageSize}\nHEADER=END\n`
  let last = 0
  for await (const { rowid, columns } of file.rows((await file.rootOf('Packages')) ?? 0, 1 << 24)) {
    last = rowid
    dump += hex(number(rowid)) + hex(columns[1] as Uint8Array)
  }
  dump += `${hex(number(0))}${hex(number(last))}DATA=END\n`
  const path = join(folder, 'Packages')
  await runOk('db5.3_load', ['-t', 'hash', '-c', `db_lorder=${order}`, path], dump)
  return Uint8Array.from(readFileSync(path))
}

describe.skipIf(!hasRpm || !haveTool('db5.3_load'))('Packages, a Berkeley DB file', () => {
  it.each([
    ['1234', 4096],
    ['4321', 512],
    ['4321', 65_536],
  ] as const)('has the versions that rpm lists, byte order %s, pages of %i', async (order, pageSize) => {
    const { database, listed } = await made
    const folder = temporaryFolder()
    const packages = await berkeleyDatabase(database, folder, order, pageSize)
    const guest = await memoryGuest({ '/var/lib/rpm/Packages': packages })
    const found = await packageVersions(guest, new Set())
    expect(found).toMatchObject({ database: 'rpm', isComplete: true, count: 59, problem: undefined })
    expect(found.versions).toEqual(listed)
    const installed = await installedPackages(guest)
    expect(installed.source).toBe('/var/lib/rpm/Packages')
    expect(await installed.has('cloud-init')).toBe(true)
    expect(await installed.has('package-7')).toBe(false)
    const query = ['--dbpath', folder, '--define', '_db_backend bdb_ro', '-qa', '--qf', FORMAT]
    expect(versionsListed(await runOk('rpm', query))).toEqual(listed)
  })

  it('of many packages, with pages of buckets that go on', async () => {
    const folder = temporaryFolder()
    const path = join(folder, 'Packages')
    const names = Array.from({ length: 3000 }, (_, i) => `package-${i}`)
    const dump = names.map((name, i) => {
      const key = (i + 1).toString(16).padStart(8, '0')
      // Most of a bucket's pages hold keys alone: their values are too long for a page.
      const value = Buffer.concat([header(name, `1.${i}`), new Uint8Array(i % 5 === 0 ? 700 : 0)])
      return ` ${key}\n ${value.toString('hex')}\n`
    })
    await runOk(
      'db5.3_load',
      ['-t', 'hash', path],
      `VERSION=3\nformat=bytevalue\ntype=hash\ndb_pagesize=512\nh_ffactor=60\nHEADER=END\n${dump.join('')}DATA=END\n`,
    )
    const guest = await memoryGuest({ '/var/lib/rpm/Packages': readFileSync(path) })
    const found = await packageVersions(guest, new Set())
    expect(found.problem).toBeUndefined()
    expect(found.versions).toEqual(new Map(names.map((name, i) => [name, `1.${i}-1.el9`])))
  })

  it('that is damaged is a typed error (property)', async () => {
    const { database } = await made
    const whole = await berkeleyDatabase(database, temporaryFolder(), '1234', 512)
    const place = fc.oneof(fc.nat(511), fc.nat(whole.length - 1))
    const value = fc.oneof(fc.nat(255), fc.constantFrom(0, 1, 3, 0xff))
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(place, value), { minLength: 1, maxLength: 30 }),
        fc.option(fc.nat(whole.length), { freq: 4 }),
        async (changes, cut) => {
          const damaged = whole.slice(0, cut ?? whole.length)
          for (const [at, byte] of changes) if (at < damaged.length) damaged[at] = byte
          try {
            let count = 0
            for await (const { value } of berkeleyHashItems(bytesOf(damaged), damaged.length, 4096)) {
              readRpmHeader(value)
              expect(++count).toBeLessThan(damaged.length)
            }
          } catch (error) {
            if (!(error instanceof DrydiskError)) throw error
          }
        },
      ),
      propertySettings(100),
    )
  })

  it('of another kind is told of', async () => {
    const path = join(temporaryFolder(), 'tree')
    await runOk('db5.3_load', ['-T', '-t', 'btree', path], 'a\nb\n')
    const problem = async (bytes: Uint8Array) =>
      (await packageVersions(await memoryGuest({ '/var/lib/rpm/Packages': bytes }), new Set())).problem
    expect(await problem(readFileSync(path))).toMatch(/Packages: Berkeley DB file: no hash database/)
    await runOk('db5.3_load', ['-T', '-t', 'hash', '-c', 'chksum=1', `${path}-sums`], 'a\nb\n')
    expect(await problem(readFileSync(`${path}-sums`))).toMatch(/checksums/)
    await runOk('db5.3_load', ['-T', '-t', 'hash', `${path}-loop`], `a\n${'b'.repeat(20_000)}\n`)
    const loop = readFileSync(`${path}-loop`)
    const pages = Array.from({ length: loop.length / 4096 }, (_, i) => loop.subarray(i * 4096))
    const overflow = pages.filter(page => page[25] === 7)
    expect(overflow.length).toBeGreaterThan(3)
    for (const page of overflow) page.writeUInt32LE(overflow[0]?.readUInt32LE(8) ?? 0, 16)
    expect(await problem(loop)).toMatch(/page \d+ comes twice/)
  })
})

it.skipIf(!haveTool('sqlite3'))('tables as sqlite3 reads them, with small pages and long rows', async () => {
  const path = join(temporaryFolder(), 'x.db')
  const sql = `PRAGMA page_size=512; CREATE TABLE other(a); CREATE TABLE t(id INTEGER PRIMARY KEY, n, s TEXT, b BLOB);
WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i<400)
INSERT INTO t SELECT i*i, i*i*i*(1-2*(i%2)), printf('%.*c', i*7, 'x'), zeroblob(i) FROM c;
DELETE FROM t WHERE id % 5 = 0;`
  await runOk('sqlite3', [path], sql)
  const data = readFileSync(path)
  const file = await SqliteFile.open(bytesOf(data), data.length)
  const root = (await file.rootOf('t')) ?? 0
  const rows: string[] = []
  for await (const { rowid, columns } of file.rows(root, 1 << 20)) {
    const [, n, s, b] = columns
    rows.push(`${rowid}|${n}|${String(s).length}|${(b as Uint8Array).length}`)
  }
  const expected = await run('sqlite3', [path, 'SELECT id, n, length(s), length(b) FROM t ORDER BY id'])
  expect(rows).toEqual(expected.stdout.trim().split('\n'))
  expect((await file.row(root, 399 * 399, 1 << 20))?.columns[1]).toBe(-(399 ** 3))
  expect(await file.row(root, 25, 100)).toBeUndefined()
  expect(await file.rootOf('none')).toBeUndefined()
})

describe('rpm headers and ndb', () => {
  /** Packages.db by rpmpkg.c: a header, slots, blobs. */
  const ndb = (packages: readonly Uint8Array[]) => {
    const bytes = new Uint8Array(4096 + packages.length * 512)
    const view = new DataView(bytes.buffer)
    const magic = (at: number, text: string) => bytes.set(new TextEncoder().encode(text), at)
    magic(0, 'RpmP')
    view.setUint32(12, 1, true)
    for (let at = 32; at < 4096; at += 16) magic(at, 'Slot')
    packages.forEach((one, i) => {
      const start = 4096 + i * 512
      view.setUint32(36 + i * 16, i + 1, true)
      view.setUint32(40 + i * 16, start / 16, true)
      view.setUint32(44 + i * 16, 32, true)
      magic(start, 'BlbS')
      view.setUint32(start + 4, i + 1, true)
      view.setUint32(start + 12, one.length, true)
      bytes.set(one, start + 16)
    })
    return bytes
  }

  it('reads names and versions', async () => {
    expect(readRpmHeader(header('a', '1'))).toEqual({ name: 'a', version: '1-1.el9' })
    expect(readRpmHeader(new Uint8Array(3))).toBeUndefined()
    expect(readRpmHeader(new Uint8Array(64).fill(0xff))).toBeUndefined()
    const database = ndb([header('cloud-init', '23'), header('b', '2')])
    const guest = await memoryGuest({ '/usr/lib/sysimage/rpm/Packages.db': database })
    const found = await packageVersions(guest, new Set(['cloud-init']))
    expect(found).toMatchObject({ database: 'rpm', count: 2, problem: undefined })
    expect([...found.versions]).toEqual([
      ['cloud-init', '23-1.el9'],
      ['b', '2-1.el9'],
    ])
  })

  it('damage is a typed error (property)', async () => {
    const whole = ndb([header('cloud-init', '23'), header('b', '2')])
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat(199), fc.nat(255)), { minLength: 1, maxLength: 10 }),
        async changes => {
          const damaged = whole.slice()
          for (const [at, value] of changes) damaged[at < 100 ? at : 4096 + at] = value
          try {
            for await (const one of ndbPackages(bytesOf(damaged), damaged.length, 4096)) readRpmHeader(one)
          } catch (error) {
            if (!(error instanceof DrydiskError)) throw error
          }
        },
      ),
      propertySettings(200),
    )
  })
})
