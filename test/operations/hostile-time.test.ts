import { expect, test } from 'vitest'
import type { PhonyGuest } from '../../native-fixtures/guests/types.ts'
import { type PhonyGuestName, phonyGuest, phonyGuests } from '../../native-fixtures/phony-guests.ts'
import { diagnose } from '../../src/operations/doctor/doctor.ts'

/** What makes a pattern that can match in two ways take time with the square of its length, or with every way. */
const SPLINTERS: Readonly<Record<string, string>> = {
  'blanks within a line': `x${' '.repeat(60_000)}x`,
  'tabs before a line': `${'\t'.repeat(60_000)}x`,
  'empty lines': '\n'.repeat(5_000),
  backslashes: '\\a'.repeat(40),
  digits: `${'1'.repeat(60)}!`,
  anchors: '&a '.repeat(10_000),
  'words that repeat': `serial ${'--unit=a'.repeat(40)} x`,
}

// doctor reads all that the operations read. What grows with the length alone takes about a second; the rest would not end in time.
test.each(
  Object.keys(SPLINTERS).flatMap(name => (['debian', 'el9'] as const).map(family => [name, family] as const)),
)('%s in every file of %s take no time', { timeout: 30_000 }, async (name, family: PhonyGuestName) => {
  const splinter = SPLINTERS[name] ?? ''
  const { files }: PhonyGuest = phonyGuests[family]
  const changes: Record<string, string> = {}
  for (const [path, content] of Object.entries(files)) {
    if (typeof content !== 'string' || !/^\/(etc|boot)/.test(path)) continue
    const key = /^\s*[\w.-]+[ \t]*[=: \t][ \t]*/m.exec(content)?.[0] ?? ''
    changes[path] = `${content}${splinter}\n${key}${splinter}\n`
  }
  const guest = await phonyGuest(family, changes)
  expect((await diagnose(guest)).findings.length).toBeGreaterThan(0)
})

test('an sshd that includes ten thousand times is refused, and a path too long finds nothing', async () => {
  const include = async (line: string) =>
    (await diagnose(await phonyGuest('debian', { '/etc/ssh/sshd_config': `${line}\n` }), { checks: ['ssh'] }))
      .findings
  expect(await include(`Include ${'a '.repeat(10_000)}`)).toMatchObject([
    { status: 'warning', message: expect.stringContaining('patterns to include') },
  ])
  expect((await include(`Include ${'../'.repeat(10_000)}*`)).length).toBeGreaterThan(0)
})
