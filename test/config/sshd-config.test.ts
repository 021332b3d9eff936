import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  decidingDirectives,
  includesFolder,
  parseSshdLine,
  resolveSshdConfig,
  type SshdFiles,
  setInSshdFile,
} from '../../src/config/sshd-config.ts'
import { checkSshdSetting } from '../../src/config/sshd-keywords.ts'
import { haveTool, propertySettings, run, runOk, temporaryFolder } from '../support/native.ts'

function inMemory(files: Record<string, string>): SshdFiles {
  return {
    read: async path => files[path],
    glob: async pattern => {
      const regexp = new RegExp(`^${pattern.replace(/[.]/g, '\\.').replace(/\*/g, '[^/]*')}$`)
      return Object.keys(files)
        .filter(path => regexp.test(path))
        .sort()
    },
  }
}

describe('sshd_config lines', () => {
  const cases: [string, string | undefined, string[]?][] = [
    ['PermitRootLogin no', 'PermitRootLogin', ['no']],
    ['\tport=22', 'port', ['22']],
    ['Port = 22', 'Port', ['22']],
    ['Port\t22 # why', 'Port', ['22']],
    ['Banner "/etc/my banner"', 'Banner', ['/etc/my banner']],
    ["Banner '/etc/my banner'", 'Banner', ['/etc/my banner']],
    ['AllowUsers a  b\tc', 'AllowUsers', ['a', 'b', 'c']],
    ['# Port 22', undefined],
    ['   ', undefined],
    ['UsePAM yes\r', 'UsePAM', ['yes']],
    ['Port', 'Port', []],
  ]
  for (const [line, keyword, args] of cases)
    it(`reads ${JSON.stringify(line)}`, () => {
      expect(parseSshdLine(line)?.keyword).toBe(keyword)
      if (args) expect(parseSshdLine(line)?.args).toEqual(args)
    })

  it('sets a value where it counts', () => {
    expect(setInSshdFile('#Port 22\nUsePAM yes\n\n# for git\nMatch User git\n  Port 1\n', 'Port', '23')).toBe(
      '#Port 22\nPort 23\nUsePAM yes\n\n# for git\nMatch User git\n  Port 1\n',
    )
    expect(setInSshdFile('UsePAM yes\n\n# for git\nMatch User git\n', 'Port', '23')).toBe(
      'UsePAM yes\n\nPort 23\n# for git\nMatch User git\n',
    )
    expect(setInSshdFile('port 22\nPORT=24\nUsePAM yes', 'Port', '23')).toBe('Port 23\n#PORT=24\nUsePAM yes')
    expect(setInSshdFile('UsePAM yes\r\n', 'Port', '23')).toBe('UsePAM yes\r\nPort 23\r\n')
    expect(setInSshdFile('', 'Port', '23')).toBe('Port 23\n')
  })

  it('knows an Include of the folder, outside of Match alone', () => {
    const folder = '/etc/ssh/sshd_config.d'
    expect(includesFolder('Include /etc/ssh/sshd_config.d/*.conf\n', folder)).toBe(true)
    expect(includesFolder('include sshd_config.d/*.conf\n', folder)).toBe(true)
    expect(includesFolder('#Include /etc/ssh/sshd_config.d/*.conf\n', folder)).toBe(false)
    expect(includesFolder('Match all\nInclude /etc/ssh/sshd_config.d/*.conf\n', folder)).toBe(false)
  })

  it('refuses what sshd would not start with', () => {
    for (const [keyword, value] of [
      ['PermitRotLogin', 'yes'],
      ['PermitRootLogin', 'maybe'],
      ['PasswordAuthentication', 'on'],
      ['Port', ''],
      ['Port', '22\nPermitRootLogin yes'],
      ['Match', 'all'],
    ] as const)
      expect(() => checkSshdSetting(keyword, value), `${keyword} ${value}`).toThrow()
    expect(checkSshdSetting('permitrootlogin', 'YES')).toBe('PermitRootLogin')
  })

  it.skipIf(!haveTool('sshd') || !haveTool('ssh-keygen'))('takes the values that sshd -t takes', async () => {
    const folder = temporaryFolder()
    const key = join(folder, 'key')
    await runOk('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', key])
    mkdirSync('/run/sshd', { recursive: true })
    const keywords = [
      'AddressFamily',
      'AllowTcpForwarding',
      'ClientAliveInterval',
      'Compression',
      'GatewayPorts',
    ]
    keywords.push('IgnoreRhosts', 'LogLevel', 'LoginGraceTime', 'MaxAuthTries', 'PermitTunnel', 'Port')
    for (const keyword of keywords)
      for (const value of [
        'word',
        '0',
        '22',
        '65536',
        '-1',
        '1m30s',
        '10:30:60',
        'YES',
        'any',
        'local',
        'INFO',
        '1 2',
      ]) {
        writeFileSync(join(folder, 'conf'), `${keyword} ${value}\n`)
        const { status } = await run('/usr/sbin/sshd', ['-t', '-f', join(folder, 'conf'), '-h', key])
        const check = expect(() => checkSshdSetting(keyword, value), `${keyword} ${value}`)
        if (status === 0) check.not.toThrow()
        else check.toThrow()
      }
  })

  it('bounds files that include each other', async () => {
    const files = inMemory({ '/a': 'Include /a\n' })
    await expect(resolveSshdConfig('/a', files)).rejects.toMatchObject({ code: 'ELOOP' })
  })

  it.skipIf(!haveTool('sshd') || !haveTool('ssh-keygen'))(
    'finds the value that sshd -T finds (property)',
    async () => {
      const folder = temporaryFolder()
      const key = join(folder, 'key')
      await runOk('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', key])
      mkdirSync('/run/sshd', { recursive: true })
      const line = fc.constantFrom(
        'PermitRootLogin yes',
        'permitrootlogin=no',
        '  PermitRootLogin  "forced-commands-only" # c',
        'PasswordAuthentication no',
        'PasswordAuthentication yes',
        'MaxSessions 3',
        'MaxSessions\t7',
        '# PermitRootLogin no',
        '',
        'Match User nobody-at-all',
        'Match all',
        'Include a.conf',
        'Include d/*.conf',
        'Include "b.conf" a.conf',
      )
      const file = fc.array(line, { maxLength: 6 }).map(lines => `${lines.join('\n')}\n`)
      const leaf = file.map(text => text.replaceAll(/^Include.*$/gm, ''))
      let round = 0
      await fc.assert(
        fc.asyncProperty(file, leaf, leaf, leaf, leaf, async (main, a, b, d1, d2) => {
          const base = join(folder, String(round++))
          const local = (text: string) => text.replaceAll(/(\s"?)((?:a|b|d\/\*)\.conf)/g, `$1${base}/$2`)
          const files = {
            [`${base}/main`]: local(main),
            [`${base}/a.conf`]: a,
            [`${base}/b.conf`]: b,
            [`${base}/d/1.conf`]: d1,
            [`${base}/d/2.conf`]: d2,
          }
          for (const [path, text] of Object.entries(files)) {
            mkdirSync(dirname(path), { recursive: true })
            writeFileSync(path, text)
          }
          const result = await run('/usr/sbin/sshd', ['-T', '-f', `${base}/main`, '-h', key])
          expect(result.stderr).toBe('')
          const directives = await resolveSshdConfig(`${base}/main`, inMemory(files))
          for (const [keyword, unset] of [
            ['permitrootlogin', 'without-password'],
            ['passwordauthentication', 'yes'],
            ['maxsessions', '10'],
          ] as const) {
            const [deciding] = decidingDirectives(directives, keyword)
            const real = new RegExp(`^${keyword} (.*)$`, 'm').exec(result.stdout)?.[1]
            expect(deciding?.args.join(' ') ?? unset, `${keyword} in ${JSON.stringify(files)}`).toBe(real)
          }
        }),
        propertySettings(60),
      )
    },
  )
})
