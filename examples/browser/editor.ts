import { byId } from './dom.ts'
import type { Entry, ImageSession } from './session.ts'

/** The text of one file. What was typed reaches the session with `flush`. */
export class Editor {
  readonly #title = byId('editor-title', HTMLHeadingElement)
  readonly #text = byId('text', HTMLTextAreaElement)
  readonly #label = byId('text-label', HTMLLabelElement)
  readonly #note = byId('note', HTMLParagraphElement)
  readonly #pending = byId('pending', HTMLSpanElement)
  readonly #apply = byId('apply', HTMLButtonElement)
  readonly #revert = byId('revert', HTMLButtonElement)
  readonly #delete = byId('delete', HTMLButtonElement)
  #open: { readonly session: ImageSession; readonly entry: Entry; text: string | undefined } | undefined

  constructor() {
    this.#text.addEventListener('input', () => this.#mark())
    this.#revert.addEventListener('click', () => {
      this.#text.value = this.#open?.text ?? ''
      this.#mark()
      this.#text.focus()
    })
  }

  /** Whether there is text that the session does not have. */
  get pending(): boolean {
    return this.#open?.text !== undefined && this.#open.text !== this.#text.value
  }

  get entry(): Entry | undefined {
    return this.#open?.entry
  }

  async open(session: ImageSession, entry: Entry, path: string): Promise<void> {
    const content = await session.read(entry.path)
    const text = 'text' in content ? content.text : undefined
    this.#open = { session, entry, text }
    this.#show(path, text, 'why' in content ? content.why : '')
  }

  /** After the session changed: reads the file again where nothing was typed. */
  async refresh(): Promise<void> {
    const open = this.#open
    if (open?.text === undefined || this.pending) return
    try {
      const content = await open.session.read(open.entry.path)
      if (this.#open !== open || !('text' in content) || content.text === open.text) return
      open.text = content.text
      this.#text.value = content.text
    } catch {
      this.close()
    }
  }

  async flush(): Promise<void> {
    const open = this.#open
    if (open === undefined || !this.pending) return
    const text = this.#text.value
    await open.session.write(open.entry.path, text)
    open.text = text
    this.#mark()
  }

  close(note = 'Choose a file on the left. What you change stays in memory until you save the image.'): void {
    this.#open = undefined
    this.#show('No file is open', undefined, note)
  }

  #show(title: string, text: string | undefined, note: string): void {
    this.#title.textContent = title
    this.#label.textContent = `Content of ${title}`
    this.#note.textContent = note
    this.#note.hidden = text !== undefined
    this.#text.hidden = text === undefined
    this.#text.value = text ?? ''
    this.#text.scrollTop = 0
    this.#apply.hidden = text === undefined
    this.#revert.hidden = text === undefined
    this.#delete.hidden = this.#open === undefined
    this.#mark()
  }

  #mark(): void {
    const { pending } = this
    this.#pending.hidden = !pending
    this.#apply.disabled = !pending
    this.#revert.disabled = !pending
  }
}
