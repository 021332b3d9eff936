import type { OperationReport } from 'drydisk/portable'
import { ChangeList } from './change-list.ts'
import { byId, make, sizeText } from './dom.ts'
import { Editor } from './editor.ts'
import { FileTree } from './file-tree.ts'
import { chooseTarget, download, type Target, writeBlob } from './save-blob.ts'
import {
  type Entry,
  errorText,
  ImageSession,
  pathText,
  type ShownChange,
  volumesToChoose,
} from './session.ts'

const start = byId('start', HTMLElement)
const work = byId('work', HTMLElement)
const drop = byId('drop', HTMLDivElement)
const fileInput = byId('file', HTMLInputElement)
const saveButton = byId('save', HTMLButtonElement)
const status = byId('status', HTMLParagraphElement)
const progress = byId('progress', HTMLProgressElement)
const cancel = byId('cancel', HTMLButtonElement)
const report = byId('report', HTMLDivElement)
const pathDialog = byId('path-dialog', HTMLDialogElement)
const pathInput = byId('path', HTMLInputElement)
const editor = new Editor()
const changeList = new ChangeList()

let session: ImageSession | undefined
/** There are changes that no saved image has. */
let unsaved = false
let saving = false

const tree = new FileTree(byId('tree', HTMLDivElement), {
  list: async path => (await session?.list(path)) ?? { entries: [], more: 0 },
  open: entry => act('', async current => openEntry(current, entry)),
  failed: error => showError(error),
})

/* Messages. */

/** @param choices what a person may do about it. */
function showError(error: unknown, choices: readonly HTMLElement[] = []): void {
  console.error(error)
  byId('error-text', HTMLParagraphElement).replaceChildren(`${errorText(error)} `, ...choices)
  byId('error', HTMLDivElement).hidden = false
}

function hideError(): void {
  byId('error', HTMLDivElement).hidden = true
}

function say(text: string): void {
  status.textContent = text
}

/** Runs what a person asked for; what goes wrong is told. */
async function act(doing: string, step: (current: ImageSession) => Promise<void>): Promise<void> {
  if (session === undefined) return
  hideError()
  if (doing !== '') say(doing)
  document.body.setAttribute('aria-busy', 'true')
  try {
    await step(session)
  } catch (error) {
    if (doing !== '') say('')
    showError(error)
  } finally {
    document.body.removeAttribute('aria-busy')
  }
}

/* Opening an image. */

async function openImage(file: File | undefined, root?: string): Promise<void> {
  if (file === undefined || saving) return
  if (
    (unsaved || editor.pending) &&
    !confirm('There are changes that are not saved. Open another image all the same?')
  )
    return
  hideError()
  say(`Opening ${file.name}, ${sizeText(file.size)} …`)
  document.body.setAttribute('aria-busy', 'true')
  try {
    const began = performance.now()
    await show(await ImageSession.open(file, root === undefined ? {} : { root }))
    say(`Opened in ${((performance.now() - began) / 1000).toFixed(1)} s. Nothing was uploaded.`)
  } catch (error) {
    say(`${file.name} was not opened.`)
    showError(
      error,
      volumesToChoose(error).map(volume => volumeButton(file, volume)),
    )
  } finally {
    document.body.removeAttribute('aria-busy')
  }
}

function volumeButton(file: File, volume: string): HTMLButtonElement {
  const button = make('button', { textContent: `Open ${volume}` })
  button.type = 'button'
  button.addEventListener('click', () => openImage(file, volume))
  return button
}

async function show(opened: ImageSession): Promise<void> {
  const before = session
  session = opened
  await before?.close()
  unsaved = false
  const { file, format, diskSize, system, hostname, readOnly } = opened.facts
  byId('facts', HTMLParagraphElement).replaceChildren(
    make('strong', { textContent: file }),
    ` ${format}, a disk of ${sizeText(diskSize)} with ${[system, hostname].filter(Boolean).join(', ') || 'files'}`,
  )
  byId('hostname', HTMLInputElement).value = hostname
  start.hidden = true
  work.hidden = false
  document.body.classList.toggle('reading', readOnly !== undefined)
  saveButton.hidden = readOnly !== undefined
  byId('text', HTMLTextAreaElement).readOnly = readOnly !== undefined
  report.replaceChildren(
    ...[...(readOnly === undefined ? [] : [`It is only read here: ${readOnly}`]), ...opened.warnings].map(
      text => make('p', { className: 'warning', textContent: text }),
    ),
  )
  editor.close(readOnly === undefined ? undefined : 'Choose a file on the left.')
  await tree.show()
  await showChanges(opened)
}

fileInput.addEventListener('change', () => {
  openImage(fileInput.files?.[0])
  // The same file may be chosen again.
  fileInput.value = ''
})

for (const type of ['dragenter', 'dragover'])
  addEventListener(type, event => {
    event.preventDefault()
    drop.classList.add('over')
  })
addEventListener('dragleave', event => {
  if (event.relatedTarget === null) drop.classList.remove('over')
})
addEventListener('drop', event => {
  event.preventDefault()
  drop.classList.remove('over')
  openImage(event.dataTransfer?.files[0])
})

/* Files. */

async function openEntry(current: ImageSession, entry: Entry): Promise<void> {
  await applyText(current)
  await editor.open(current, entry, pathText(entry.path))
}

/** What was typed becomes a change. */
async function applyText(current: ImageSession): Promise<void> {
  if (!editor.pending) return
  await editor.flush()
  await changed(current)
}

async function changed(current: ImageSession): Promise<void> {
  unsaved = true
  await showChanges(current)
}

async function showChanges(current: ImageSession): Promise<void> {
  const changes = await current.changes()
  if (changes.length === 0) unsaved = false
  changeList.show(changes, undoChange)
}

function undoChange({ path, undo }: ShownChange): void {
  act('', async current => {
    await undo?.()
    await editor.refresh()
    await tree.show()
    await changed(current)
    say(`${path} is as it was.`)
  })
}

byId('apply', HTMLButtonElement).addEventListener('click', () => act('', applyText))
addEventListener('keydown', event => {
  if (event.key.toLowerCase() !== 's' || !(event.ctrlKey || event.metaKey)) return
  event.preventDefault()
  act('', applyText)
})

byId('delete', HTMLButtonElement).addEventListener('click', () =>
  act('', async current => {
    const { entry } = editor
    if (entry === undefined || !confirm(`Delete ${pathText(entry.path)} from the image?`)) return
    await current.remove(entry.path)
    editor.close(`${pathText(entry.path)} is deleted.`)
    await tree.show()
    await changed(current)
  }),
)

byId('new-file', HTMLButtonElement).addEventListener('click', () => {
  pathInput.value = ''
  pathDialog.returnValue = ''
  pathDialog.showModal()
})
pathDialog.addEventListener('close', () => {
  if (pathDialog.returnValue !== 'make') return
  act('', async current => {
    const path = pathInput.value
    await applyText(current)
    await current.create(path)
    await tree.show()
    await editor.open(current, { name: path, path: new TextEncoder().encode(path), type: 'file' }, path)
    byId('text', HTMLTextAreaElement).focus()
    await changed(current)
  })
})

/* Operations. */

function operation(form: string, run: (current: ImageSession) => Promise<OperationReport>): void {
  byId(form, HTMLFormElement).addEventListener('submit', event => {
    event.preventDefault()
    act('', async current => {
      await applyText(current)
      try {
        showReport(await run(current))
      } finally {
        // Also what was done before an error.
        await editor.refresh()
        await tree.show()
        await changed(current)
      }
    })
  })
}

function showReport({ operation, changes, warnings }: OperationReport): void {
  const lines = changes.map(({ setting, before, after, file, line }) =>
    make('p', {
      textContent: `${setting}: ${before ?? '(none)'} → ${after ?? '(none)'}`,
      title: line === undefined ? file : `${file}:${line}`,
    }),
  )
  if (changes.length === 0) lines.push(make('p', { textContent: `${operation}: nothing to change` }))
  report.replaceChildren(
    ...lines,
    ...warnings.map(text => make('p', { className: 'warning', textContent: text })),
  )
}

operation('hostname-form', current => current.setHostname(byId('hostname', HTMLInputElement).value.trim()))
operation('key-form', current => current.injectSshKeys('root', byId('key', HTMLInputElement).value))
operation('serial-form', current => current.enableSerialConsole())

/* Saving. */

saveButton.addEventListener('click', () =>
  act('', async current => {
    const name = savedName(current.facts.file)
    const target = await chooseTarget(name)
    if (target === undefined) return
    // An edit that comes while the image is being written would not be in it.
    saving = true
    work.inert = true
    try {
      await saveAs(current, target, name)
    } finally {
      saving = false
      work.inert = false
    }
  }),
)

async function saveAs(current: ImageSession, target: Target, name: string): Promise<void> {
  await applyText(current)
  const image = await current.save()
  if (target === 'download') {
    download(image, name)
    unsaved = false
    say(`${name}, ${sizeText(image.size)}, goes to your downloads.`)
    return
  }
  if (!(await write(image, target))) return
  // The file that was open may be the one that was replaced, so what was saved is what is open now.
  const { root } = current.facts
  await show(await ImageSession.open(await target.getFile(), root === undefined ? {} : { root }))
  say(`Saved as ${target.name}, ${sizeText(image.size)}.`)
}

/** Whether it was written to its end. */
async function write(image: Blob, target: FileSystemFileHandle): Promise<boolean> {
  const stop = new AbortController()
  const stopped = () => stop.abort()
  cancel.addEventListener('click', stopped)
  progress.hidden = false
  cancel.hidden = false
  saveButton.disabled = true
  try {
    say(`Saving ${target.name} …`)
    await writeBlob(image, target, stop.signal, done => {
      progress.value = done
    })
    return true
  } catch (error) {
    if (!stop.signal.aborted) throw error
    say('Saving was cancelled. The changes are still here.')
    return false
  } finally {
    cancel.removeEventListener('click', stopped)
    progress.hidden = true
    cancel.hidden = true
    saveButton.disabled = false
  }
}

/** `disk.qcow2` becomes `disk-patched.qcow2`. */
function savedName(name: string): string {
  return name.replace(/(-patched)?(\.[^.]*)?$/, '-patched$2')
}

addEventListener('beforeunload', event => {
  if (unsaved || editor.pending) event.preventDefault()
})

byId('error-close', HTMLButtonElement).addEventListener('click', hideError)
