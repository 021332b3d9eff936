import { defineConfig } from 'vitest/config'

export default defineConfig({
  // Examples import drydisk as others do.
  resolve: { tsconfigPaths: true },
  test: {
    root: new URL('..', import.meta.url).pathname,
    include: ['test/real/**/*.test.ts'],
    pool: 'forks',
    fileParallelism: false,
    testTimeout: 900_000,
    hookTimeout: 1_800_000,
    reporters: ['verbose', './test/support/closing-line-reporter.ts'],
  },
})
