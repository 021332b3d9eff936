import { createHash } from 'node:crypto'
import { closeSync, openSync, readFileSync, readSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { withExt4, withKernelMount } from '../../native-fixtures/ext4-images.ts'
import {
  copyImage,
  differingBlocks,
  dirtyByKernel,
  journalBlocks,
  makeFileSystem,
  openVolume,
  recoverFile,
  writeJournal,
} from '../../native-fixtures/ext4-journals.ts'
import { isZero } from '../../src/bytes/compare.ts'
import { isDrydiskError } from '../../src/errors.ts'
import { recoverJournal } from '../../src/filesystem/ext4/journal-recovery.ts'
import { type SnapshotEntry, snapshot } from '../support/filesystem-snapshot.ts'
import {
  haveLoopMounts,
  haveTool,
  peersFolder,
  propertySettings,
  run,
  runOk,
  temporaryFolder,
} from '../support/native.ts'
import { kernelTree } from '../support/tree-rows.ts'

interface ReplayAnswer {
  readonly blocksize: number
  /** Block → `zero` or the first 16 digits of its sha256. */
  readonly changed: Readonly<Record<string, string>>
}

const peers = peersFolder()

/** Blocks that differ between two images, apart from superblock and journal. */
async function differing(a: string, b: string, blockSize: number): Promise<number[]> {
  const journal = await journalBlocks(b)
  return (await differingBlocks(a, b, blockSize)).filter(
    block => !journal.has(block) && block !== Math.floor(1024 / blockSize),
  )
}

/** Some bytes of a file. */
function part(path: string, offset: number, length: number): Buffer {
  const bytes = Buffer.alloc(length)
  const file = openSync(path, 'r')
  readSync(file, bytes, 0, length, offset)
  closeSync(file)
  return bytes
}

/** What a replay made of each block that it changed, in the form of the answers. */
async function changedByReplay(
  before: string,
  after: string,
  blockSize: number,
): Promise<Record<string, string>> {
  const changed: Record<string, string> = {}
  for (const block of await differing(before, after, blockSize)) {
    const bytes = part(after, block * blockSize, blockSize)
    changed[block] = isZero(bytes) ? 'zero' : createHash('sha256').update(bytes).digest('hex').slice(0, 16)
  }
  return changed
}

/** The overlay of a read-only open has to read as the replayed image, and the image must stay as it was. */
async function checkOverlay(dirty: string, replayed: string): Promise<void> {
  const volume = await openVolume(dirty, false)
  try {
    const { blockSize } = volume
    const recovery = await recoverJournal(volume, async device => device)
    if (recovery === undefined) throw new Error('nothing to recover')
    expect(recovery.device.writable).toBe(false)
    const check = async (offset: number, length: number): Promise<void> => {
      const seen = Buffer.alloc(length)
      await recovery.device.read(offset, seen)
      expect(seen.equals(part(replayed, offset, length))).toBe(true)
    }
    // Every block that changed with odd parts of its neighbours, and places where nothing did.
    const journal = await journalBlocks(dirty)
    for (const block of await differing(dirty, replayed, blockSize)) {
      if (journal.has(block - 1) || journal.has(block + 1) || block < 2 * blockSize) continue
      await check(block * blockSize - 7, blockSize + 18)
      await check(block * blockSize + 3, 5)
    }
    await check(recovery.device.size - 13, 13)
    let at = 0
    for await (const extent of recovery.device.extents(0, recovery.device.size)) {
      expect(extent.offset).toBe(at)
      expect(extent.length).toBeGreaterThan(0)
      at += extent.length
    }
    expect(at).toBe(recovery.device.size)
  } finally {
    await volume.device.close()
  }
}

describe.skipIf(peers === undefined)('journals of the e2fsprogs tests', async () => {
  const folder = temporaryFolder()
  if (peers !== undefined) {
    await runOk('tar', [
      '-xJf',
      join(peers, 'e2fsprogs.tar.xz'),
      '-C',
      folder,
      '--wildcards',
      '*j_*',
      '*f_jnl_*',
      '*f_ext_journal*',
      '*e2fsprogs-journal.json',
    ])
  }
  const root = (await run('sh', ['-c', `dirname "$(find ${folder} -name f_jnl_32bit.01.img)"`])).stdout.trim()
  const file = (await run('find', [folder, '-name', 'e2fsprogs-journal.json'])).stdout.trim()
  const answers: Readonly<Record<string, ReplayAnswer>> =
    file === '' ? {} : JSON.parse(readFileSync(file, 'utf8'))

  const agreed = [
    'f_jnl_32bit.01',
    'f_jnl_64bit.01',
    'j_corrupt_revoke_block.01',
    'j_long_revoke_trans.02',
    'j_long_revoke_trans_mcsum_32bit.02',
    'j_long_revoke_trans_mcsum_64bit.02',
    'j_short_revoke_trans.02',
    'j_short_revoke_trans_mcsum_64bit.02',
    'j_short_trans.02',
    'j_short_trans_64bit.02',
    'j_short_trans_mcsum_64bit.02',
    'j_short_trans_old_csum.02',
    'j_short_trans_open_recover.02',
  ]
  test.each(agreed)('%s replays block for block as e2fsck and the kernel do', async name => {
    const answer = answers[name]
    if (answer === undefined) throw new Error(`no answer for ${name}`)
    const dirty = join(root, `${name}.img`)
    const path = join(temporaryFolder(), 'replayed.img')
    await copyImage(dirty, path)
    await recoverFile(path)
    expect(await changedByReplay(dirty, path, answer.blocksize)).toEqual(answer.changed)
    expect(await runOk('dumpe2fs', ['-h', path])).not.toMatch(/needs_recovery|Journal start: +[1-9]/)
    if (Object.keys(answer.changed).length > 0) await checkOverlay(dirty, path)
  })

  const refused: Readonly<Record<string, string>> = {
    'f_ext_journal.01': 'ERR_UNSUPPORTED',
    'j_ext_long_trans.02': 'ERR_UNSUPPORTED',
    'j_corrupt_ext_jnl_sb_csum.01': 'ERR_UNSUPPORTED',
    'j_corrupt_commit_csum.01': 'ERR_CORRUPT',
    'j_corrupt_descr_csum.01': 'ERR_CORRUPT',
    'j_corrupt_journal_block.01': 'ERR_CORRUPT',
    'j_corrupt_sb_csum.01': 'ERR_CORRUPT',
    'j_corrupt_sb_magic.01': 'ERR_CORRUPT',
  }
  test.each(Object.entries(refused))('%s is refused with %s and left as it was', async (name, code) => {
    const path = join(temporaryFolder(), 'refused.img')
    await copyImage(join(root, `${name}.img`), path)
    await expect(recoverFile(path)).rejects.toMatchObject({ code })
    expect(await differingBlocks(join(root, `${name}.img`), path, 1024)).toEqual([])
  })
})

const variants: Readonly<Record<string, readonly string[]>> = {
  'no checksums, 32 bits': ['-O', '^metadata_csum,^64bit', '-b', '1024'],
  'checksums v3, 64 bits': ['-O', 'metadata_csum,64bit', '-b', '4096'],
  'checksums v3, 32 bits': ['-O', 'metadata_csum,^64bit', '-b', '1024'],
}

describe.skipIf(!haveTool('debugfs') || !haveTool('mkfs.ext4'))('journals written by debugfs', () => {
  test.each(Object.entries(variants))('%s: what debugfs replays', async (_, options) => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.record({
            blocks: fc.uniqueArray(fc.nat(400), { minLength: 1, maxLength: 40 }),
            revoked: fc.uniqueArray(fc.nat(400), { maxLength: 20 }),
            committed: fc.boolean(),
            fill: fc.constantFrom('random', 'magic', 'zero'),
          }),
          { minLength: 1, maxLength: 4 },
        ),
        async transactions => {
          const folder = temporaryFolder()
          const base = join(folder, 'base.img')
          await makeFileSystem(base, 24 << 20, options)
          const blockSize = Number(/Block size: +(\d+)/.exec(await runOk('dumpe2fs', ['-h', base]))?.[1])
          const first = (12 << 20) / blockSize
          const commands = ['jo']
          for (const [index, { blocks, revoked, committed, fill }] of transactions.entries()) {
            const data = join(folder, `data${index}`)
            const bytes = Buffer.alloc(blocks.length * blockSize)
            for (let at = 0; at < blocks.length; at++) {
              const block = bytes.subarray(at * blockSize, (at + 1) * blockSize)
              if (fill !== 'zero') block.fill(17 * index + at + 1)
              if (fill === 'magic') block.writeUInt32BE(0xc03b3998)
            }
            writeFileSync(data, bytes)
            const list = (numbers: readonly number[]): string =>
              numbers.map(number => first + number).join(',')
            // debugfs writes a transaction with a commit block unless told not to (-c). With none at all it leaves the
            // filesystem marked as needing no recovery.
            const last = index > 0 && index === transactions.length - 1
            const flag = committed || !last ? '' : '-c '
            commands.push(`jw ${flag}-b ${list(blocks)} ${data}`)
            if (revoked.length > 0) commands.push(`jw ${flag}-r ${list(revoked)}`)
          }
          commands.push('jc')
          await writeJournal(base, commands)
          const [mine, theirs] = [join(folder, 'mine.img'), join(folder, 'theirs.img')]
          await copyImage(base, mine)
          await copyImage(base, theirs)
          await recoverFile(mine)
          await runOk('debugfs', ['-w', '-R', 'jr', theirs])
          expect(await differing(mine, theirs, blockSize)).toEqual([])
          await checkOverlay(base, mine)
          await runOk('e2fsck', ['-fn', mine])
        },
      ),
      propertySettings(4),
    )
  })

  test('a damaged journal is refused before anything is written, or replays as before', async () => {
    const folder = temporaryFolder()
    const base = join(folder, 'base.img')
    await makeFileSystem(base, 16 << 20, ['-b', '1024'])
    const data = join(folder, 'data')
    writeFileSync(data, Buffer.alloc(30 * 1024, 7))
    await writeJournal(base, [
      'jo',
      `jw -b 9000-9029 ${data}`,
      'jw -r 9001,9002',
      `jw -b 9100-9120 ${data}`,
      'jc',
    ])
    const good = readFileSync(base)
    const path = join(folder, 'damaged.img')
    writeFileSync(path, good)
    const start = Math.min(...(await journalBlocks(path))) * 1024
    await fc.assert(
      fc.asyncProperty(fc.nat(60 * 1024), fc.integer({ min: 1, max: 255 }), async (offset, flip) => {
        const damaged = Buffer.from(good)
        damaged[start + offset] = (damaged[start + offset] ?? 0) ^ flip
        writeFileSync(path, damaged)
        try {
          await recoverFile(path)
        } catch (error) {
          expect(isDrydiskError(error, 'ERR_CORRUPT', 'ERR_UNSUPPORTED')).toBe(true)
          expect(readFileSync(path).equals(damaged)).toBe(true)
        }
      }),
      propertySettings(60),
    )
  })
})

describe.skipIf(!haveLoopMounts())('journals written by the kernel', () => {
  const script = `
    for i in $(seq 1 120); do echo "file $i" > f$i; done
    mkdir -p d/e; dd if=/dev/urandom of=d/big bs=64k count=20 status=none
    sync -f .
    for i in $(seq 1 50); do rm f$i; done
    rm -rf d; mkdir new; for i in 1 2 3; do echo more >> new/x$i; done; chmod 600 f60
    sync -f .
    rm f70`
  test.each([
    ['ext4', ['-b', '4096']],
    ['ext4 with blocks of 1 KiB', ['-b', '1024']],
    ['ext4 without checksums', ['-O', '^metadata_csum,^64bit']],
    ['ext3', ['-t', 'ext3']],
    ['data journalled', ['-b', '1024'], ',data=journal'],
    ['checksums v1', ['-O', '^metadata_csum'], ',journal_checksum'],
    ['checksums v1, asynchronous commits', ['-O', '^metadata_csum'], ',journal_async_commit,data=writeback'],
  ] as [string, string[], string?][])('%s: what e2fsck replays', async (_, options, mount) => {
    const folder = temporaryFolder()
    const [image, dirty] = [join(folder, 'a.img'), join(folder, 'dirty.img')]
    const [mine, theirs] = [join(folder, 'mine.img'), join(folder, 'theirs.img')]
    await makeFileSystem(image, 64 << 20, options)
    dirtyByKernel(image, dirty, script, mount)
    await copyImage(dirty, mine)
    await copyImage(dirty, theirs)
    const recovery = await recoverFile(mine)
    expect(recovery?.transactions).toBeGreaterThan(0)
    await run('e2fsck', ['-y', '-E', 'journal_only', theirs])
    const volume = await openVolume(mine, false)
    await volume.device.close()
    expect(await differing(mine, theirs, volume.blockSize)).toEqual([])
    await checkOverlay(dirty, mine)
  })
})

describe.skipIf(!haveLoopMounts() || !haveTool('python3'))('fast commits written by the kernel', () => {
  // fsync of one file after the full commit of the rest: only that goes to the fast-commit area.
  const fsync = (file: string): string => `python3 -c "import os; os.fsync(os.open('${file}', os.O_RDWR))"`
  const scripts: Readonly<Record<string, string>> = {
    'content in new and old blocks': `
      dd if=/dev/urandom of=old1 bs=1k seek=3 count=20 conv=notrunc status=none
      head -c 100000 /dev/urandom > new1; ${fsync('new1')}
      truncate -s 4000 old2; echo more >> old2; ${fsync('old2')}
      dd if=/dev/urandom of=new1 bs=1k seek=500 count=3 conv=notrunc status=none; ${fsync('new1')}`,
    'names of files': `
      echo n > made; ln made linked; mv old1 moved; mv old2 old3; rm old4; ${fsync('made')}
      rm linked; echo x > linked; ln old5 d/five; ${fsync('linked')}`,
    'directories and devices': `
      mkdir d/new; echo n > d/new/file; mkdir d/new/deeper; mknod d/new/null c 1 3; ${fsync('d/new/file')}
      rmdir d/new/deeper; mv d/new/file d/file; ${fsync('d/file')}`,
    'blocks that go from file to file': `
      rm old1 old2 old3; ${fsync('old5')}
      for i in 1 2 3 4 5 6; do head -c 60000 /dev/urandom > again$i; ${fsync('again$i')}; done
      truncate -s 0 again2; head -c 70000 /dev/urandom > again7; ${fsync('again7')}; ${fsync('again2')}`,
  }
  test.each(Object.entries(scripts))('%s', async (_, script) => {
    const folder = temporaryFolder()
    const [image, dirty] = [join(folder, 'a.img'), join(folder, 'dirty.img')]
    const [mine, theirs] = [join(folder, 'mine.img'), join(folder, 'theirs.img')]
    const before = `mkdir d; for i in 1 2 3 4 5; do head -c 50000 /dev/urandom > old$i; done; sync -f .`
    // On a busy machine the kernel may make a full commit of the last changes.
    let fastCommits = 0
    for (let attempt = 0; fastCommits === 0 && attempt < 5; attempt++) {
      await makeFileSystem(image, 32 << 20, ['-O', 'fast_commit', '-b', '1024', '-J', 'size=4'])
      dirtyByKernel(image, dirty, `${before}\n${script}`)
      const volume = await openVolume(dirty, false)
      fastCommits = (await recoverJournal(volume, async device => device))?.fastCommits.length ?? 0
      await volume.device.close()
    }
    await copyImage(dirty, mine)
    await copyImage(dirty, theirs)
    expect(fastCommits).toBeGreaterThan(0)

    await withExt4(mine, true, fs => fs.sync())
    await runOk('e2fsck', ['-fn', mine])
    const read = (path: string): Promise<Record<string, SnapshotEntry>> =>
      withExt4(path, false, fs => snapshot(fs, { times: true }))
    // A reader sees the same without writing.
    const tree = await read(mine)
    expect(await read(dirty)).toEqual(tree)

    const rows = await withKernelMount(theirs, kernelTree)
    expect(Object.keys(rows).sort()).toEqual(Object.keys(tree).sort())
    for (const [path, entry] of Object.entries(tree)) {
      const row = rows[path]
      // The kernel's replay miscounts the links of directories (e2fsck says so) and gives them the time of the replay.
      if (entry.type === 'directory') continue
      expect({ path, nlink: row?.nlink, mtime: row?.mtime, uid: row?.uid }).toEqual({
        path,
        nlink: entry.nlink,
        mtime: String(entry.mtime),
        uid: entry.uid,
      })
      if (entry.type === 'file') expect(`${row?.size}:${row?.sha256}`).toBe(entry.content)
    }
  })
})
