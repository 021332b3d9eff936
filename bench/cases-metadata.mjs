// What reads tables only: check, map, measure and info, on a disk of 1 TiB of which a tenth has clusters; and what that costs
// from 1 GiB to 8 TiB of virtual size with the same amount of data. compare reads data, of two copies of one image.
import { copyFileSync } from 'node:fs'
import { join } from 'node:path'
import { have } from './harness.mjs'
import { makeMetadataImage } from './metadata-image.mjs'

const GIB = 2 ** 30
/** @param {number} gib */
const named = gib => (gib < 1024 ? `${gib} GiB` : `${gib / 1024} TiB`)

/**
 * @param {{ folder: string, image: string, cli: (...args: string[]) => import('./harness.mjs').Contender }} setting
 * @returns {Record<string, () => import('./harness.mjs').Case>}
 */
export function metadataCases({ folder, image, cli }) {
  const made = new Map()
  /** @param {number} size @param {number} data in GiB */
  const imageOf = (size, data) => {
    const path = join(folder, `metadata-${size}-${data}.qcow2`)
    if (!made.has(path)) made.set(path, makeMetadataImage(path, { size: size * GIB, data: data * GIB }))
    return path
  }
  /** @param {string[]} args */
  const qemu = (...args) =>
    have('qemu-img') ? { name: `qemu-img ${args[0]}`, command: ['qemu-img', ...args] } : undefined

  /** @type {Record<string, () => import('./harness.mjs').Case>} */
  const cases = {}
  /** @param {string} name @param {string} title @param {string[]} args @param {number} size @param {number} data */
  const add = (name, title, args, size, data) => {
    cases[name] = () => {
      const path = imageOf(size, data)
      return {
        title: `${title}, ${named(size)} with ${data} GiB allocated`,
        limit: '2 times qemu-img, 300 MB',
        drydisk: cli(...args, path),
        peer: qemu(...args, path),
      }
    }
  }
  add('check', 'check', ['check'], 1024, 102.4)
  add('map', 'map', ['map', '--output', 'json'], 1024, 102.4)
  add('measure', 'measure', ['measure', '-O', 'qcow2'], 1024, 102.4)
  add('info-1t', 'info', ['info'], 1024, 102.4)
  for (const size of [1, 64, 1024, 8192]) {
    add(`check-${size}`, 'check', ['check'], size, 0.5)
    add(`measure-${size}`, 'measure', ['measure', '-O', 'qcow2'], size, 0.5)
  }
  cases.compare = () => {
    const other = join(folder, 'compared.qcow2')
    copyFileSync(image, other)
    return {
      title: 'compare with a copy of the image',
      drydisk: cli('compare', image, other),
      peer: qemu('compare', image, other),
    }
  }
  return cases
}
