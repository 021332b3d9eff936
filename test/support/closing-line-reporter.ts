import type { Reporter, TestModule } from 'vitest/node'

/** Ends a run with the line `N passed, N failed[, N skipped]`, which scripts read. */
export default class ClosingLineReporter implements Reporter {
  onTestRunEnd(modules: ReadonlyArray<TestModule>): void {
    let passed = 0
    let failed = 0
    let skipped = 0
    for (const module of modules) {
      // A module that fails to load has no tests, and still is a failure.
      if (
        module.state() === 'failed' &&
        [...module.children.allTests()].every(t => t.result().state !== 'failed')
      )
        failed++
      for (const test of module.children.allTests()) {
        const { state } = test.result()
        if (state === 'passed') passed++
        else if (state === 'failed') failed++
        else skipped++
      }
    }
    process.stdout.write(`\n${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}\n`)
  }
}
