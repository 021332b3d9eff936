// Makes a qcow2 image whose metadata is that of a large, partly allocated disk, and whose data clusters are holes of the file:
// what reads metadata only (check, map, measure, info) has all its work, and the file takes a few megabytes of disk.
import { closeSync, ftruncateSync, openSync, writeSync } from 'node:fs'
import { pathToFileURL } from 'node:url'

const CLUSTER = 65_536
const L2_ENTRIES = CLUSTER / 8
const REFCOUNTS = CLUSTER / 2
const COPIED = 0x8000_0000
/** Clusters of the longest run of data; runs of every length up to it come up. */
const MAX_RUN = 512

/** A small generator of pseudo-random numbers (mulberry32): the same image in every run. @param {number} seed */
function random(seed) {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

/** Guest clusters with data, as runs with gaps between them. @param {number} clusters @param {number} wanted */
function dataRuns(clusters, wanted) {
  const next = random(1)
  const runs = []
  const gap = (clusters - wanted) / wanted
  let left = wanted
  for (let at = 0; at < clusters && left > 0; ) {
    const count = Math.min(1 + Math.floor(next() * MAX_RUN), clusters - at, left)
    runs.push({ first: at, count })
    left -= count
    at += count + Math.round(count * gap * next() * 2)
  }
  return runs
}

/**
 * @param {string} path
 * @param {{ size: number, data: number }} options bytes of the virtual disk, and of it with clusters (about)
 * @returns {number} clusters with data
 */
export function makeMetadataImage(path, { size, data }) {
  const clusters = Math.ceil(size / CLUSTER)
  const l1Size = Math.ceil(clusters / L2_ENTRIES)
  const l1Clusters = Math.ceil((l1Size * 8) / CLUSTER)
  const file = openSync(path, 'w')
  const put = (/** @type {Uint8Array} */ bytes, /** @type {number} */ cluster) =>
    writeSync(file, bytes, 0, bytes.length, cluster * CLUSTER)
  const setEntry = (
    /** @type {DataView} */ view,
    /** @type {number} */ index,
    /** @type {number} */ cluster,
  ) => {
    const offset = cluster * CLUSTER
    view.setUint32(index * 8, (Math.floor(offset / 2 ** 32) | COPIED) >>> 0)
    view.setUint32(index * 8 + 4, offset >>> 0)
  }

  const l1 = new DataView(new ArrayBuffer(l1Clusters * CLUSTER))
  const l2 = new DataView(new ArrayBuffer(CLUSTER))
  // 0: header, then the L1 table, then L2 tables and data as a guest's writes would have them allocated.
  let end = 1 + l1Clusters
  let table = -1
  let place = 0
  let total = 0
  // Pages of an L2 table without an entry are left out of the file.
  const flush = () => {
    const bytes = new Uint8Array(l2.buffer)
    for (let at = 0; at < CLUSTER; at += 4096)
      if (bytes.subarray(at, at + 4096).some(byte => byte !== 0))
        writeSync(file, bytes, at, 4096, place * CLUSTER + at)
    bytes.fill(0)
  }
  for (const { first, count } of dataRuns(clusters, Math.max(1, Math.floor(data / CLUSTER))))
    for (let cluster = first; cluster < first + count; cluster++) {
      const index = Math.floor(cluster / L2_ENTRIES)
      if (index !== table) {
        if (table >= 0) flush()
        table = index
        place = end++
        setEntry(l1, index, place)
      }
      setEntry(l2, cluster % L2_ENTRIES, end++)
      total++
    }
  if (table >= 0) flush()
  put(new Uint8Array(l1.buffer), 1)

  // The refcount structure comes last and counts itself.
  let blocks = 0
  let tableClusters = 0
  for (;;) {
    const needed = Math.ceil((end + blocks + tableClusters) / REFCOUNTS)
    const neededTable = Math.ceil((needed * 8) / CLUSTER)
    if (needed === blocks && neededTable === tableClusters) break
    blocks = needed
    tableClusters = neededTable
  }
  const refcountTable = new DataView(new ArrayBuffer(tableClusters * CLUSTER))
  const all = end + blocks + tableClusters
  for (let block = 0; block < blocks; block++) {
    refcountTable.setUint32(block * 8, Math.floor(((end + block) * CLUSTER) / 2 ** 32))
    refcountTable.setUint32(block * 8 + 4, ((end + block) * CLUSTER) >>> 0)
    const bytes = new Uint8Array(CLUSTER)
    for (let index = 0; index < Math.min(REFCOUNTS, all - block * REFCOUNTS); index++)
      bytes[index * 2 + 1] = 1
    put(bytes, end + block)
  }
  put(new Uint8Array(refcountTable.buffer), end + blocks)

  const header = new DataView(new ArrayBuffer(112))
  header.setUint32(0, 0x514649fb)
  header.setUint32(4, 3)
  header.setUint32(20, 16)
  header.setBigUint64(24, BigInt(size))
  header.setUint32(36, l1Size)
  header.setBigUint64(40, BigInt(CLUSTER))
  header.setBigUint64(48, BigInt((end + blocks) * CLUSTER))
  header.setUint32(56, tableClusters)
  header.setUint32(96, 4)
  header.setUint32(100, 104)
  put(new Uint8Array(header.buffer), 0)
  ftruncateSync(file, all * CLUSTER)
  closeSync(file)
  return total
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const [path, size, data] = process.argv.slice(2)
  if (path === undefined || size === undefined || data === undefined) {
    console.error('usage: node bench/metadata-image.mjs OUT SIZE-IN-GIB DATA-IN-GIB')
    process.exit(2)
  }
  console.log(
    makeMetadataImage(path, { size: Number(size) * 2 ** 30, data: Number(data) * 2 ** 30 }),
    'clusters',
  )
}
