import { execFileSync, spawnSync } from 'node:child_process'
import { cpus, release, totalmem } from 'node:os'
import { fileURLToPath } from 'node:url'

const measure = fileURLToPath(new URL('measure.py', import.meta.url))

/**
 * @typedef {{ status: number, wall: number, user: number, sys: number, peak: number }} Sample
 * @typedef {{ name: string, command: string[], prepare?: () => void, statuses?: number[] }} Contender
 * @typedef {{ title: string, limit?: string, runs?: number, sizes?: () => string[], drydisk: Contender, peer?: Contender | undefined }} Case
 */

/** @param {string} tool */
export function have(tool) {
  return spawnSync('sh', ['-c', `command -v ${tool}`]).status === 0
}

/** One line that says what the figures were measured on. */
export function machine() {
  const [cpu] = cpus()
  return `${cpu?.model ?? 'unknown processor'}, ${cpus().length} cores, ${(totalmem() / 2 ** 30).toFixed(0)} GiB, Linux ${release()}, Node ${process.versions.node}`
}

// Node reads the certificates that this names each time it starts: 50 ms that have nothing to do with what is measured.
const { NODE_EXTRA_CA_CERTS, ...env } = process.env

/** @param {Contender} contender @returns {Sample} */
function once(contender) {
  contender.prepare?.()
  const sample = JSON.parse(
    execFileSync('python3', [measure, ...contender.command], { encoding: 'utf8', env }),
  )
  if (!(contender.statuses ?? [0]).includes(sample.status))
    throw new Error(`${contender.command.join(' ')}: exit ${sample.status}`)
  return sample
}

/** @param {number[]} values */
function median(values) {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

/** @param {Sample[]} samples */
function summary(samples) {
  const walls = samples.map(s => s.wall)
  return {
    wall: median(walls),
    min: Math.min(...walls),
    max: Math.max(...walls),
    cpu: median(samples.map(s => s.user + s.sys)),
    peak: Math.max(...samples.map(s => s.peak)),
  }
}

/** @param {string} name @param {ReturnType<typeof summary>} s */
function row(name, s) {
  const seconds = (/** @type {number} */ v) => `${v.toFixed(3)} s`
  return `  ${name.padEnd(22)} wall ${seconds(s.wall)} (${s.min.toFixed(3)} to ${s.max.toFixed(3)}), cpu ${seconds(s.cpu)}, peak ${(s.peak / 1e6).toFixed(0)} MB`
}

/**
 * Runs one case: drydisk and its peer in turn (A B A B …) so that a drift of the machine's speed meets both, after one
 * uncounted run each; prints medians and their ratio.
 * @param {Case} benchCase
 */
export function compare({
  title,
  limit,
  runs = Number(process.env.DRYDISK_BENCH_RUNS ?? 5),
  sizes,
  drydisk,
  peer,
}) {
  console.log(`\n${title}${limit === undefined ? '' : ` (limit: ${limit})`}`)
  const contenders = peer === undefined ? [drydisk] : [drydisk, peer]
  const samples = contenders.map(() => /** @type {Sample[]} */ ([]))
  for (let run = -1; run < runs; run++)
    for (const [i, contender] of contenders.entries()) {
      const sample = once(contender)
      if (run >= 0) samples[i]?.push(sample)
    }
  const summaries = samples.map(summary)
  for (const [i, contender] of contenders.entries()) console.log(row(contender.name, summaries[i]))
  if (summaries[1] !== undefined)
    console.log(`  ratio of medians       ${(summaries[0].wall / summaries[1].wall).toFixed(4)}`)
  else console.log('  ratio of medians       no peer installed')
  if (sizes !== undefined) console.log(`  size of the results    ${sizes().join(', ')}`)
}
