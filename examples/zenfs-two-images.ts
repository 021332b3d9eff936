// Copies a file from one image into another with the calls of node:fs: node zenfs-two-images.js FROM TO PATH
import { openImage } from 'drydisk'
import { mountGuest } from 'drydisk/zenfs'

const [from = 'old.qcow2', to = 'new.qcow2', path = '/etc/hostname'] = process.argv.slice(2)
await using source = await openImage(from)
await using target = await openImage(to, { writable: true })
using one = await mountGuest(await source.guest())
using other = await mountGuest(await target.guest())

const content = await one.fs.promises.readFile(path)
await other.fs.promises.writeFile(path, content)
const { mtime, size } = await other.fs.promises.stat(path)
console.log(`${path}: ${size} bytes, ${mtime.toISOString()}`)
await target.commit()
