import { type DescribedCommand, type DescribedOption, IMAGE_ENDINGS, type Offer } from './describe.ts'

/** A completion script for zsh: a function for the folder of $fpath, by the rules of zshcompsys(1). */
export function zshScript(commands: readonly DescribedCommand[]): string {
  return `#compdef drydisk
# Completion of drydisk for zsh. Made by: drydisk completion zsh

_drydisk_images() {
  _alternative \\
    'images:image:_files -g "*.(${IMAGE_ENDINGS.join('|')})(-.)"' \\
    'files:file:_files'
}

_drydisk() {
  local curcontext="$curcontext" state line
  typeset -A opt_args
  _arguments -C -S \\
    '(- *)'{-h,--help}'[tell more]' \\
    '(- *)'{-V,--version}'[print the version]' \\
    '1: :->command' \\
    '*:: :->rest' && return
  case $state in
    command)
      local -a commands=(
${commands.map(({ name, summary }) => `        ${quoted(`${name}:${summary}`)}`).join('\n')}
        'help:tell more of a command'
      )
      _describe -t commands command commands
      ;;
    rest)
      case $words[1] in
${commands.map(commandCase).join('\n')}
      esac
      ;;
  esac
}

if [ "$funcstack[1]" = _drydisk ]; then
  _drydisk "$@"
else
  compdef _drydisk drydisk
fi
`
}

function commandCase({ name, options, arguments: list }: DescribedCommand): string {
  const specs = [
    ...options.map(optionSpec),
    ...list.flatMap(({ name: argument, offer }, place) => {
      if (offer.kind === 'nothing' && place === list.length - 1) return []
      const last = place === list.length - 1
      return [quoted(`${last ? '*' : place + 1}:${plain(argument)}:${action(offer)}`)]
    }),
  ]
  return `        ${name})\n          _arguments -s -S \\\n            ${specs.join(' \\\n            ')}\n          ;;`
}

function optionSpec({ short, long, help, value }: DescribedOption): string {
  const both = short !== undefined && long !== undefined
  const text = `[${help.replace(/[\\[\]]/g, '\\$&')}]`
  if (value === undefined) {
    const exclusive = both ? quoted(`(${short} ${long})`) : ''
    return `${exclusive}${both ? `{${short},${long}}` : (long ?? short ?? '')}${quoted(text)}`
  }
  // `=` allows both --name=VALUE and --name VALUE, `+` both -nVALUE and -n VALUE; a value that may be left out has to be joined.
  const longForm = long === undefined ? undefined : `${long}=${value.optional ? '-' : ''}`
  const shortForm = short === undefined ? undefined : `${short}${value.optional ? '-' : '+'}`
  const forms = [shortForm, longForm].filter(form => form !== undefined)
  const words = both ? `{${forms.join(',')}}` : (forms[0] ?? '')
  const tail = `${value.optional ? '::' : ':'}${plain(value.name)}:${action(value.offer)}`
  return `${quoted('*')}${words}${quoted(text + tail)}`
}

function action(offer: Offer): string {
  switch (offer.kind) {
    case 'image':
      return '_drydisk_images'
    case 'file':
      return '_files'
    case 'folder':
      return '_files -/'
    case 'nothing':
      return ' '
    case 'words':
      return offer.orFiles
        ? `_alternative "words:word:(${offer.words.join(' ')})" "files:file:_files"`
        : `(${offer.words.join(' ')})`
  }
}

/** What stands between colons must have none. */
const plain = (text: string): string => text.replace(/[:[\]]/g, ' ')

const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`
