import { decodeUtf8, printable, printableText } from '../bytes/names.ts'
import type { Captured, ChangedAspect, GuestChange } from './guest-changes.ts'
import { decodeText } from './guest-text.ts'

/** Names of files with password hashes, with the copies that tools keep of them. */
const HASH_FILES = /^\/etc\/(g?shadow|passwd|group)(-|\.[A-Za-z0-9_-]+)?$/
/** A line of such a file under another name, as where /etc/shadow is a symlink: a name, and a hash of crypt(5). */
const HASH_LINE = /^[^:\s]+:!*\$[0-9a-z]+\$[^:]*:/m
const PRIVATE_KEY = /-----BEGIN [A-Z ]*PRIVATE KEY-----/

/**
 * A unified diff of a changed or created text file as git writes it, for a terminal: control characters are escaped, and
 * password hashes and private keys hidden. `undefined` when there is nothing to show as text.
 */
export async function unifiedDiff(change: GuestChange): Promise<string | undefined> {
  if (change.type !== 'file' || change.kind === 'removed') return undefined
  const before = textOf(change.before)
  const after = textOf(change.after)
  if (after === undefined || (change.before && before === undefined) || before === after) return undefined
  const path = decodeUtf8(change.path) ?? printable(change.path)
  if (PRIVATE_KEY.test(after) || PRIVATE_KEY.test(before ?? '')) return undefined
  const hides = HASH_FILES.test(path) || HASH_LINE.test(after) || HASH_LINE.test(before ?? '')
  const masked = hides ? maskHashes(before ?? '', after) : { before: before ?? '', after }
  const { createTwoFilesPatch } = await import('diff')
  const name = printable(change.path)
  const from = change.before ? `a${printable(change.from ?? change.path)}` : '/dev/null'
  const patch = createTwoFilesPatch(from, `b${name}`, masked.before, masked.after, undefined, undefined, {
    context: 3,
    // Two large files with nothing in common would take minutes.
    timeout: 2000,
  })
  if (patch === undefined) return undefined
  return patch.replace(/^=+\n/, '').split('\n').map(printableText).join('\n')
}

function textOf(captured: Captured | undefined): string | undefined {
  if (!captured?.content || captured.content.includes(0)) return undefined
  return decodeText(captured.content)
}

/** What is no hash: empty, locked without one, `x` for shadow. */
const NO_HASH = /^(|x|\*|!+\*?|\*LK\*|!!)$/

/** Hides the hashes of both sides, so that what changed still shows as changed. */
export function maskHashes(before: string, after: string): { before: string; after: string } {
  const old = new Map<string, string>()
  for (const line of before.split('\n')) {
    const [user, hash] = line.split(':')
    if (user !== undefined && hash !== undefined) old.set(user, bare(hash))
  }
  const mask = (text: string, isAfter: boolean) =>
    text
      .split('\n')
      .map(line => {
        const fields = line.split(':')
        const [user, hash] = fields
        if (user === undefined || hash === undefined || NO_HASH.test(hash)) return line
        const known = !isAfter || old.get(user) === bare(hash)
        fields[1] = `${'!'.repeat(hash.length - hash.replace(/^!+/, '').length)}${known ? '(hidden)' : '(hidden, new)'}`
        return fields.join(':')
      })
      .join('\n')
  return { before: mask(before, false), after: mask(after, true) }
}

function bare(hash: string): string {
  return hash.replace(/^!+/, '')
}

/** One line that says what became of a path, without its content. */
export function describeChange(change: GuestChange): string {
  const path = printable(change.path)
  const what = `${change.type} ${change.kind === 'renamed' ? `${printable(change.from ?? '')} → ${path}` : path}`
  const { after } = change
  if (change.kind === 'removed') return `removed ${what}`
  if (change.kind === 'created') {
    const target = after?.target ? ` -> ${printable(after.target)}` : ''
    const size = after?.stats.isFile() ? `, ${after.stats.size} bytes` : ''
    return `created ${what}${target} (mode ${mode(after)}, owner ${owner(after)}${size})`
  }
  const details = change.aspects.map(aspect => detail(aspect, change))
  return `${change.kind} ${what}${details.length > 0 ? `: ${details.join(', ')}` : ''}`
}

function mode(captured: Captured | undefined): string {
  return captured ? (captured.stats.mode & 0o7777).toString(8).padStart(4, '0') : '?'
}

function owner(captured: Captured | undefined): string {
  return captured ? `${captured.stats.uid}:${captured.stats.gid}` : '?'
}

function device(captured: Captured | undefined): string {
  return captured ? `${captured.stats.rdev.major}:${captured.stats.rdev.minor}` : '?'
}

function detail(aspect: ChangedAspect, { before, after }: GuestChange): string {
  switch (aspect) {
    case 'content':
      return `content (${before?.stats.size ?? '?'} → ${after?.stats.size ?? '?'} bytes)`
    case 'mode':
      return `mode ${mode(before)} → ${mode(after)}`
    case 'owner':
      return `owner ${owner(before)} → ${owner(after)}`
    case 'target':
      return `target ${printable(before?.target ?? '')} → ${printable(after?.target ?? '')}`
    case 'type':
      return `${before?.stats.type ?? '?'} → ${after?.stats.type ?? '?'}`
    case 'device':
      return `device ${device(before)} → ${device(after)}`
    case 'times':
      return 'modification time'
    case 'xattrs':
      return 'extended attributes'
  }
}
