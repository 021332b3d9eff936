import { createHash } from 'node:crypto'
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, test, vi } from 'vitest'
import { cli, cliOk } from '../support/cli.ts'
import { checkWrittenImages, temporaryFolder, writes } from '../support/native.ts'

checkWrittenImages()

let demo = ''
beforeAll(async () => {
  demo = join(temporaryFolder(), 'demo.qcow2')
  await cliOk('make-fs', '--demo', '--size', '64M', demo)
})

function images(count: number): string[] {
  const folder = temporaryFolder()
  return Array.from({ length: count }, (_, i) => {
    const path = join(folder, `disk${i}.qcow2`)
    copyFileSync(demo, path)
    return writes(path, 'disk')
  })
}

function file(text: string, name = 'r.yaml', folder = temporaryFolder()): string {
  const path = join(folder, name)
  writeFileSync(path, text)
  return path
}

const sha = (path: string) => createHash('sha256').update(readFileSync(path)).digest('hex')

const SITE = `name: site
variables:
  MOTD: {default: hello, description: what is said}
  KEY: {secret: true, default: ""}
steps:
  - name: greeting
    write: {file: /etc/motd, content: "\${MOTD}\\n"}
  - append-line: {file: /etc/key, line: "key=\${KEY}"}
    when: \${KEY} != ""
  - touch: /etc/suse
    when: family == suse
`

test('one image: what was done, then nothing more', async () => {
  const [image = ''] = images(1)
  const recipe = file(SITE)
  const out = await cliOk('apply', recipe, image, '--var', 'MOTD=one')
  expect(out).toMatch(
    /^write: content: .* → 4 bytes {2}\(\/etc\/motd\)\n1 of 2 steps are not for this guest\n$/,
  )
  expect(await cliOk('cat', image, '/etc/motd')).toBe('one\n')
  const before = sha(image)
  expect(await cliOk('apply', recipe, '-a', image, '--var', 'MOTD=one')).toContain('nothing to change')
  expect(sha(image)).toBe(before)
})

test('--dry-run, as text and JSON; secrets show in neither', async () => {
  const [image = ''] = images(1)
  const before = sha(image)
  const recipe = file(SITE.replace('append-line: {file: /etc/key, line', 'write: {file: /etc/key, content'))
  vi.stubEnv('DRYDISK_VAR_KEY', 'hunter"22')
  const text = await cliOk('apply', recipe, image, '--dry-run')
  expect(text).toContain('+hello')
  expect(text).toContain('/etc/key')
  expect(text).toMatch(/Nothing was written/)
  expect(text).not.toContain('hunter')
  const raw = await cliOk('apply', recipe, image, '--dry-run', '--json')
  expect(raw).not.toContain('hunter')
  vi.unstubAllEnvs()
  const json = JSON.parse(raw)
  expect(json).toMatchObject({ recipe: 'site', dryRun: true, problems: [] })
  expect(json.images).toHaveLength(1)
  expect(json.images[0]).toMatchObject({
    image,
    status: 'done',
    operations: [{ operation: 'write', label: 'greeting', recipe: `${recipe}:7` }, { operation: 'write' }],
    skipped: [{ operation: 'touch', recipe: `${recipe}:10`, when: 'family == suse' }],
  })
  expect(json.images[0].files.map((one: { path: string }) => one.path)).toEqual(
    expect.arrayContaining(['/etc/motd', '/etc/key']),
  )
  expect(sha(image)).toBe(before)
})

describe('several images', () => {
  const FAILS = 'steps:\n  - touch: /etc/began\n  - copy: /etc/only-there:/etc/there\n'

  test('each by itself: an error leaves that one as it was, and status 1', async () => {
    const all = images(3)
    const [a = '', b = '', c = ''] = all
    await cliOk('customize', a, '--touch', '/etc/only-there')
    await cliOk('customize', c, '--touch', '/etc/only-there')
    const before = sha(b)
    const failed = await cli('apply', file(FAILS), ...all, '--keep-going', '--jobs', '2')
    expect(failed.status).toBe(1)
    expect(failed.stderr).toMatch(
      /^drydisk: .*disk1\.qcow2: .*r\.yaml:3: copy: \/etc\/only-there: no such file/m,
    )
    expect(failed.stdout).toContain(`${a}:\n`)
    expect(failed.stdout).not.toContain(`${b}:\n`)
    expect(await cliOk('ls', a, '/etc/there')).toContain('/etc/there')
    expect(await cliOk('ls', c, '/etc/there')).toContain('/etc/there')
    expect(sha(b)).toBe(before)
  })

  test('without --keep-going no further one is begun', async () => {
    const all = images(3)
    const before = all.map(sha)
    const failed = await cli('apply', file(FAILS), ...all, '--jobs', '1')
    expect(failed).toMatchObject({ status: 1, stdout: '' })
    expect(failed.stderr).toContain('2 images were not begun after the error')
    expect(all.map(sha)).toEqual(before)
    const json = JSON.parse((await cli('apply', file(FAILS), ...all, '--jobs', '1', '--json')).stdout)
    expect(json.images.map((one: { status: string }) => one.status)).toEqual([
      'failed',
      'not started',
      'not started',
    ])
    expect(json.images[0].error).toMatchObject({ code: 'ENOENT' })
  })

  test('at the same time give the same as one after the other', async () => {
    const all = images(4)
    await cliOk('apply', file(SITE), ...all, '--jobs', '4', '--quiet')
    for (const image of all) expect(await cliOk('cat', image, '/etc/motd')).toBe('hello\n')
  })
})

describe('variables', () => {
  test('--var over --vars over the environment', async () => {
    const recipe = file('variables: {A: a, B: b, C: c, D: d}\nsteps:\n  - write: "/etc/x:${A}${B}${C}${D}"\n')
    const vars = file('B: from-file\nC: {}\n', 'vars.yaml')
    const bad = await cli('apply', recipe, '/nowhere', '--vars', vars)
    expect(bad.stderr).toContain(`${vars}:2:4: error: C is a text`)
    writeFileSync(vars, '{"B": "2", "C": "3", "OTHER": "x"}')
    const [image = ''] = images(1)
    vi.stubEnv('DRYDISK_VAR_B', 'environment')
    vi.stubEnv('DRYDISK_VAR_A', '1')
    await cliOk('apply', recipe, image, '--vars', vars, '--var', 'C=4=4')
    vi.unstubAllEnvs()
    expect(await cliOk('cat', image, '/etc/x')).toBe('124=4d')
    const unknown = await cli('apply', recipe, image, '--var', 'AA=1')
    expect(unknown).toMatchObject({ status: 2 })
    expect(unknown.stderr).toContain('this recipe has no variable AA')
  })

  test('files are meant from the recipe that names them', async () => {
    const folder = temporaryFolder()
    file('from beside\n', 'motd', folder)
    file('steps: [upload: "motd:/etc/motd"]', 'part.yaml', folder)
    const outer = file('include: ./part.yaml', 'outer.yaml', folder)
    const [image = ''] = images(1)
    await cliOk('apply', outer, image)
    expect(await cliOk('cat', image, '/etc/motd')).toBe('from beside\n')
  })
})

describe('the recipe is looked through first', () => {
  test('all mistakes, one a line, and status 2; no image is opened', async () => {
    const recipe = file('steps:\n  - hostnam: a\n  - chmod: x\n')
    const failed = await cli('apply', recipe, '/nowhere/disk.qcow2')
    expect(failed).toMatchObject({ status: 2, stdout: '' })
    expect(failed.stderr).toMatch(
      /^drydisk: .*r\.yaml:2:5: error: no step "hostnam" \(did you mean "hostname"\?\)/,
    )
    const json = await cli('apply', recipe, '/nowhere/disk.qcow2', '--json')
    expect(JSON.parse(json.stdout).problems).toEqual([
      expect.objectContaining({ severity: 'error', file: recipe, line: 2, column: 5 }),
    ])
  })

  test('--check', async () => {
    const recipe = file('variables: {A: x}\nsteps:\n  - password: root:stdin\n  - touch: /a\n')
    const ok = await cli('apply', '--check', recipe)
    expect(ok).toMatchObject({ status: 0, stdout: `${recipe}: 2 steps, nothing wrong\n` })
    expect(ok.stderr).toMatch(/r\.yaml:1:13: warning: the variable A is used nowhere\n$/)
    expect(await cli('apply', '--check', file('steps: x'))).toMatchObject({ status: 2 })
    expect(JSON.parse(await cliOk('apply', '--check', '--json', recipe))).toMatchObject({
      recipe: 'r',
      problems: [{ severity: 'warning' }],
    })
  })

  test('what is wrong with the command line', async () => {
    const [image = ''] = images(1)
    const recipe = file('steps: []')
    for (const args of [
      [],
      [recipe],
      [recipe, image, image],
      [recipe, image, '--jobs', '0'],
      [recipe, image, '--var', 'x'],
      ['--check', recipe, image],
    ])
      expect((await cli('apply', ...args)).status, args.join(' ')).toBe(2)
    expect(await cli('apply', 'no-such-recipe', image)).toMatchObject({
      status: 1,
      stderr: expect.stringContaining(
        'no recipe "no-such-recipe" is shipped (drydisk apply --list lists them)',
      ),
    })
    expect(await cli('apply', './none.yaml', image)).toMatchObject({ status: 1 })
    const missing = file('steps:\n  - upload: no-such:/x\n  - copy-in: no-such:/\n')
    expect(await cli('apply', missing, '/nowhere/disk.qcow2')).toMatchObject({
      status: 2,
      stderr: expect.stringMatching(/:2:\d+: .*no-such cannot be read.*\n.*:3:\d+: .*no-such cannot be read/),
    })
    expect(await cli('apply', recipe, '/nowhere/disk.qcow2')).toMatchObject({ status: 1 })
  })
})

test('--list and --show', async () => {
  const listed = await cliOk('apply', '--list')
  expect(listed).toMatch(/^openstack-centos +What the OpenStack image guide does by hand on CentOS:$/m)
  const json = JSON.parse(await cliOk('apply', '--list', '--json'))
  expect(json.find((one: { name: string }) => one.name === 'modprobe')).toMatchObject({
    variables: [{ name: 'DIB_MODPROBE_BLACKLIST', default: '', required: false }],
  })
  expect(await cliOk('apply', '--show', 'growroot')).toMatch(/^name: growroot\n/)
  expect(JSON.parse(await cliOk('apply', '--show', 'growroot', '--json'))).toMatchObject({
    recipe: 'growroot',
    text: expect.stringMatching(/^name: growroot\n/),
  })
  expect((await cli('apply', '--show', 'nothing')).status).toBe(1)
})
