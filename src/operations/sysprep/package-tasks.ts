import { emptyCache, removeGlobs } from './removal.ts'
import type { SysprepContext, SysprepTask } from './task.ts'

/** Packages and metadata that apt, dnf, yum, zypper, apk and pacman can fetch again. */
const CACHES = [
  '/var/cache/apt/archives',
  '/var/cache/dnf',
  '/var/cache/libdnf5',
  '/var/cache/yum',
  '/var/cache/zypp*',
  '/var/cache/apk',
  '/var/cache/pacman/pkg',
]

async function emptyFolders(context: SysprepContext, globs: readonly string[]): Promise<void> {
  // apt's lock files hold nothing, and apt wants its folders.
  for (const glob of globs)
    for (const folder of await context.tree.glob(glob))
      await emptyCache(context, folder, path => path.endsWith('/lock'))
}

export const packageTasks: readonly SysprepTask[] = [
  {
    name: 'package-manager-cache',
    byDefault: true,
    summary: 'remove the packages that the package manager keeps',
    run: context => emptyFolders(context, CACHES),
  },
  {
    name: 'apt-lists',
    byDefault: true,
    ours: true,
    summary: 'remove the lists of packages of apt, and its caches of them (apt update fetches them again)',
    async run(context) {
      await emptyFolders(context, ['/var/lib/apt/lists'])
      await removeGlobs(context, ['/var/cache/apt/*pkgcache.bin'])
    },
  },
]
