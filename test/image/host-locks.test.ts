import { expect, test } from 'vitest'
import { conflictWith, parseHostLocks } from '../../src/image/host-locks.ts'

// As /proc/locks shows them for `qemu-nbd image.qcow2`, with a request that waits and a lock of something else.
const NBD = `1: OFDLCK ADVISORY  READ -1 fe:00:2539771 203 203
2: OFDLCK ADVISORY  READ -1 fe:00:2539771 201 201
3: OFDLCK ADVISORY  READ -1 fe:00:2539771 103 103
4: OFDLCK ADVISORY  READ -1 fe:00:2539771 100 101
5: FLOCK  ADVISORY  WRITE 812 00:1a:733 0 EOF
5: -> FLOCK  ADVISORY  WRITE 813 00:1a:733 0 EOF
6: POSIX  ADVISORY  WRITE 99 103:02:55 1073741826 1073742335
7: LEASE  ACTIVE    READ  12 00:30:4 0 EOF
`

test('parses /proc/locks', () => {
  const locks = parseHostLocks(NBD)
  expect(locks).toHaveLength(7)
  expect(locks[3]).toEqual({
    kind: 'OFDLCK',
    access: 'READ',
    pid: -1,
    major: 0xfe,
    minor: 0,
    inode: '2539771',
    start: 100,
    end: 101,
  })
  expect(locks[4]).toMatchObject({ kind: 'FLOCK', pid: 812, end: Number.POSITIVE_INFINITY })
  expect(locks[5]).toMatchObject({ major: 0x103, minor: 2, inode: '55' })
  expect(parseHostLocks('nonsense\n\n1: POSIX\n')).toEqual([])
})

test('which locks forbid what', () => {
  const held = (...bytes: number[]) =>
    parseHostLocks(bytes.map(byte => `1: OFDLCK ADVISORY  READ -1 fe:00:1 ${byte} ${byte}`).join('\n'))
  const answers = (locks: ReturnType<typeof held>) =>
    (['read raw', 'read tables', 'write'] as const).map(purpose => conflictWith(locks, purpose) !== undefined)
  expect(answers([])).toEqual([false, false, false])
  expect(answers(held(100))).toEqual([false, false, true])
  expect(answers(held(100, 201, 203))).toEqual([false, false, true])
  expect(answers(held(100, 101, 103, 201, 203))).toEqual([false, true, true])
  expect(answers(held(103))).toEqual([false, true, true])
  expect(answers(held(200))).toEqual([true, true, true])
  // libvirt's virtlockd
  const whole = parseHostLocks('1: POSIX  ADVISORY  WRITE 5 fe:00:1 0 0')
  expect(answers(whole)).toEqual([false, false, true])
})
