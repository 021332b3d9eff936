import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { haveXfsMounts, makeXfs, mountedXfs, quickFolder } from '../../native-fixtures/xfs-logs.ts'
import { toBytes } from '../../src/bytes/names.ts'
import { runOk } from '../support/native.ts'
import { kernelTree } from '../support/tree-rows.ts'
import { withXfs } from '../support/xfs-image.ts'
import { expectRepaired } from '../support/xfs-oracles.ts'

const SECOND = 1_000_000_000n
/** Around the ends of both forms of times, and the last that a file's time can be set to by a system call. */
const TIMES = [
  ...[-(2n ** 31n), 2n ** 31n - 1n, 2n ** 31n, 16_299_260_424n, 16_299_260_425n, 16_299_260_426n, 2n ** 40n],
  ...[-(2n ** 31n) - 1n, -(2n ** 40n), 2n ** 63n - 1n],
].map(seconds => seconds * SECOND + 5n)

describe.skipIf(!haveXfsMounts())('a time that an inode has no room for', () => {
  test.each(['bigtime=1', 'bigtime=0'])('%s: becomes what the kernel makes of it', async option => {
    const image = join(quickFolder(), 'image')
    await makeXfs(image, 64, ['-m', option])
    await withXfs(image, 'write', async fs => {
      for (const [n, mtime] of TIMES.entries()) {
        const ino = await fs.create(fs.root, toBytes(`own${n}`), { mode: 0o644, uid: 0, gid: 0 })
        await fs.setAttributes(ino, { mtime })
      }
      await fs.close()
    })
    await expectRepaired(image)
    await mountedXfs(image, async folder => {
      const script = `import os, sys
for n, time in enumerate(sys.argv[2:]):
    path = '%s/linux%d' % (sys.argv[1], n)
    open(path, 'w').close()
    os.utime(path, ns=(int(time), int(time)))`
      await runOk('python3', ['-c', script, folder, ...TIMES.map(String)])
      const rows = await kernelTree(folder)
      const shown = (whose: string) => TIMES.map((_, n) => rows[`/${whose}${n}`]?.mtime)
      expect(shown('own')).toEqual(shown('linux'))
    })
  })
})
