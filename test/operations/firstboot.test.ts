import { execFile } from 'node:child_process'
import { chmod, mkdir, readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'
import { type PhonyGuestName, phonyGuest, phonyGuests } from '../../native-fixtures/phony-guests.ts'
import {
  firstboot,
  firstbootCommand,
  firstbootInstall,
  install,
  runCommand,
  uninstall,
  update,
} from '../../src/operations/firstboot/operations.ts'
import { carriedScript, packageScript } from '../../src/operations/firstboot/packages.ts'
import { PACKAGES, RUNNER, RUNNER_TEXT, SCRIPTS, UNIT_TEXT } from '../../src/operations/firstboot/texts.ts'
import { bytesSource } from '../../src/operations/source-tree.ts'
import { haveTool, runOk, temporaryFolder } from '../support/native.ts'
import { runTwice, text } from './support/operations.ts'

const execute = promisify(execFile)

describe('first boot scripts', () => {
  it.each([
    ['debian', '/etc/systemd/system/multi-user.target.wants/drydisk-firstboot.service'],
    ['el9', '/etc/systemd/system/multi-user.target.wants/drydisk-firstboot.service'],
    ['el6', '/etc/rc.d/rc3.d/S99drydisk-firstboot'],
    ['alpine', '/etc/runlevels/default/drydisk-firstboot'],
  ] as const)('%s runs them', async (family, link) => {
    const guest = await phonyGuest(family)
    await runTwice(guest, firstbootCommand, { command: 'echo one' })
    await runTwice(guest, firstboot, { name: '/tmp/set up.sh', script: '#!/bin/sh\necho two\n' })
    await runTwice(guest, firstbootCommand, { command: 'echo three' })
    expect((await guest.lstat(link)).isSymbolicLink()).toBe(true)
    expect((await guest.stat(link)).isFile()).toBe(true)
    const names = (await guest.readdir(SCRIPTS)).map(entry => new TextDecoder().decode(entry.name))
    expect(names.sort()).toEqual(['0001-command', '0002-set-up.sh', '0003-command'])
    expect((await guest.stat(`${SCRIPTS}/0001-command`)).mode & 0o777).toBe(0o700)
  })

  it.each(Object.keys(phonyGuests) as PhonyGuestName[])(
    '%s takes them, and its init finds them',
    async name => {
      const guest = await phonyGuest(name)
      await runTwice(guest, firstbootInstall, { packages: ['htop'] })
      const links = [
        '/etc/systemd/system/multi-user.target.wants/drydisk-firstboot.service',
        '/etc/rc.d/rc3.d/S99drydisk-firstboot',
        '/etc/rc3.d/S99drydisk-firstboot',
        '/etc/rc2.d/S99drydisk-firstboot',
        '/etc/runlevels/default/drydisk-firstboot',
      ]
      const found = []
      for (const link of links) if (await guest.exists(link)) found.push(link)
      expect(found).not.toEqual([])
    },
  )

  it.skipIf(!haveTool('systemd-analyze'))('systemd finds nothing wrong with the unit', async () => {
    const folder = temporaryFolder()
    const unit = join(folder, 'drydisk-firstboot.service')
    await writeFile(unit, UNIT_TEXT)
    const { stdout, stderr } = await execute('systemd-analyze', [
      'verify',
      '--man=no',
      '--recursive-errors=no',
      unit,
    ])
    expect(`${stdout}${stderr}`.split('\n').filter(line => line.includes('drydisk-firstboot'))).toEqual([])
  })

  it('the script for carried files is one that sh understands, and removes them', async () => {
    const folder = temporaryFolder()
    for (const [file, tool] of [
      ['a.deb', 'dpkg'],
      ['a.rpm', 'rpm'],
      ['a.apk', 'apk'],
    ] as const) {
      const script = join(folder, `script-${tool}`)
      await mkdir(join(folder, 'packages'), { recursive: true })
      await writeFile(join(folder, 'packages', file), '')
      await writeFile(join(folder, tool), '#!/bin/sh\nfor one; do :; done; echo "$one"; exit 4\n', {
        mode: 0o755,
      })
      await writeFile(script, carriedScript([file], []).replaceAll(PACKAGES, join(folder, 'packages')))
      await expect(
        execute('/bin/sh', [script], { env: { PATH: `${folder}:/usr/bin:/bin` } }),
      ).rejects.toMatchObject({ code: 4, stdout: `${join(folder, 'packages', file)}\n` })
      expect(await readdir(join(folder, 'packages'))).toEqual([])
    }
  })

  it('packages by name, and files that are carried along', async () => {
    const guest = await phonyGuest('debian')
    const report = await runTwice(guest, install, {
      packages: ['htop'],
      files: [bytesSource('/tmp/a_1.0_all.deb', new Uint8Array([1]))],
    })
    expect(report.warnings[0]).toContain('first boot')
    const script = await text(guest, `${SCRIPTS}/0001-install`)
    expect(script).toContain("-i '/usr/libexec/drydisk-firstboot/packages/a_1.0_all.deb'")
    expect(script).toContain("set -- 'htop'")
    expect(await guest.exists('/etc/systemd/system/drydisk-firstboot.service.d/network.conf')).toBe(true)
    await runTwice(guest, uninstall, { packages: ['nano'] })
    await runTwice(guest, update, {})
    await expect(
      firstbootInstall.run(guest, { packages: [], files: [bytesSource('a.rpm', new Uint8Array(1))] }),
    ).rejects.toMatchObject({ code: 'ERR_INVALID_ARGUMENT' })
    await expect(firstbootInstall.run(guest, { packages: ['a;reboot'] })).rejects.toMatchObject({
      code: 'ERR_INVALID_ARGUMENT',
    })
    await expect(firstbootInstall.run(guest, { packages: ['-o=x'] })).rejects.toMatchObject({
      code: 'ERR_INVALID_ARGUMENT',
    })
  })

  it('what virt-customize would run at once is told of', async () => {
    const guest = await phonyGuest('el8')
    const report = await runCommand.run(guest, { command: 'true' })
    expect(report.warnings).toEqual(['drydisk runs no code of the guest: this is done at its first boot'])
  })
})

describe.each(['sh', 'bash', 'busybox'])('the runner itself, by %s', shell => {
  const words = shell === 'busybox' ? ['busybox', 'sh'] : [shell]

  async function scratch(
    scripts: Readonly<Record<string, string>>,
  ): Promise<{ root: string; go: () => Promise<string> }> {
    const root = temporaryFolder()
    const place = (path: string) => path.replace(/^\/(usr|var|etc|root)/, `${root}/$1`)
    await mkdir(place(SCRIPTS), { recursive: true })
    await mkdir(join(root, 'var/log'), { recursive: true })
    await mkdir(join(root, 'etc/systemd/system/multi-user.target.wants'), { recursive: true })
    await mkdir(join(root, 'etc/rc3.d'), { recursive: true })
    await writeFile(join(root, 'etc/systemd/system/drydisk-firstboot.service'), '')
    await symlink('../x', join(root, 'etc/systemd/system/multi-user.target.wants/drydisk-firstboot.service'))
    await symlink('../x', join(root, 'etc/rc3.d/S99drydisk-firstboot'))
    await symlink('../x', join(root, 'etc/rc3.d/S99other'))
    // All paths of the runner but those of the programs that it calls, and no systemd.
    const runner = RUNNER_TEXT.replace(/(^|[ =])(\/(?:usr\/libexec|var|etc|root))/gm, `$1${root}$2`).replace(
      '/run/systemd/system',
      '/nonexistent',
    )
    await writeFile(place(RUNNER), runner)
    for (const [name, content] of Object.entries(scripts)) {
      await writeFile(place(`${SCRIPTS}/${name}`), content.replaceAll('ROOT', root))
      await chmod(place(`${SCRIPTS}/${name}`), 0o700)
    }
    const [program = 'sh', ...args] = words
    const go = async () => {
      await execute(program, [...args, place(RUNNER)])
      return readFile(join(root, 'var/log/drydisk-firstboot.log'), 'utf8')
    }
    return { root, go }
  }

  it.skipIf(!haveTool(shell))(
    'runs each once and in order, goes on after a failure, and removes itself',
    async () => {
      const { root, go } = await scratch({
        '0002-b': '#!/bin/sh\necho second; echo err >&2; exit 3\n',
        '0001-a': 'echo first; ls ROOT/usr/libexec/drydisk-firstboot/scripts\n',
        '0010-c': '#!/bin/sh\necho "tenth in $PWD with $HOME"; read x && echo input\n',
      })
      const log = await go()
      const lines = log.split('\n').map(line => line.replace(/ \w{3} \w{3} .*/, ''))
      expect(lines).toEqual([
        '=== 0001-a: begun',
        'first',
        '0002-b',
        '0010-c',
        '=== 0001-a: ended with status 0',
        '=== 0002-b: begun',
        'second',
        'err',
        '=== 0002-b: ended with status 3',
        '=== 0010-c: begun',
        `tenth in / with ${root}/root`,
        '=== 0010-c: ended with status 1',
        '=== done',
        '',
      ])
      expect((await stat(join(root, 'var/log/drydisk-firstboot.log'))).mode & 0o777).toBe(0o600)
      expect(await readdir(join(root, 'usr/libexec'))).toEqual([])
      expect(await readdir(join(root, 'etc/systemd/system/multi-user.target.wants'))).toEqual([])
      expect(await readdir(join(root, 'etc/systemd/system'))).toEqual(['multi-user.target.wants'])
      expect(await readdir(join(root, 'etc/rc3.d'))).toEqual(['S99other'])
    },
  )

  it.skipIf(!haveTool(shell))(
    'a script that ends the machine is not run again; those after it are',
    async () => {
      const { root, go } = await scratch({
        // As a reboot does: what runs the scripts is killed.
        '0001-reboot': '#!/bin/sh\necho down; kill -9 $PPID; sleep 1\n',
        '0002-after': '#!/bin/sh\necho up\n',
      })
      await expect(go()).rejects.toThrow()
      const log = await go()
      expect(log.match(/^(down|up)$/gm)).toEqual(['down', 'up'])
      expect(log).toContain('0001-reboot: was interrupted and is not run again')
      expect(await readdir(join(root, 'usr/libexec'))).toEqual([])
    },
  )

  it.skipIf(!haveTool(shell))('takes a script that another one adds', async () => {
    const { go } = await scratch({
      '0001-a':
        '#!/bin/sh\nprintf "#!/bin/sh\\necho added\\n" > ROOT/usr/libexec/drydisk-firstboot/scripts/0002-b\nchmod +x ROOT/usr/libexec/drydisk-firstboot/scripts/0002-b\n',
    })
    expect(await go()).toContain('\nadded\n')
  })
})

describe.each(['install', 'uninstall', 'update'] as const)('the script that does %s', task => {
  it('is one that sh understands, and takes the manager that is there', async () => {
    const folder = temporaryFolder()
    const script = join(folder, 'script')
    await writeFile(script, packageScript(task, task === 'update' ? [] : ['a', "b'c"]))
    await runOk('sh', ['-n', script])
    await writeFile(join(folder, 'dnf'), '#!/bin/sh\nfor one; do echo "<$one>"; done\n', { mode: 0o755 })
    const { stdout } = await execute('/bin/sh', [script], { env: { PATH: folder } })
    expect(stdout.trim().split('\n').slice(0, 2)).toEqual([
      '<-y>',
      { install: '<install>', uninstall: '<remove>', update: '<upgrade>' }[task],
    ])
    if (task !== 'update') expect(stdout).toContain("<a>\n<b'c>\n")
  })
})
