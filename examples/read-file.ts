// Reads a file of a guest: node read-file.js IMAGE PATH
import { openImage } from 'drydisk'

const [place = 'disk.qcow2', path = '/etc/os-release'] = process.argv.slice(2)
await using image = await openImage(place)
const { fs } = await image.guest()
process.stdout.write(await fs.readFile(path))
