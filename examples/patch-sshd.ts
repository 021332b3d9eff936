// Sets an option of sshd so that it counts at the next boot, all or nothing: node patch-sshd.js IMAGE
import { describeChange, openImage, operate } from 'drydisk'

const [place = 'disk.qcow2'] = process.argv.slice(2)
await using image = await openImage(place, { writable: true })
const { fs } = await image.guest()

const { changes } = await operate.sshd(fs, { keyword: 'PermitRootLogin', value: 'prohibit-password' })
for (const { setting, before, after, file } of changes)
  console.log(`${setting}: ${before} → ${after} (${file})`)

for await (const change of image.diff()) console.log(describeChange(change))
await image.commit() // until here, and after every error, the image is what it was
