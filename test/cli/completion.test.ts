import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { commands } from '../../src/cli/commands.ts'
import { describeCommands, OPTION_VALUES } from '../../src/cli/completion/describe.ts'
import { cli, cliOk } from '../support/cli.ts'
import { haveTool, runOk, temporaryFolder } from '../support/native.ts'

const folder = temporaryFolder()
const scripts = { bash: '', zsh: '', fish: '' }

beforeAll(async () => {
  for (const shell of ['bash', 'zsh', 'fish'] as const) {
    scripts[shell] = join(folder, shell === 'zsh' ? '_drydisk' : `drydisk.${shell}`)
    writeFileSync(scripts[shell], await cliOk('completion', shell))
  }
  const files = join(folder, 'files')
  mkdirSync(join(files, 'tree'), { recursive: true })
  for (const name of ['web.qcow2', 'two words.qcow2', 'disk.raw', 'site.yaml', 'notes.txt'])
    writeFileSync(join(files, name), '')
})

/** What a line is completed to, by each shell: the words offered for its last word. */
const cases: readonly (readonly [line: readonly string[], offered: readonly string[]])[] = [
  [['sparsi'], ['sparsify']],
  [['com'], ['compact', 'compare', 'commit', 'completion']],
  [['convert', '--compressi'], ['--compression']],
  [['convert', '-O', 'qc'], ['qcow2']],
  [
    ['convert', '--compression', ''],
    ['zlib', 'zstd'],
  ],
  [
    ['make-fs', '--type', ''],
    ['ext4', 'xfs'],
  ],
  [['--version', 'sparsi'], ['sparsify']],
  [['find', '--type', ''], []],
  [['info', 'web'], ['web.qcow2']],
  [['info', '--format', 'qcow2', 'web'], ['web.qcow2']],
  [['cat', 'web.qcow2', ''], []],
  [['cp', 'web.qcow2', 'dis'], ['disk.raw']],
  [['convert', '-B', 'web'], ['web.qcow2']],
  [['customize', '--selinux-mode', 'p'], ['permissive']],
  [['customize', '--commands-from-file', 'note'], ['notes.txt']],
  [['apply', 'openstack-u'], ['openstack-ubuntu']],
  [['apply', 'sit'], ['site.yaml']],
  [['apply', 'site.yaml', 'web'], ['web.qcow2']],
  [['apply', '--show', 'openstack-c'], ['openstack-centos']],
  [['snapshot', 'cr'], ['create']],
  [['snapshot', 'create', 'web'], ['web.qcow2']],
  [['make-fs', 'tr'], ['tree']],
]

test('every command has a place in every script', async () => {
  for (const shell of ['bash', 'zsh', 'fish'] as const) {
    const script = await cliOk('completion', shell)
    for (const { name } of commands) expect(script).toContain(` ${name}`)
  }
})

test('what is said of an option is said of one that there is', async () => {
  const known = new Set(
    (await describeCommands()).flatMap(({ name, options }) =>
      options.flatMap(({ long, value }) => (value === undefined ? [] : [long, `${name} ${long}`])),
    ),
  )
  expect(Object.keys(OPTION_VALUES).filter(name => !known.has(name))).toEqual([])
})

test('as JSON; another shell is wrong usage', async () => {
  const { shell, script } = JSON.parse(await cliOk('completion', 'zsh', '--json'))
  expect(shell).toBe('zsh')
  expect(script).toMatch(/^#compdef drydisk\n/)
  const { status, stderr } = await cli('completion', 'tcsh')
  expect({ status, stderr }).toEqual({
    status: 2,
    stderr: 'drydisk: the shell is tcsh; expected bash, zsh, fish\n',
  })
})

describe.skipIf(!haveTool('bash'))('bash (skipped where it is not installed)', () => {
  /** Its programmable completion, as readline would call it. */
  async function complete(words: readonly string[]): Promise<string[]> {
    const program = `
      cd "$1" && source "$2" && shift 2
      complete -p drydisk >/dev/null || exit 1
      COMP_WORDS=(drydisk "$@") COMP_CWORD=$# COMP_LINE="drydisk $*" COMP_POINT=1000
      _drydisk drydisk "\${!#}" ''
      printf '%s\\n' "\${COMPREPLY[@]}"`
    const stdout = await runOk('bash', [
      '--norc',
      '-c',
      program,
      'bash',
      join(folder, 'files'),
      scripts.bash,
      ...words,
    ])
    return stdout.split('\n').filter(line => line !== '')
  }

  test('takes the script', async () => {
    await runOk('bash', ['-n', scripts.bash])
    const stdout = await runOk('bash', ['--norc', '-c', `source ${scripts.bash}; complete -p drydisk`])
    expect(stdout).toBe('complete -F _drydisk drydisk\n')
  })

  test.each(cases)('%j', async (line, offered) => {
    expect((await complete(line)).sort()).toEqual([...offered].sort())
  })

  test('options of a command, and no others', async () => {
    const offered = await complete(['convert', '-'])
    expect(offered).toEqual(expect.arrayContaining(['-O', '--sparsify', '--help']))
    expect(offered).not.toContain('--root-password')
    expect(offered).not.toContain('--salvage')
  })

  test('images before other files, with folders; all files where none is one', async () => {
    expect((await complete(['info', ''])).sort()).toEqual([
      'disk.raw',
      'tree',
      'two words.qcow2',
      'web.qcow2',
    ])
    expect(await complete(['info', 'note'])).toEqual(['notes.txt'])
  })

  test('values joined by =, which bash splits, and paths in an image', async () => {
    expect(await complete(['convert', '--compression', '=', 'zs'])).toEqual(['zstd'])
    expect(await complete(['convert', '--compression', '='])).toEqual(['zlib', 'zstd'])
    expect(await complete(['convert', '--compression', '=', 'zstd', 'web'])).toEqual(['web.qcow2'])
    expect(await complete(['cp', 'web.qcow2', ':', '/etc'])).toEqual([])
    expect(await complete(['cp', 'web.qcow2', ':', '/etc/motd', 'tr'])).toEqual(['tree'])
  })

  test('behind -- there are no options', async () => {
    expect(await complete(['cat', '--', 'web'])).toEqual(['web.qcow2'])
    expect(await complete(['cat', '--', '-'])).toEqual([])
  })
})

describe.skipIf(!haveTool('fish'))('fish (skipped where it is not installed)', () => {
  test.each(cases)('%j', async (line, offered) => {
    const stdout = await runOk('fish', [
      '--no-config',
      '-c',
      'cd $argv[1]; and source $argv[2]; and complete -C $argv[3]',
      join(folder, 'files'),
      scripts.fish,
      ['drydisk', ...line].join(' '),
    ])
    // Each with its description behind a tab. Files that do not match are left out as the shell's own pager would.
    const found = stdout.split('\n').flatMap(row => row.split('\t')[0]?.replace(/\/$/, '') || [])
    expect(found.sort()).toEqual([...offered].sort())
  })
})

describe.skipIf(!haveTool('zsh'))('zsh (skipped where it is not installed)', () => {
  test('completes what has one completion, as one who types', async () => {
    // One completion: the line editor writes it out, and a key of ours writes down what is in the line.
    const single = cases.filter(([, offered]) => offered.length === 1)
    const log = join(folder, 'zsh.log')
    const program = `
      zmodload zsh/zpty
      zpty shell zsh -f -i
      zpty -w shell "cd ${join(folder, 'files')}; fpath=(${folder} \\$fpath); autoload -U compinit; compinit -u -D; unsetopt beep"
      zpty -w shell "note() { print -r -- \\"\\$BUFFER\\" >> ${log}; BUFFER= }; zle -N note; bindkey '^T' note; print READY"
      typeset seen=
      while [[ $seen != *$'\\n'READY* ]]; do zpty -r shell piece || exit 1; seen+=$piece; done
      for line in "$@"; do zpty -n -w shell "$line"$'\\t\\x14'; zpty -r -t shell piece; sleep 0.1; done
      for i in {1..100}; do
        while zpty -r -t shell piece; do :; done
        (( $(wc -l < ${log}) >= $# )) && break
        sleep 0.1
      done
      cat ${log}`
    const lines = single.map(([line]) => ['drydisk', ...line].join(' '))
    const stdout = await runOk('zsh', ['-f', '-c', program, 'zsh', ...lines])
    const wanted = single.map(([line, offered]) => ['drydisk', ...line.slice(0, -1), ...offered].join(' '))
    // An option that takes a value ends with =, a folder with /, all else with a space.
    expect(
      stdout
        .trimEnd()
        .split('\n')
        .map(line => line.replace(/[ =/]$/, '')),
    ).toEqual(wanted)
  })
})
