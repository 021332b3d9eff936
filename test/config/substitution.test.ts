import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { applySubstitutions, parseSubstitutions } from '../../src/config/substitution.ts'
import { haveTool, propertySettings, run } from '../support/native.ts'

const edit = (text: string, expression: string) =>
  applySubstitutions(text, parseSubstitutions(expression)).text

const TEXT = `# PermitRootLogin prohibit-password
#Port 22
  UsePAM yes
GRUB_CMDLINE_LINUX="quiet splash"
root:x:0:0:root:/root:/bin/bash
a.b.c  d/e/f [x] {y} (z) $v @w \\n tab\there

last line`

const EXPRESSIONS = [
  's/^#?\\s*(PermitRootLogin).*$/$1 yes/',
  's/^#Port 22$/Port 2222/',
  's/a/X/g',
  's/A/x/gi',
  's/quiet ?//; s/"/\'/g',
  's{/}{::}g',
  '$_ = "" if /^root:/',
  "$_ = '' unless m{[:/]}",
  's/a/X/ if /quiet/; s/b/Y/ if !/quiet/',
  's/a/X/ if $_ =~ /ROOT/i; s/o/O/ if $_ !~ /root/; s/x/0/ unless /x:0/',
  '$_ .= "added\\n" if /^#Port/; $_ = "before $1\\n$_" if /(UsePAM)/',
  '$_ = $_ . \'it\\\'s $_\' . "\\n" if $. == 3; $_ = "<$_>" if $. != 1',
  '$_ = "$_" . "x\\$_" if m|d/e|',
  's|/root|/home/r|g',
  's#^\\##//#',
  's,:,;,g',
  's/(\\w+) (\\w+)/$2 $1/',
  's/(\\w+)/\\u$1/g',
  's/(\\w+)/\\U$1\\E!/',
  's/\\bx\\b/[$&]/g',
  's/\\//\\\\/g',
  's/\\.b\\./\\t\\n/',
  's/\\n//',
  's/^$/empty/',
  's/$/ end/',
  's/^/> /',
  's/[[:space:]]+/_/g',
  's/[^]a-z]/-/g',
  's/[\\]\\[]/B/g',
  's/(?:a|b)\\.(?=b)/L/',
  's/(?<!\\w)root(?!:)/R/g',
  's/(?<n>root)/<$+{n}>/',
  's/o{2}/00/g',
  's/{y}/{z}/',
  's/x{,2}q|zzz/n/',
  's/ p a m /PAM/xi',
  's/\\Qa.b\\E/q/',
  's/\\x61\\x{62}?/h/g',
  's/\\$v/\\$\\@/',
  's/\\h+/ /g',
  's/(.)\\1/<$1$1>/g',
  's/.*/\\l$&/',
  's/.+?/./',
  's/\\Aroot/toor/;s/bash\\Z/sh/',
  "s'yes'$1'",
  's(\\(z\\))(Z)',
  's <UsePAM> <NoPAM>',
  's/a/b/;;s/b/c/;',
  's/\\d+$/N/m',
  's/x/y/s',
  's/[a-c-]/-/g',
  's/\\W/./g',
  's/no such thing/x/',
]

describe('substitutions', () => {
  it.skipIf(!haveTool('perl'))('do what perl does', async () => {
    for (const expression of EXPRESSIONS) {
      const perl = await run('perl', ['-pe', expression], TEXT)
      expect(perl.stderr, expression).toBe('')
      expect(edit(TEXT, expression), expression).toBe(perl.stdout)
    }
  })

  it.skipIf(!haveTool('perl'))('do what perl does with random patterns (property)', async () => {
    const atom = fc.constantFrom(
      'a',
      'b',
      '.',
      '\\w',
      '\\s',
      '[ab]',
      '[^a]',
      '(a|b)',
      '(?:b)',
      '\\.',
      '^',
      '$',
      '\\b',
      ' ',
      '\\/',
    )
    const quantifier = fc.constantFrom('', '', '*', '+', '?', '{2}', '{1,}', '+?')
    const pattern = fc
      .array(fc.tuple(atom, quantifier), { minLength: 1, maxLength: 4 })
      .map(parts => parts.map(([a, q]) => (/^(\^|\$|\\b)$/.test(a) ? a : a + q)).join(''))
      .filter(p => !/\$./.test(p))
    const expression = fc
      .tuple(pattern, fc.constantFrom('', 'X', '<$&>', '\\n', '[\\u$&]'), fc.constantFrom('', 'g', 'i', 'gm'))
      .map(([p, r, f]) => `s/${p}/${r}/${f}`)
    const text = 'ab ba\nAb.b/a\n\naab  bb\nb'
    const samples = fc.sample(expression, {
      numRuns: propertySettings(200).numRuns,
      seed: propertySettings(1).seed,
    })
    // One perl for all expressions: each is evaluated over the same lines.
    const program = `use utf8; my @l = ("ab ba\\n","Ab.b/a\\n","\\n","aab  bb\\n","b"); while (my $e = <STDIN>) { chomp $e; for my $x (@l) { local $_ = $x; eval $e; print $_; } print "\\0"; }`
    const perl = await run('perl', ['-e', program], samples.map(s => `${s}\n`).join(''))
    const expected = perl.stdout.split('\0')
    samples.forEach((sample, i) => {
      expect(edit(text, sample), sample).toBe(expected[i])
    })
  })

  it('takes characters, not bytes, for what a pattern matches', () => {
    expect(edit('Grüße\n', 's/ü./u&/')).toBe('Gru&e\n')
    expect(edit('Grüße\n', 's/[^a-zß]/_/ig')).toBe('Gr_ße_')
  })

  it('takes lines out, and counts them as virt-edit does', () => {
    expect(edit('a\napache:x\nb\n', '$_ = "" if /^apache:/')).toBe('a\nb\n')
    expect(edit('a\nb\n', '$_ .= "c\\n" if $lineno == 1')).toBe('a\nc\nb\n')
  })

  it('tells the lines that changed', () => {
    expect(applySubstitutions('a\nb\na\n', parseSubstitutions('s/a/c/')).changed).toEqual([
      { line: 1, before: 'a', after: 'c' },
      { line: 3, before: 'a', after: 'c' },
    ])
    expect(applySubstitutions('a\nb\n', parseSubstitutions('s/^a\\n//')).changed).toEqual([
      { line: 1, before: 'a', after: null },
    ])
  })

  for (const [expression, code] of [
    ['', 'ERR_INVALID_ARGUMENT'],
    ['s/a', 'ERR_INVALID_ARGUMENT'],
    ['s/a/b', 'ERR_INVALID_ARGUMENT'],
    ['s/(/b/', 'ERR_INVALID_ARGUMENT'],
    ['s/[/b/', 'ERR_INVALID_ARGUMENT'],
    ['s/a/b/e', 'ERR_UNSUPPORTED'],
    ['y/a/b/', 'ERR_UNSUPPORTED'],
    ['tr/a/b/', 'ERR_UNSUPPORTED'],
    ['print', 'ERR_UNSUPPORTED'],
    ['s/a/b/ if $x', 'ERR_UNSUPPORTED'],
    ['s/a/b/ if /x/ and /y/', 'ERR_UNSUPPORTED'],
    ['s/a/b/ if /x', 'ERR_INVALID_ARGUMENT'],
    ['$_ = uc', 'ERR_UNSUPPORTED'],
    ['$_ = "$x"', 'ERR_UNSUPPORTED'],
    ['$_ = "a', 'ERR_INVALID_ARGUMENT'],
    ['s/a/$name/', 'ERR_UNSUPPORTED'],
    ['s/a++/b/', 'ERR_UNSUPPORTED'],
    ['s/(?i)a/b/', 'ERR_UNSUPPORTED'],
    ['s/$name/b/', 'ERR_UNSUPPORTED'],
    ['sxaxbx', 'ERR_UNSUPPORTED'],
  ] as const)
    it(`refuses ${JSON.stringify(expression)}`, () => {
      expect(() => parseSubstitutions(expression)).toThrow(expect.objectContaining({ code }))
    })
})
