// Whole-process figures of the main job, each paired with the tool that people use for it, in the same run.
//   npm run bench [-- NAME…]
// DRYDISK_BENCH_IMAGE names the qcow2 image of a guest (only copies of it are written); without it a small demo guest
// is made. DRYDISK_BENCH_RUNS (5) is the number of counted runs. Peers (guestfish, virt-customize, qemu-img) are measured where they are installed.
import { execFileSync } from 'node:child_process'
import { copyFileSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { convertCases } from './cases-convert.mjs'
import { metadataCases } from './cases-metadata.mjs'
import { compare, have, machine } from './harness.mjs'

const main = resolve('dist/bin/main.js')
const given = process.env.DRYDISK_BENCH_IMAGE
const folder = mkdtempSync(join(given === undefined ? tmpdir() : dirname(resolve(given)), 'drydisk-bench-'))
process.on('exit', () => rmSync(folder, { recursive: true, force: true }))
process.on('SIGINT', () => process.exit(130))

const image = given === undefined ? join(folder, 'demo.qcow2') : resolve(given)
if (given === undefined) execFileSync(process.execPath, [main, 'make-fs', '--demo', image])
const copy = join(folder, 'copy.qcow2')
const freshCopy = () => copyFileSync(image, copy)
const wanted = process.argv.slice(2)

const cli = (/** @type {string[]} */ ...args) => ({
  name: 'drydisk',
  command: [process.execPath, main, ...args],
})

const edits = [
  '--root-password',
  'password:benchmark',
  '--ssh-inject',
  'root:string:ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEPecB1V+gvC6dzhdChYg+uyfbtvSPlcwHRriVGwh4oS bench@example',
  '--hostname',
  'bench.example',
]
const ownEdits = [
  '--serial-console',
  '--sshd',
  'PermitRootLogin=yes',
  '--sshd',
  'PasswordAuthentication=yes',
  '--qemu-ga',
  '--cloud-init',
  'datasource_list=[ConfigDrive, OpenStack]',
  '--no-zeroconf',
]

const big = join(folder, '2g.bin')

/** @type {Record<string, () => import('./harness.mjs').Case>} */
const cases = {
  version: () => ({
    title: 'starting: --version, and node with nothing to do',
    limit: '40 ms more than node',
    drydisk: cli('--version'),
    peer: { name: 'node -e 0', command: [process.execPath, '-e', '0'] },
  }),
  cat: () => ({
    title: 'cat /etc/os-release',
    limit: '0.25 s, 100 MB',
    drydisk: cli('cat', image, '/etc/os-release'),
    peer: have('guestfish')
      ? { name: 'guestfish', command: ['guestfish', '--ro', '-a', image, '-i', 'cat', '/etc/os-release'] }
      : undefined,
  }),
  info: () => ({
    title: 'info (drydisk opens the guest too)',
    drydisk: cli('info', image),
    peer: have('qemu-img') ? { name: 'qemu-img info', command: ['qemu-img', 'info', image] } : undefined,
  }),
  customize: () => ({
    title: 'the guide edits in one customize, commit and fsync included',
    limit: '0.6 s, 150 MB',
    drydisk: { ...cli('customize', copy, ...edits, ...ownEdits), prepare: freshCopy },
    peer: have('virt-customize')
      ? {
          // virt-customize has no option for the other edits; it is given less to do.
          name: 'virt-customize',
          command: ['virt-customize', '-q', '-a', copy, ...edits],
          prepare: freshCopy,
        }
      : undefined,
  }),
  doctor: () => ({
    title: 'doctor: is it ready for OpenStack',
    limit: '0.5 s',
    // 1: something is not.
    drydisk: { ...cli('doctor', image), statuses: [0, 1] },
  }),
  apply: () => ({
    title: 'apply of the whole OpenStack recipe',
    limit: '0.8 s',
    drydisk: { ...cli('apply', 'openstack-ubuntu', copy), prepare: freshCopy },
  }),
  sysprep: () => ({
    title: 'sysprep',
    limit: '1.5 s',
    drydisk: { ...cli('sysprep', copy), prepare: freshCopy },
    peer: have('virt-sysprep')
      ? { name: 'virt-sysprep', command: ['virt-sysprep', '-q', '-a', copy], prepare: freshCopy }
      : undefined,
  }),
  'copy-in': () => {
    const chunk = Buffer.alloc(1 << 20, 'not all zeros ')
    writeFileSync(big, '')
    for (let i = 0; i < 2048; i++) writeFileSync(big, chunk, { flag: 'a' })
    return {
      title: 'copying a file of 2 GiB into the image',
      limit: '300 MB',
      drydisk: { ...cli('cp', big, `${copy}:/root/2g.bin`), prepare: freshCopy },
      peer: have('guestfish')
        ? {
            name: 'guestfish',
            command: ['guestfish', '--rw', '-a', copy, '-i', 'copy-in', big, '/root/'],
            prepare: freshCopy,
          }
        : undefined,
    }
  },
  ...convertCases({ folder, image, main, cli }),
  ...metadataCases({ folder, image, cli }),
}

console.log(machine())
console.log(
  `image: ${given === undefined ? 'demo guest' : given}, ${(statSync(image).size / 1e6).toFixed(0)} MB`,
)
for (const [name, make] of Object.entries(cases))
  if (wanted.length === 0 ? given !== undefined || name !== 'copy-in' : wanted.includes(name)) compare(make())
// In a process of its own: what is compared there is no command.
if (wanted.length === 0 || wanted.includes('filesystems'))
  execFileSync(process.execPath, [fileURLToPath(new URL('filesystems.mjs', import.meta.url))], {
    stdio: 'inherit',
  })
