import { type DescribedCommand, type DescribedOption, IMAGE_ENDINGS, type Offer } from './describe.ts'

/** A completion script for fish, by complete(1) of fish 3. */
export function fishScript(commands: readonly DescribedCommand[]): string {
  const lines = commands.flatMap(command => [
    `complete -c drydisk -n '__drydisk_wants_command' -f -a ${command.name} -d ${quoted(command.summary)}`,
    ...command.options.map(option => optionLine(command.name, option)),
    ...argumentLines(command),
  ])
  const takers = commands.flatMap(({ name, options }) =>
    options
      .filter(({ value }) => value !== undefined && !value.optional)
      .flatMap(({ short, long }) => [short, long])
      .flatMap(word => (word === undefined ? [] : [quoted(`${name} ${word}`)])),
  )
  return `# Completion of drydisk for fish. Made by: drydisk completion fish

# Whether an option of a command takes the word behind it.
function __drydisk_takes
    switch "$argv[1] $argv[2]"
        case ${takers.join(' ')}
            return 0
    end
    return 1
end

# Words of the command line before the cursor that are neither options nor their values, without drydisk itself.
function __drydisk_words
    set -l found
    set -l skip 0
    for word in (commandline -opc)[2..]
        if test $skip -eq 1
            set skip 0
        else if string match -q -- '-*' $word
            __drydisk_takes "$found[1]" $word; and set skip 1
        else
            set -a found $word
        end
    end
    test (count $found) -gt 0; and printf '%s\\n' $found
end

function __drydisk_wants_command
    test (count (__drydisk_words)) -eq 0
end

function __drydisk_runs
    set -l words (__drydisk_words)
    test (count $words) -gt 0; and test $words[1] = $argv[1]
end

# Whether so many words stand behind the command.
function __drydisk_place
    __drydisk_runs $argv[1]; and test (count (__drydisk_words)) -eq (math $argv[2] + 1)
end

# Files: images first, then folders, then all others. A command that has no completions of its own gets files from fish.
function __drydisk_images
    set -l files (complete -C "__drydisk_files "(commandline -ct))
    string match -r -- '.*\\.(?:${IMAGE_ENDINGS.join('|')})$' $files
    string match -r -- '.*/$' $files
    test (count $files) -gt 0; and printf '%s\\n' $files
end

complete -c drydisk -f
complete -c drydisk -n '__drydisk_wants_command' -s h -l help -d 'tell more'
complete -c drydisk -n '__drydisk_wants_command' -s V -l version -d 'print the version'
complete -c drydisk -n '__drydisk_wants_command' -f -a help -d 'tell more of a command'
${lines.join('\n')}
`
}

function optionLine(command: string, { short, long, help, value }: DescribedOption): string {
  const names = [
    ...(short === undefined ? [] : ['-s', quoted(short.slice(1))]),
    ...(long === undefined ? [] : ['-l', long.slice(2)]),
  ]
  // Without -r, fish takes a value only where it is joined to the option.
  const takes = value === undefined ? [] : value.optional ? ['-f'] : ['-r', ...offered(value.offer)]
  return [
    'complete -c drydisk -n',
    quoted(`__drydisk_runs ${command}`),
    ...names,
    ...takes,
    '-d',
    quoted(help),
  ].join(' ')
}

function argumentLines({ name, arguments: list }: DescribedCommand): string[] {
  return list.flatMap(({ offer }, place) => {
    const last = place === list.length - 1
    if (offer.kind === 'nothing') return []
    const when = last ? `__drydisk_runs ${name}` : `__drydisk_place ${name} ${place}`
    return [`complete -c drydisk -n ${quoted(when)} ${offered(offer).join(' ')}`]
  })
}

function offered(offer: Offer): string[] {
  switch (offer.kind) {
    case 'image':
      return ['-k', '-a', quoted('(__drydisk_images)')]
    case 'file':
      return ['-F']
    case 'folder':
      return ['-f', '-a', quoted('(__fish_complete_directories)')]
    case 'nothing':
      return ['-f']
    case 'words':
      return [offer.orFiles ? '-F' : '-f', '-a', quoted(offer.words.join(' '))]
  }
}

/** In single quotes fish knows two escapes: \\ and \'. */
const quoted = (text: string): string => `'${text.replace(/[\\']/g, '\\$&')}'`
