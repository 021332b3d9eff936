/** What /etc/selinux/config says (selinux_config(5)); where it says nothing, libselinux's own choice. */
export interface SelinuxConfig {
  readonly mode: 'enforcing' | 'permissive' | 'disabled'
  /** The folder of the policy below /etc/selinux. */
  readonly type: string
}

/**
 * As selinux_getenforcemode() and init_selinux_config() of libselinux read it: the first `SELINUX=` at the start of a line that has
 * a meaning, and the last `SELINUXTYPE=`. Without a mode the policy is loaded and nothing enforced.
 */
export function parseSelinuxConfig(text: string): SelinuxConfig {
  let mode: SelinuxConfig['mode'] | undefined
  let type = 'targeted'
  for (const line of text.split('\n')) {
    const found = /^SELINUX=\s*(enforcing|permissive|disabled)/i.exec(line)?.[1]?.toLowerCase()
    if (found === 'enforcing' || found === 'permissive' || found === 'disabled') mode ??= found
    const named = /^\s*SELINUXTYPE=\s*(.*\S)/i.exec(line)?.[1]
    if (named && !named.includes('/') && named !== '.' && named !== '..') type = named
  }
  return { mode: mode ?? 'permissive', type }
}
