import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { extname, join, resolve } from 'node:path'
import { type Browser, chromium, type Page } from 'playwright-core'
import { build as bundle } from 'vite'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { checkWrittenImages, haveTool, runOk, temporaryFolder, writes } from '../support/native.ts'
import { build, discard, haveScripts, main, out, scratch, scripts } from './real-images.ts'

checkWrittenImages()

const KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEPecB1V+gvC6dzhdChYg+uyfbtvSPlcwHRriVGwh4oS real@test'
const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html',
  '.js': 'text/javascript',
  '.css': 'text/css',
  '.wasm': 'application/wasm',
}
/** Pictures of the page are kept where this says. */
const pictures = process.env.DRYDISK_SCREENSHOTS

/** Nobody is there to answer the dialog: a file of the page's own file system stands for what it would give. */
const PICKER = `window.showSaveFilePicker = async ({ suggestedName }) =>
  (await navigator.storage.getDirectory()).getFileHandle(suggestedName, { create: true })`
/** Takes such a file out, as a download. */
const TAKE_OUT = `(async () => {
  const file = await (await (await navigator.storage.getDirectory()).getFileHandle('demo-patched.qcow2')).getFile()
  const link = document.createElement('a')
  link.href = URL.createObjectURL(file)
  link.download = file.name
  link.click()
})()`
/** A picker of a file that takes each piece as `writing` says. */
const pickerOf = (writing: string) => `window.showSaveFilePicker = async () => ({
  name: 'slow',
  createWritable: async () => new WritableStream({ write: () => ${writing} }),
})`
/** Times, in milliseconds, that the page stood still (https://w3c.github.io/longtasks/). */
const LONG_TASKS = `new PerformanceObserver(list => {
  window.longTasks.push(...list.getEntries().map(task => task.duration))
}).observe({ type: 'longtask' }); window.longTasks = []`
/** A large text in the editor at once, as pasting puts it. */
const pasted = (text: string) => `(() => {
  const field = document.querySelector('#text')
  field.value = ${JSON.stringify(text)}
  field.dispatchEvent(new Event('input', { bubbles: true }))
  field.focus()
})()`
const FOCUSED = `document.activeElement?.getAttribute('aria-label')`

let server: Server
let browser: Browser
let address: string
let folder: string
/** Whatever the browser asked anybody for. */
let asked: string[] = []

const drydisk = (...args: string[]) => runOk(process.execPath, [main, ...args])

async function openPage(saving: 'download' | 'picker'): Promise<Page> {
  asked = []
  const context = await browser.newContext({ viewport: { width: 1360, height: 820 }, acceptDownloads: true })
  const page = await context.newPage()
  page.on('request', request => {
    if (!request.url().startsWith('blob:') && !request.url().startsWith('data:'))
      asked.push(`${request.method()} ${request.url()}`)
  })
  page.on('dialog', dialog => dialog.accept())
  await page.addInitScript(saving === 'picker' ? PICKER : 'delete window.showSaveFilePicker')
  await page.goto(address)
  return page
}

/** As from a file manager: the browser itself opens the file. */
async function drop(page: Page, path: string): Promise<void> {
  const cdp = await page.context().newCDPSession(page)
  const data = { items: [], files: [path], dragOperationsMask: 1 }
  for (const type of ['dragEnter', 'dragOver', 'drop'] as const)
    await cdp.send('Input.dispatchDragEvent', { type, x: 600, y: 400, data })
  await page.locator('#work:not([hidden]), #error:not([hidden])').first().waitFor()
  await page.locator('body:not([aria-busy])').waitFor()
}

async function openFile(page: Page, ...path: string[]): Promise<void> {
  for (const name of path) await page.getByRole('treeitem', { name, exact: true }).click()
  await page.locator('#text').waitFor()
}

async function download(page: Page, name: string): Promise<string> {
  const path = writes(join(folder, name), 'qcow2')
  const [saved] = await Promise.all([
    page.waitForEvent('download'),
    page.getByRole('button', { name: 'Save image' }).click(),
  ])
  expect(saved.suggestedFilename()).toMatch(/-patched\.qcow2$/)
  await saved.saveAs(path)
  await saved.delete()
  return path
}

async function picture(page: Page, name: string): Promise<void> {
  if (pictures === undefined) return
  mkdirSync(pictures, { recursive: true })
  await page.screenshot({ path: join(pictures, `${name}.png`) })
}

/** All that was fetched is the page itself. */
function expectNothingUploaded(): void {
  expect(asked.filter(one => !one.startsWith(`GET ${address}`))).toEqual([])
}

describe.runIf(haveTool('chromium'))('the page of examples/browser in Chromium', () => {
  beforeAll(async () => {
    folder = haveScripts ? scratch() : temporaryFolder()
    const built = join(folder, 'page')
    await bundle({
      root: resolve('examples/browser'),
      logLevel: 'silent',
      build: { outDir: built, emptyOutDir: true },
    })
    server = createServer((request, response) => {
      const name = new URL(request.url ?? '/', 'http://here').pathname
      const file = join(built, name === '/' ? 'index.html' : name)
      if (!existsSync(file)) response.writeHead(404).end()
      else
        response
          .writeHead(200, { 'content-type': TYPES[extname(file)] ?? 'application/octet-stream' })
          .end(readFileSync(file))
    })
    await new Promise<void>(listening => server.listen(0, '127.0.0.1', listening))
    address = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
    browser = await chromium.launch({
      executablePath: (await runOk('sh', ['-c', 'command -v chromium'])).trim(),
      // Chromium's own sandbox does not run as root, and containers have no large /dev/shm.
      args: ['--no-sandbox', '--disable-dev-shm-usage'],
      downloadsPath: folder,
    })
  })

  afterAll(async () => {
    await browser?.close()
    server?.close()
    discard(folder)
  })

  describe.runIf(haveScripts).each([
    ['debian-ext4', 'ext4', 1],
    ['debian-xfs', 'xfs', 2],
  ])('with %s', (name, kind, root) => {
    const image = join(out, `${name}.qcow2`)

    beforeAll(async () => {
      await build()
      if (!existsSync(image)) await runOk('bash', [join(scripts, 'build-debian.sh'), out, kind])
    })

    it('edits what was dropped, shows the diff, and saves an image that is as it should be', async () => {
      const page = await openPage('download')
      await picture(page, `${name}-1-start`)
      await drop(page, image)
      expect(await page.locator('#facts').textContent()).toMatch(/qcow2, a disk of 3\.0 GiB with Debian/)

      await openFile(page, 'etc', 'hostname')
      await page.getByLabel('Content of /etc/hostname').fill('dropped.example\n')
      await page.keyboard.press('Control+s')
      const diff = page.locator('#change-list li', { hasText: '/etc/hostname' }).locator('.diff')
      expect(await diff.locator('.added').textContent()).toBe('+dropped.example\n')
      await picture(page, `${name}-2-diff`)

      await page.getByLabel('SSH key of root').fill(KEY)
      await page.getByLabel('SSH key of root').press('Enter')
      await page.locator('#change-list li', { hasText: '/root/.ssh/authorized_keys' }).waitFor()
      await page.getByRole('button', { name: 'Enable' }).click()
      await page.locator('#report', { hasText: /console/ }).waitFor()
      await picture(page, `${name}-3-operations`)

      const saved = await download(page, `${name}.qcow2`)
      await picture(page, `${name}-4-saved`)
      expect(await page.locator('#error').isVisible()).toBe(false)
      expectNothingUploaded()
      await page.context().close()

      expect(await drydisk('cat', saved, '/etc/hostname')).toBe('dropped.example\n')
      expect(await drydisk('cat', saved, '/root/.ssh/authorized_keys')).toContain(KEY)
      await runOk('qemu-img', ['check', saved])
      await checkRoot(saved, root, kind)
    })
  })

  describe.runIf(haveScripts && existsSync(join(out, 'flavours/zstd.qcow2')))('with zstd clusters', () => {
    it('reads and writes them by WebAssembly', async () => {
      const page = await openPage('download')
      await drop(page, join(out, 'flavours/zstd.qcow2'))
      await openFile(page, 'etc', 'hostname')
      await page.getByLabel('Content of /etc/hostname').fill('zstd.example\n')
      // Saving takes what was typed, applied or not.
      const saved = await download(page, 'zstd.qcow2')
      expectNothingUploaded()
      await page.context().close()
      expect(await drydisk('cat', saved, '/etc/hostname')).toBe('zstd.example\n')
      await checkRoot(saved, 1, 'ext4')
    })
  })

  describe('with a small image', () => {
    let image: string
    beforeAll(async () => {
      image = join(folder, 'demo.qcow2')
      await drydisk('make-fs', '--demo', image)
    })

    it('is worked with keys alone', async () => {
      const page = await openPage('download')
      await drop(page, image)
      await page.getByRole('button', { name: 'New file…' }).focus()
      await page.keyboard.press('Tab')
      // Type ahead, open, go to a file by its first letters.
      await page.keyboard.press('e')
      await page.keyboard.press('ArrowRight')
      await page.getByRole('treeitem', { name: 'hostname', exact: true }).waitFor()
      await page.keyboard.press('h')
      while ((await page.evaluate(FOCUSED)) !== 'hostname') await page.keyboard.press('ArrowDown')
      await page.keyboard.press('Enter')
      await page.locator('#text').waitFor()
      await page.locator('#text').focus()
      await page.keyboard.press('Control+a')
      await page.keyboard.type('keys.example\n')
      await page.keyboard.press('Control+s')
      await page.getByRole('button', { name: 'Undo the change of /etc/hostname' }).focus()
      expect(await page.locator('#count').textContent()).toBe('1')
      await page.keyboard.press('Enter')
      await page.locator('#no-changes').waitFor()
      expect(await page.locator('#text').inputValue()).not.toContain('keys')
      await page.context().close()
    })

    it('is saved where the person says, and goes on from there', async () => {
      const page = await openPage('picker')
      await drop(page, image)
      await page.getByLabel('Hostname').fill('picked')
      await page.getByLabel('Hostname').press('Enter')
      await page.locator('#change-list li', { hasText: '/etc/hostname' }).waitFor()
      await page.getByRole('button', { name: 'Save image' }).click()
      await page.locator('#status', { hasText: 'Saved as demo-patched.qcow2' }).waitFor()
      expect(await page.locator('#count').textContent()).toBe('0')
      expect(await page.locator('#facts').textContent()).toMatch(/^demo-patched\.qcow2 .*picked/)
      // Over itself: the file that is open is the one that is replaced.
      await page.getByLabel('Hostname').fill('again')
      await page.getByLabel('Hostname').press('Enter')
      await page.locator('#change-list li', { hasText: '/etc/hostname' }).waitFor()
      await page.getByRole('button', { name: 'Save image' }).click()
      await page.locator('#facts', { hasText: 'again' }).waitFor()
      expectNothingUploaded()
      const path = writes(join(folder, 'picked.qcow2'), 'disk')
      const [saved] = await Promise.all([page.waitForEvent('download'), page.evaluate(TAKE_OUT)])
      await saved.saveAs(path)
      await page.context().close()
      expect(await drydisk('cat', path, '/etc/hostname')).toBe('again\n')
    })

    it('keeps the changes where saving is cancelled or fails', async () => {
      const page = await openPage('download')
      await drop(page, image)
      await page.getByLabel('Hostname').fill('kept')
      await page.getByLabel('Hostname').press('Enter')
      await page.locator('#change-list li', { hasText: '/etc/hostname' }).waitFor()
      const count = await page.locator('#count').textContent()
      await page.evaluate(pickerOf('new Promise(done => setTimeout(done, 1500))'))
      await page.getByRole('button', { name: 'Save image' }).click()
      await page.getByRole('button', { name: 'Cancel', exact: true }).click()
      await page.locator('#status', { hasText: 'Saving was cancelled' }).waitFor()
      await page.evaluate(pickerOf(`Promise.reject(new Error('the disk is full'))`))
      await page.getByRole('button', { name: 'Save image' }).click()
      await page.getByRole('alert').filter({ hasText: 'the disk is full' }).waitFor()
      expect(await page.locator('#count').textContent()).toBe(count)
      // And is saved all the same in the end.
      await page.evaluate('delete window.showSaveFilePicker')
      const saved = await download(page, 'kept.qcow2')
      await page.context().close()
      expect(await drydisk('cat', saved, '/etc/hostname')).toBe('kept\n')
    })

    it('goes on while what changed is compressed', { timeout: 60_000 }, async () => {
      const [large, names] = [join(folder, 'large.qcow2'), ['one', 'two', 'three']]
      await runOk('qemu-img', ['convert', '-c', '-O', 'qcow2', image, large])
      const files = names.flatMap(name => ['--write', `/srv/${name}:\n`])
      await drydisk('customize', large, '--mkdir', '/srv', ...files)
      const page = await openPage('download')
      await drop(page, large)
      await page.getByRole('treeitem', { name: 'srv', exact: true }).click()
      const text = Array.from({ length: 13_000 }, () => randomBytes(57).toString('base64')).join('\n')
      for (const name of names) {
        await openFile(page, name)
        await page.evaluate(pasted(`${name}\n${text}`))
        await page.keyboard.press('Control+s')
        await page.locator('#change-list li', { hasText: `/srv/${name}` }).waitFor()
      }
      // A text field with a megabyte is slow by itself.
      await openFile(page, 'etc', 'hostname')
      await page.evaluate(LONG_TASKS)
      const clicked = performance.now()
      const saved = await download(page, 'large.qcow2')
      const tasks = (await page.evaluate('window.longTasks')) as number[]
      const whole = performance.now() - clicked
      await page.context().close()
      for (const name of names) expect(await drydisk('cat', saved, `/srv/${name}`)).toBe(`${name}\n${text}`)
      expect(Math.max(0, ...tasks)).toBeLessThan(whole / 4)
    })

    it('shows what it cannot change', async () => {
      const bytes = readFileSync(image)
      // The incompatible feature bit of a corrupt image (qcow2 specification, byte 79, bit 1).
      bytes[79] = (bytes[79] ?? 0) | 2
      const marked = join(folder, 'marked.qcow2')
      writeFileSync(marked, bytes)
      const page = await openPage('download')
      await drop(page, marked)
      expect(await page.locator('#report').textContent()).toMatch(/only read here: .*corrupt/)
      await openFile(page, 'etc', 'hostname')
      expect(await page.locator('#text').getAttribute('readonly')).not.toBeNull()
      expect(await page.locator('button:visible').allTextContents()).toEqual([])
      await picture(page, 'reading')
      await page.context().close()
    })

    it('says in words what is wrong', async () => {
      const page = await openPage('download')
      await drop(page, resolve('README.md'))
      expect(await page.getByRole('alert').textContent()).toMatch(/no |not /)
      await picture(page, 'error')
      // And opens the next one.
      await drop(page, image)
      await page.locator('#work').waitFor()
      await page.getByLabel('Hostname').fill('not a name')
      await page.getByLabel('Hostname').press('Enter')
      expect(await page.getByRole('alert').textContent()).toMatch(/hostname/)
      await page.context().close()
    })
  })
})

/** What the native checker says of a saved image's root filesystem. */
async function checkRoot(image: string, partition: number, kind: string): Promise<void> {
  const raw = `${image}.raw`
  await runOk('qemu-img', ['convert', '-O', 'raw', image, raw])
  try {
    const { partitiontable } = JSON.parse(await runOk('sfdisk', ['-J', raw])) as {
      partitiontable: { partitions: { node: string; start: number; size: number }[] }
    }
    const place = partitiontable.partitions.find(({ node }) => node === `${raw}${partition}`)
    if (place === undefined) throw new Error(`${image} has no partition ${partition}`)
    if (kind === 'ext4') await runOk('e2fsck', ['-fn', `${raw}?offset=${place.start * 512}`])
    else {
      const copy = `${raw}.root`
      await runOk('dd', [
        `if=${raw}`,
        `of=${copy}`,
        'bs=512',
        `skip=${place.start}`,
        `count=${place.size}`,
        'conv=sparse',
        'status=none',
      ])
      await runOk('xfs_repair', ['-n', '-f', copy]).finally(() => discard(copy))
    }
  } finally {
    discard(raw)
  }
}
