import { LruCache } from '../bytes/lru-cache.ts'
import { DrydiskError } from '../errors.ts'
import { type GrubVariables, grubCondition, grubStatements, grubWords } from './grub-script.ts'
import { isRecovery, type KernelLine } from './kernel-line.ts'

/** A menu entry of a grub.cfg. */
export interface GrubMenuEntry {
  /** Titles from the outermost submenu to the entry. */
  readonly titles: readonly string[]
  /** For each of these, the number in its menu from 0 and the `--id`. */
  readonly places: readonly { readonly index: number; readonly id: string }[]
  /** 1-based. */
  readonly line: number
  /** The command that its conditions lead to, the last one if there are several; none in an entry that boots no Linux. */
  readonly kernel: KernelLine | undefined
}

/** What a grub.cfg comes to: its entries, the lines of kernels, and its variables. */
export interface GrubConfig {
  readonly entries: readonly GrubMenuEntry[]
  /** Every line with kernel arguments, those that no condition leads to as well. */
  readonly kernelLines: readonly KernelLine[]
  /** After the configuration was read, before a menu entry is chosen. */
  readonly variables: GrubVariables
  /** Where `blscfg` puts entries of /boot/loader/entries: their first one's number in the menu; `undefined` without that command. */
  readonly blsIndex: number | undefined
}

interface Block {
  readonly kind: 'menu' | 'entry' | 'other'
  readonly title: string
  readonly id: string
  readonly index: number
  readonly line: number
  children: number
  kernel: KernelLine | undefined
}

/** Deeper than any configuration: what looks at every block above it would take too long. */
const MAX_DEPTH = 100
/** Options of `menuentry` whose value is the next word. */
const WITH_VALUE = /^--(class|users|hotkey|source|id)$/

/** Programs that GRUB starts by the same commands (memtest86+, iPXE): they take no kernel arguments. */
const NOT_LINUX = /memtest|mt86plus|\.lkrn\b|memdisk/i
const KERNEL_COMMAND = /^(linux(?:16|efi)?)(?=\s)(\s+(?:"[^"]*"|'[^']*'|(?:\\.|[^\s\\])+))?/
/** Xen boots by multiboot, and Linux is its first module. */
const XEN_MODULE = /^(module2?)(\s+(?:--\S+\s+)*\S*(?:vmlinu[xz]|linux-)\S*)/

/** Configurations that stay in memory: a guest's menu with and without its environment block, before and after an edit. */
const RECENT = 4
const recent = new LruCache<string, GrubConfig>(RECENT)

/**
 * Reads a grub.cfg with the variables of its environment block. Whoever edits kernel arguments asks for the same menu a dozen times, and
 * every step of a recipe does so: it is read once.
 */
export function readGrubConfig(text: string, environment: GrubVariables = new Map()): GrubConfig {
  const key = JSON.stringify([text, ...environment])
  const known = recent.get(key)
  if (known !== undefined) return known
  const config = parseGrubConfig(text, environment)
  recent.set(key, config)
  return config
}

/** A test of a file: the files that menus ask for (fonts, themes, `custom.cfg`) change nothing about kernels. */
const fileExists = () => true

function parseGrubConfig(text: string, environment: GrubVariables): GrubConfig {
  // GRUB 2 has had these features since 2.00.
  const variables = new Map([
    ['feature_menuentry_id', 'y'],
    ['feature_timeout_style', 'y'],
  ])
  const entries: GrubMenuEntry[] = []
  const kernelLines: KernelLine[] = []
  const blocks: Block[] = []
  const conditions: { active: boolean; before: boolean; done: boolean; loop: boolean }[] = []
  let rootChildren = 0
  let blsIndex: number | undefined
  let foreign = false
  let lastSectionEnd = 0

  for (const statement of grubStatements(text)) {
    // Sections are comments: `### BEGIN /etc/grub.d/30_os-prober ###`.
    const between = text.slice(lastSectionEnd, statement.start)
    lastSectionEnd = statement.end
    for (const mark of between.matchAll(/^### (BEGIN|END) \S*\/(\S+) ###/gm))
      foreign = mark[1] === 'BEGIN' && mark[2] === '30_os-prober'

    let command = statement.text.replace(/^(?:(?:then|else|do)(?:\s+|$))+/, '')
    const lead = /^(?:(?:then|else|do)(?:\s+|$))+/.exec(statement.text)?.[0] ?? ''
    const offset = statement.start + lead.length
    const top = conditions[conditions.length - 1]
    if (/\belse\b/.test(lead) && top && !top.loop) {
      top.active = top.before && !top.done
      top.done = true
    }
    const active = conditions.every(c => c.active) && !blocks.some(b => b.kind === 'other')
    if (blocks.length > MAX_DEPTH || conditions.length > MAX_DEPTH)
      throw new DrydiskError(
        'ERR_CORRUPT',
        `line ${statement.line}: more than ${MAX_DEPTH} blocks in one another`,
      )
    const word = /^[^\s=]*/.exec(command)?.[0] ?? ''

    if (word === 'if' || word === 'while' || word === 'until' || word === 'for') {
      const holds = word === 'if' && grubCondition(command.slice(word.length), variables, fileExists)
      conditions.push({ active: active && holds, before: active, done: holds, loop: word !== 'if' })
      continue
    }
    if (word === 'elif') {
      if (!top) continue
      const holds = !top.done && grubCondition(command.slice(4), variables, fileExists)
      top.active = top.before && holds
      top.done ||= holds
      continue
    }
    if (word === 'fi' || word === 'done') {
      conditions.pop()
      continue
    }
    if (command === '}') {
      const block = blocks.pop()
      if (block?.kind === 'entry') entries.push(entryOf([...blocks, block]))
      continue
    }
    if (statement.opens) {
      const isMenu = /^(menuentry|submenu|hiddenentry)$/.test(word)
      const parent = blocks[blocks.length - 1]
      const index = parent ? parent.children : rootChildren
      if (isMenu && word !== 'hiddenentry') {
        if (parent) parent.children++
        else rootChildren++
      }
      const words = isMenu ? grubWords(command, variables) : []
      const id = words.findIndex(w => w === '--id' || w.startsWith('--id='))
      blocks.push({
        kind: word === 'submenu' ? 'menu' : isMenu ? 'entry' : 'other',
        title:
          words.find((w, i) => i > 0 && !w.startsWith('--') && !WITH_VALUE.test(words[i - 1] ?? '')) ?? '',
        id: id < 0 ? '' : (words[id]?.split('=')[1] ?? words[id + 1] ?? ''),
        index,
        line: statement.line,
        children: 0,
        kernel: undefined,
      })
      continue
    }

    const entry = blocks.findLast(b => b.kind === 'entry')
    const title = entry ? entry.title : '(outside of a menu entry)'
    const started = KERNEL_COMMAND.exec(command) ?? XEN_MODULE.exec(command)
    if (started && /\s/.test(command[word.length] ?? ' ') && !NOT_LINUX.test(started[2] ?? '')) {
      const path = (started[2] ?? '').trim()
      const gap = /^[ \t]*/.exec(command.slice(started[0].length))?.[0].length ?? 0
      const start = offset + started[0].length + gap
      const args = text.slice(start, statement.end)
      const line: KernelLine = {
        title,
        line: statement.line,
        start,
        end: statement.end,
        recovery: isRecovery(title, args),
        prefix: gap > 0 ? '' : ' ',
        kernel: grubWords(path, variables)[0] ?? '',
        initrd: [],
        foreign,
      }
      if (path === '') continue
      kernelLines.push(line)
      if (entry && active) entry.kernel = line
      continue
    }
    if (/^(initrd|initrd16|initrdefi|module2?)$/.test(word)) {
      if (entry?.kernel && active)
        entry.kernel = {
          ...entry.kernel,
          initrd: grubWords(command, variables)
            .slice(1)
            .filter(w => !w.startsWith('--')),
        }
      continue
    }
    const assignment = /^(?:set\s+)?([A-Za-z_]\w*)=/.exec(command)
    if (assignment) {
      const fallback = /^set\s+((?:default_)?kernelopts)="([^"]*)"/.exec(command)
      if (fallback) {
        const start = offset + fallback[0].length - 1 - (fallback[2]?.length ?? 0)
        kernelLines.push({
          title: `fallback ${fallback[1] ?? ''}`,
          line: statement.line,
          start,
          end: start + (fallback[2]?.length ?? 0),
          recovery: false,
          prefix: '',
          kernel: '',
          initrd: [],
          foreign: false,
        })
      }
      // What only a function sets depends on whether it is called: it stays as it is written.
      const name = assignment[1] ?? ''
      if (blocks.some(b => b.kind === 'other') && !variables.has(name)) variables.set(name, `$${name}`)
      if (!active || entry || blocks.length > 0) continue
      command = command.replace(/^set\s+/, '')
      const value = grubWords(command, variables)[0] ?? ''
      variables.set(name, value.slice(value.indexOf('=') + 1))
      continue
    }
    if (!active || blocks.length > 0) continue
    if (word === 'load_env') for (const [name, value] of environment) variables.set(name, value)
    if (word === 'blscfg') blsIndex ??= rootChildren
  }
  return { entries, kernelLines, variables, blsIndex }
}

function entryOf(path: readonly Block[]): GrubMenuEntry {
  const own = path.filter(block => block.kind !== 'other')
  const last = own[own.length - 1]
  return {
    titles: own.map(block => block.title),
    places: own.map(({ index, id }) => ({ index, id })),
    line: last?.line ?? 0,
    kernel: last?.kernel,
  }
}

/**
 * The place of the default entry: `variables.default` is a number from 0, an id or a title, and for entries in submenus these
 * joined by `>` (the GRUB manual, "default"). Where nothing matches, GRUB takes the first.
 */
export function isGrubDefault(
  wanted: string,
  titles: readonly string[],
  places: readonly { readonly index: number; readonly id: string }[],
): boolean {
  const parts = wanted.split('>').map(part => part.trim())
  return (
    parts.length === places.length &&
    parts.every((part, i) => {
      const place = places[i]
      return place !== undefined && (part === String(place.index) || part === place.id || part === titles[i])
    })
  )
}
