/** What the comments of an init script say about when it runs. */
export interface InitHeader {
  /** `# chkconfig: LEVELS START STOP` of chkconfig(8); `levels` is empty for `-`. */
  readonly chkconfig?: { readonly levels: string; readonly start: number; readonly stop: number }
  /** The LSB's comment block. */
  readonly lsb?: {
    readonly provides: readonly string[]
    readonly requiredStart: readonly string[]
    readonly shouldStart: readonly string[]
    readonly defaultStart: readonly string[]
    readonly defaultStop: readonly string[]
  }
}

export function parseInitHeader(text: string): InitHeader {
  const chkconfig = /^#\s*chkconfig:\s*([0-6]+|-)\s+(\d{1,2})\s+(\d{1,2})\s*$/m.exec(text)
  const block = /^### BEGIN INIT INFO\s*$([\s\S]*?)^### END INIT INFO/m.exec(text)?.[1]
  const words = (name: string) =>
    (new RegExp(`^#[ \\t]*${name}:[ \\t]*(.*)$`, 'mi').exec(block ?? '')?.[1] ?? '')
      .split(/[\s,]+/)
      .filter(word => word !== '')
  return {
    ...(chkconfig
      ? {
          chkconfig: {
            levels: chkconfig[1] === '-' ? '' : (chkconfig[1] ?? ''),
            start: Number(chkconfig[2]),
            stop: Number(chkconfig[3]),
          },
        }
      : {}),
    ...(block === undefined
      ? {}
      : {
          lsb: {
            provides: words('Provides'),
            requiredStart: words('Required-Start'),
            shouldStart: words('Should-Start'),
            defaultStart: words('Default-Start').filter(word => /^[0-6S]$/.test(word)),
            defaultStop: words('Default-Stop').filter(word => /^[0-6]$/.test(word)),
          },
        }),
  }
}
