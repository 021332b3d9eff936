// A compressed copy without free space, which Ctrl-C stops: node convert-with-progress.js SOURCE TARGET
import { convert, isDrydiskError } from 'drydisk'

const [source = 'disk.raw', target = 'disk.qcow2'] = process.argv.slice(2)
const stop = new AbortController()
process.once('SIGINT', () => stop.abort())
let told = -1
try {
  const { size, fileSize, free } = await convert(source, target, {
    format: 'qcow2',
    compress: true,
    sparsify: true,
    signal: stop.signal,
    onProgress: ({ done, total }) => {
      const percent = Math.floor((100 * done) / total)
      if (percent > told) console.log(`${percent} %`)
      told = percent
    },
  })
  console.log(`a disk of ${size} bytes, of which ${free?.bytes} are free, in a file of ${fileSize} bytes`)
} catch (error) {
  if (!isDrydiskError(error, 'ERR_ABORTED')) throw error
  console.log('stopped: there is no target')
}
