import { readFileSync } from 'node:fs'

/** The same file from src/cli, dist/cli and dist/bin. */
const packageFile = new URL('../../package.json', import.meta.url)

export function drydiskVersion(): string {
  return String(JSON.parse(readFileSync(packageFile, 'utf8')).version)
}
