import { make } from './dom.ts'
import type { Entry, Listing } from './session.ts'

export interface TreeActions {
  list(path: Uint8Array | string): Promise<Listing>
  open(entry: Entry): void
  failed(error: unknown): void
}

/**
 * Folders and files as a tree that the keyboard moves in, by the ARIA Authoring Practices
 * (https://www.w3.org/WAI/ARIA/apg/patterns/treeview/). A folder is read when it is opened.
 */
export class FileTree {
  readonly #root: HTMLDivElement
  readonly #actions: TreeActions
  readonly #entries = new WeakMap<Element, Entry>()

  constructor(root: HTMLDivElement, actions: TreeActions) {
    this.#root = root
    this.#actions = actions
    root.addEventListener('click', event => {
      const item = itemOf(event.target)
      if (item !== undefined) this.#activate(item)
    })
    root.addEventListener('keydown', event => {
      const item = itemOf(event.target)
      if (
        item !== undefined &&
        !event.ctrlKey &&
        !event.metaKey &&
        !event.altKey &&
        this.#key(item, event.key)
      )
        event.preventDefault()
    })
  }

  /** Reads the folders that are open again; those that are gone are not shown any more. */
  async show(): Promise<void> {
    const open = new Set([...this.#items()].filter(isOpen).map(item => item.dataset.path))
    const focused =
      document.activeElement instanceof HTMLElement ? itemOf(document.activeElement)?.dataset.path : undefined
    const selected = this.#root.querySelector<HTMLElement>('[aria-selected=true]')?.dataset.path
    const built = document.createDocumentFragment()
    await this.#fill(built, '/', 1, open)
    this.#root.replaceChildren(built)
    const items = [...this.#items()]
    items.find(item => item.dataset.path === selected)?.setAttribute('aria-selected', 'true')
    const first = items.find(item => item.dataset.path === (focused ?? selected)) ?? items[0]
    if (first !== undefined) first.tabIndex = 0
    if (focused !== undefined) first?.focus()
  }

  clear(): void {
    this.#root.replaceChildren()
  }

  async #fill(
    into: Node,
    path: Uint8Array | string,
    level: number,
    open: ReadonlySet<string | undefined>,
  ): Promise<void> {
    const { entries, more } = await this.#actions.list(path)
    for (const entry of entries) {
      const item = this.#item(entry, level)
      into.appendChild(item)
      if (open.has(item.dataset.path)) await this.#expand(item, open)
    }
    if (more > 0) into.appendChild(make('div', { className: 'more', textContent: `and ${more} more` }))
    if (entries.length === 0) into.appendChild(make('div', { className: 'more', textContent: 'empty' }))
  }

  #item(entry: Entry, level: number): HTMLDivElement {
    const name = make('span', { className: `name ${entry.type}`, textContent: entry.name })
    if (entry.target !== undefined)
      name.append(make('span', { className: 'faint', textContent: ` → ${entry.target}` }))
    const item = make('div', {}, name)
    item.setAttribute('role', 'treeitem')
    item.setAttribute('aria-level', String(level))
    item.setAttribute(
      'aria-label',
      entry.target === undefined ? entry.name : `${entry.name}, a link to ${entry.target}`,
    )
    if (entry.type === 'directory') item.setAttribute('aria-expanded', 'false')
    item.style.setProperty('--level', String(level))
    item.tabIndex = -1
    item.dataset.path = String(entry.path)
    this.#entries.set(item, entry)
    return item
  }

  *#items(): Iterable<HTMLElement> {
    yield* this.#root.querySelectorAll<HTMLElement>('[role=treeitem]')
  }

  #activate(item: HTMLElement): void {
    const entry = this.#entries.get(item)
    if (entry === undefined) return
    this.#focus(item)
    if (entry.type === 'directory') {
      if (isOpen(item)) collapse(item)
      else this.#expand(item, new Set()).catch(error => this.#actions.failed(error))
      return
    }
    for (const other of this.#items()) other.removeAttribute('aria-selected')
    item.setAttribute('aria-selected', 'true')
    this.#actions.open(entry)
  }

  async #expand(item: HTMLElement, open: ReadonlySet<string | undefined>): Promise<void> {
    const entry = this.#entries.get(item)
    if (entry === undefined || item.getAttribute('aria-busy') === 'true') return
    item.setAttribute('aria-busy', 'true')
    try {
      const group = make('div')
      group.setAttribute('role', 'group')
      await this.#fill(group, entry.path, Number(item.getAttribute('aria-level')) + 1, open)
      item.append(group)
      item.setAttribute('aria-expanded', 'true')
    } finally {
      item.removeAttribute('aria-busy')
    }
  }

  #focus(item: HTMLElement): void {
    for (const other of this.#items()) other.tabIndex = -1
    item.tabIndex = 0
    item.focus()
  }

  /** Whether the key means something here. */
  #key(item: HTMLElement, key: string): boolean {
    const items = [...this.#items()]
    const at = items.indexOf(item)
    const folder = item.getAttribute('aria-expanded')
    let to: HTMLElement | undefined
    if (key === 'ArrowDown') to = items[at + 1]
    else if (key === 'ArrowUp') to = items[at - 1]
    else if (key === 'Home') to = items[0]
    else if (key === 'End') to = items.at(-1)
    else if (key === 'ArrowRight' && folder === 'true') to = itemOf(item.querySelector('[role=treeitem]'))
    else if (key === 'ArrowLeft' && folder !== 'true') to = itemOf(item.parentElement)
    else if (key === 'Enter' || key === ' ' || key === 'ArrowRight' || key === 'ArrowLeft') {
      if (key !== 'ArrowRight' || folder !== null) this.#activate(item)
    } else if (/^\S$/u.test(key)) {
      const starts = (one: HTMLElement) =>
        this.#entries.get(one)?.name.toLowerCase().startsWith(key.toLowerCase())
      to = items.slice(at + 1).find(starts) ?? items.find(starts)
    } else return false
    if (to !== undefined) this.#focus(to)
    return true
  }
}

function isOpen(item: HTMLElement): boolean {
  return item.getAttribute('aria-expanded') === 'true'
}

function collapse(item: HTMLElement): void {
  item.querySelector('[role=group]')?.remove()
  item.setAttribute('aria-expanded', 'false')
}

function itemOf(target: EventTarget | null): HTMLElement | undefined {
  return target instanceof Element ? (target.closest<HTMLElement>('[role=treeitem]') ?? undefined) : undefined
}
