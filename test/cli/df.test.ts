import { execFileSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { cli, cliOk } from '../support/cli.ts'
import { haveLoopMounts, haveTool, runOk, temporaryFolder } from '../support/native.ts'

describe('df', () => {
  test.skipIf(!haveLoopMounts() || !haveTool('mkfs.ext4'))(
    'says what df(1) says of the mounted filesystem',
    async () => {
      for (const options of [
        ['-m', '5'],
        ['-b', '1024', '-m', '0', '-O', '^has_journal'],
        ['-t', 'ext2', '-i', '8192'],
      ]) {
        const folder = temporaryFolder()
        const path = join(folder, 'fs.raw')
        const mount = join(folder, 'mnt')
        writeFileSync(path, '')
        await runOk('mkfs.ext4', ['-q', '-F', ...options, path, '40M'])
        mkdirSync(mount)
        await runOk('mount', ['-o', 'loop,ro', path, mount])
        let theirs: (string | undefined)[]
        try {
          const fields = '--output=size,used,avail,itotal,iavail'
          const text = execFileSync('df', ['-B1', fields, mount], { encoding: 'utf8' })
          theirs = text.trim().split('\n').at(-1)?.trim().split(/\s+/) ?? []
        } finally {
          await runOk('umount', [mount])
        }
        const { filesystems } = JSON.parse(await cliOk('df', '--json', path))
        const [found] = filesystems
        const { size, used, available, inodes, freeInodes } = found
        expect([size, used, available, inodes, freeInodes].map(String)).toEqual(theirs)
      }
    },
  )

  test('lists what the guest mounts and what it does not', async () => {
    const image = join(temporaryFolder(), 'demo.qcow2')
    await cliOk('make-fs', '--demo', '--size', '96M', image)
    const text = await cliOk('df', '-h', image)
    expect(text).toMatch(/^Filesystem +Size +Used +Available +Use% +Mounted on\n/)
    expect(text).toMatch(/demo\.qcow2:\/dev\/sda\d +\d+M +[\d.]+[KM] +\d+M +\d+% +\/\n/)
    const csv = await cliOk('df', '--csv', '-i', image)
    expect(csv.split('\n')[0]).toBe('Filesystem,Inodes,IUsed,IFree,IUse%,Mounted on')
    expect((await cli('df', join(temporaryFolder(), 'none'))).status).toBe(1)
  })

  test('a disk without a filesystem is told of', async () => {
    const path = join(temporaryFolder(), 'text')
    writeFileSync(path, 'no filesystem\n')
    expect((await cli('df', path)).stderr).toContain('no filesystem that drydisk knows is on this disk')
  })

  test('goes on where one of several images does not open', async () => {
    const folder = temporaryFolder()
    const image = join(folder, 'demo.qcow2')
    await cliOk('make-fs', '--demo', '--size', '96M', image)
    const { status, stdout, stderr } = await cli('df', join(folder, 'none'), image)
    expect(status).toBe(1)
    expect(stderr).toContain('none')
    expect(stdout).toContain('demo.qcow2:/dev/sda')
    const told = JSON.parse((await cli('df', '--json', join(folder, 'none'), image)).stdout)
    expect(told.errors).toMatchObject([{ code: 'ENOENT' }])
    expect(told.filesystems.length).toBeGreaterThan(0)
  })
})
