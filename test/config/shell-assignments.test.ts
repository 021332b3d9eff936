import { execFileSync } from 'node:child_process'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  editAssignment,
  getShellValue,
  parseAssignments,
  setShellValue,
  unsetShellValue,
} from '../../src/config/shell-assignments.ts'
import { haveTool, propertySettings } from '../support/native.ts'

describe('shell assignments', () => {
  const cases: [string, string | undefined, boolean?][] = [
    ['A=1\n', '1'],
    ['A=1\nA=2\n', '2'],
    ["A='x y'\n", 'x y'],
    ['A="x \\"y\\" \\$z \\q"\n', 'x "y" $z \\q'],
    ['A=x"y"\'z\'\\ w\n', 'xyz w'],
    ['A="a\\\nb"\n', 'ab'],
    ['A=a\\\nb\n', 'ab'],
    ['export A=1\n', '1'],
    ['A=1; A=2\n', '2'],
    ['A=1 # comment\n', '1'],
    ['A=1#no\n', '1#no'],
    ['#A=1\n', undefined],
    ['A=1 command\n', undefined],
    ['A=1 B=2\n', '1'],
    ['A=1\nA+=" 2"\n', '1 2'],
    [`B=x\nA="$B \${B}y"\n`, 'x xy'],
    ['A="$(hostname -s | tr a-z "A-Z")"\n', '$(hostname -s | tr a-z "A-Z")', false],
    [`A=\`. /etc/os-release; echo \${NAME:-D}\` B=1\n`, `\`. /etc/os-release; echo \${NAME:-D}\``, false],
    ['A=1\nif true; then\n A=2\nfi\n', '2', false],
    ['A=1\n[ -f /x ] && A=2\n', '2', false],
    ['A=1\r\n', '1'],
    ['A="x"\r\nB=2\r\n', 'x'],
    ['echo A=1\n', undefined],
    ['f() {\n A=1\n}\nA=2\n', '2'],
    ['case x in x) A=1;; esac\nA=3\n', '3'],
    ['cat <<EOF\nA=1\nEOF\nA=2\n', '2'],
    ['cat <<EOF\nA="1\nEOF\n', undefined],
    ['A=\n', ''],
    [`A=\${B:-fallback}\n`, 'fallback'],
    ["A=$'x\\n'\n", "$'x\\n'", false],
    ['A=(1 2)\n', '(1 2)', false],
    ['A=1', '1'],
    ['A=1 &&\n', '1'],
  ]
  for (const [source, value, literal = true] of cases)
    it(`reads ${JSON.stringify(source)}`, () => {
      const found = getShellValue(source, 'A')
      expect(found?.text).toBe(value)
      if (found) expect(found.literal).toBe(literal)
    })

  it('names the line of a quote that is never closed', () => {
    for (const source of ['A=1\nB="x\n', "A=1\nB='x\n", 'A=1\nB=`x\n', 'A=1\nB=$(x\n', `A=1\nB=\${x\n`])
      expect(() => parseAssignments(source), source).toThrow(/line 2/)
  })

  const edits: [string, string, string][] = [
    ['A=1\n', 'x y', 'A="x y"\n'],
    ['A="1"\n', 'x', 'A="x"\n'],
    ["A='1'\n", 'x', "A='x'\n"],
    ["A='1'\n", "it's", 'A="it\'s"\n'],
    ['A=1\nB=2\nA=3\n', 'x', 'A=1\nB=2\nA=x\n'],
    ['  export A=1 # why\n', 'x', '  export A=x # why\n'],
    ['A+=1\n', 'x', 'A=x\n'],
    ['# A=1\nB=2\n', 'x', '# A=1\nA=x\nB=2\n'],
    ['B=2', 'x', 'B=2\nA=x\n'],
    ['B=2\r\n', 'x', 'B=2\r\nA=x\r\n'],
    ['A=1\r\nB=2', 'x', 'A=x\r\nB=2'],
    ['', '$(reboot) `x` "\\', 'A="\\$(reboot) \\`x\\` \\"\\\\"\n'],
    ['A=1\n', '', 'A=\n'],
    ['A=1 command\n', 'x', 'A=1 command\nA=x\n'],
  ]
  for (const [source, value, expected] of edits)
    it(`sets ${JSON.stringify(value)} in ${JSON.stringify(source)}`, () => {
      const result = setShellValue(source, 'A', value)
      expect(result).toBe(expected)
      expect(setShellValue(result, 'A', value)).toBe(result)
    })

  it('takes assignments out', () => {
    expect(unsetShellValue('# c\nA=1\nB=2\nexport A=3\n', 'A')).toBe('# c\nB=2\n')
    expect(unsetShellValue('A=1; B=2\n', 'A')).toBe('; B=2\n')
  })

  it('keeps expansions where they are in an edited value', () => {
    const source = 'A="a `x \\"q\\"` $B b"\n'
    const [assignment] = parseAssignments(source)
    if (!assignment) throw new Error('no assignment')
    expect(editAssignment(source, assignment, value => value.replace('a ', 'c ').replace(' b', ' "d"'))).toBe(
      'A="c `x \\"q\\"` $B \\"d\\""\n',
    )
  })

  it('reads back what it sets, and leaves every other byte (property)', () => {
    const line = fc.oneof(
      fc.constantFrom(
        '# comment',
        '',
        'B="x y" # z',
        "C='q'",
        'export D=1',
        'if true; then E=1; fi',
        'A=old',
        "A='o'",
      ),
      fc.stringMatching(/^[BCD]=[\w/.:-]{0,10}$/),
    )
    fc.assert(
      fc.property(
        fc.array(line),
        fc.string().filter(s => !/[\0\r]/.test(s)),
        fc.constantFrom('', '\n'),
        (lines, value, end) => {
          const source = lines.join('\n') + end
          const result = setShellValue(source, 'A', value)
          expect(getShellValue(result, 'A')).toMatchObject({ text: value, literal: true })
          expect(setShellValue(result, 'A', value)).toBe(result)
          const others = (text: string) =>
            parseAssignments(text)
              .filter(a => a.name !== 'A')
              .map(a => text.slice(a.start, a.end))
          expect(others(result)).toEqual(others(source))
        },
      ),
      propertySettings(300),
    )
  })

  it('never hangs or crashes on any bytes (property)', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(...'A=$(){}`"\'\\\n ;&|<>#x1+') }), source => {
        try {
          parseAssignments(source)
        } catch (error) {
          expect(error).toMatchObject({ name: 'DrydiskError' })
        }
      }),
      propertySettings(2000),
    )
  })

  it.skipIf(!haveTool('sh'))('reads what sh reads (property)', () => {
    const piece = fc.oneof(
      fc.constantFrom(
        "'x y'",
        '"x y"',
        '"a\\"b"',
        'w',
        '\\ ',
        '"\\\\"',
        '$B',
        `"\${B}"`,
        '\\\n',
        "'$B'",
        '"\\$B"',
        ',',
        '.',
      ),
    )
    const sources = fc
      .sample(
        fc.array(
          fc.tuple(fc.constantFrom('A=', 'A=', 'export A=', 'B='), fc.array(piece, { maxLength: 5 })),
          { minLength: 1, maxLength: 4 },
        ),
        { numRuns: 150, seed: propertySettings(1).seed },
      )
      .map(assignments => assignments.map(([head, pieces]) => head + pieces.join('')).join('\n'))
    // One shell for all: each source runs in a subshell and prints its A between markers.
    const script = sources.map(source => `(unset A B\n${source}\nprintf '%s\\0' "$A"\n)`).join('\n')
    const expected = execFileSync('sh', ['-s'], { input: script }).toString().split('\0')
    sources.forEach((source, i) => {
      expect(getShellValue(source, 'A')?.text ?? '', source).toBe(expected[i])
    })
  })
})
