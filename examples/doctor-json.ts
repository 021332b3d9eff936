// Whether an image is ready for OpenStack, as JSON: node doctor-json.js IMAGE
import { doctor } from 'drydisk'

const [image = 'disk.qcow2'] = process.argv.slice(2)
const { ready, findings } = await doctor(image, { profile: 'openstack' })
console.log(
  JSON.stringify({ image, ready, findings: findings.filter(({ status }) => status !== 'ok') }, null, 2),
)
process.exitCode = ready ? 0 : 1
