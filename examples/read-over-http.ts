// Reads a file of an image on a web server, and fetches no more than that takes: node read-over-http.js URL PATH
import { openImage } from 'drydisk'

const [url = 'https://example.org/disk.qcow2', path = '/etc/os-release'] = process.argv.slice(2)
await using image = await openImage(new URL(url))
const { fs } = await image.guest()
console.log(await fs.readText(path))
const { bytes = 0, size = 0 } = image.fetched ?? {}
console.log(`fetched ${bytes} of ${size} bytes`)
