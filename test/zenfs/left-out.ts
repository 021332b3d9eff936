const SYNC = 'looks at what it did by synchronous calls, which an image has none of'

/**
 * Tests of ZenFS that cannot pass over an image, and why. Those that say themselves that they need synchronous calls, or permissions of
 * symbolic links, are skipped by the flags of the setup.
 */
export const LEFT_OUT: ReadonlyMap<string, string> = new Map([
  ['cpSync preserves a symlink #304', SYNC],
  ['WriteStream writes data correctly', SYNC],
  ['utimes works', SYNC],
  ['new Date(...)', SYNC],
  ['new Date()', SYNC],
  ['number', SYNC],
  ['Changes are detected with watchFile()', 'watchFile looks again and again by synchronous calls'],
])
