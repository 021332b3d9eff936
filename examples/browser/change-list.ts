import { byId, make } from './dom.ts'
import type { ShownChange } from './session.ts'

/** Of a diff: laying out tens of thousands of lines takes a browser half a second, each time that something on the page changes. */
const SHOWN_LINES = 1000

/** What differs from the image as it was opened, each file with its diff. */
export class ChangeList {
  readonly #list = byId('change-list', HTMLUListElement)
  readonly #none = byId('no-changes', HTMLParagraphElement)
  readonly #count = byId('count', HTMLSpanElement)

  /** @param undo is given a change that can be undone. */
  show(changes: readonly ShownChange[], undo: (change: ShownChange) => void): void {
    this.#count.textContent = String(changes.length)
    this.#none.hidden = changes.length > 0
    const closed = new Set(
      [...this.#list.querySelectorAll<HTMLDetailsElement>('details:not([open])')].map(
        one => one.dataset.path,
      ),
    )
    this.#list.replaceChildren(
      ...changes.map(change => {
        const item = make('li')
        const title = make('summary', {}, make('code', { textContent: change.path }))
        const button = make('button', { textContent: 'Undo' })
        button.type = 'button'
        button.setAttribute('aria-label', `Undo the change of ${change.path}`)
        button.addEventListener('click', () => undo(change))
        const what = make('p', {
          className: 'faint',
          textContent: change.summary.replace(` ${change.path}`, ''),
        })
        const details = make('details', {}, title, what)
        details.dataset.path = change.path
        details.open = !closed.has(change.path)
        if (change.diff !== undefined) details.append(diffBlock(change.diff))
        item.append(details)
        if (change.undo !== undefined) item.append(button)
        return item
      }),
    )
  }
}

/** The names of the files stand above it, so the lines that repeat them are left out. */
function diffBlock(diff: string): HTMLPreElement {
  const block = make('pre', { className: 'diff' })
  // A long one scrolls, which the keyboard has to reach.
  block.tabIndex = 0
  const lines = diff
    .replace(/^--- .*\n\+\+\+ .*\n/, '')
    .trimEnd()
    .split('\n')
  for (const line of lines.slice(0, SHOWN_LINES)) {
    const kind = line.startsWith('+')
      ? 'added'
      : line.startsWith('-')
        ? 'removed'
        : line.startsWith('@')
          ? 'place'
          : 'same'
    block.append(make('span', { className: kind, textContent: `${line}\n` }))
  }
  if (lines.length > SHOWN_LINES)
    block.append(
      make('span', {
        className: 'place',
        textContent: `… ${(lines.length - SHOWN_LINES).toLocaleString('en')} more lines`,
      }),
    )
  return block
}
