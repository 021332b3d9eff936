import { type DescribedCommand, IMAGE_ENDINGS, type Offer } from './describe.ts'

/**
 * A completion script for bash. It needs nothing of the package bash-completion, and works with bash 3.2, which macOS has: so there is no
 * mapfile, and compopt may be missing.
 */
export function bashScript(commands: readonly DescribedCommand[]): string {
  return `# Completion of drydisk for bash. Made by: drydisk completion bash

# What the value of an option is, in $offer; status 1 where it takes none that has to follow.
_drydisk_value() {
  case "$1 $2" in
${valueCases(commands)}
    *) return 1 ;;
  esac
}

# What the argument of a command at a place is, in $offer.
_drydisk_argument() {
  case "$1 $2" in
${argumentCases(commands)}
    *) offer=nothing ;;
  esac
}

_drydisk_options() {
  case $1 in
${commands.map(({ name, options }) => `    ${name}) options='${options.flatMap(optionWords).join(' ')}' ;;`).join('\n')}
    *) options='--help --version' ;;
  esac
}

_drydisk_add() {
  local found
  while IFS= read -r found; do COMPREPLY+=("$found"); done
}

_drydisk_offer() {
  case $1 in
    nothing) ;;
    image)
      compopt -o filenames 2>/dev/null
${IMAGE_ENDINGS.map(ending => `      _drydisk_add < <(compgen -f -X '!*.${ending}' -- "$2")`).join('\n')}
      if [ \${#COMPREPLY[@]} -gt 0 ]; then
        _drydisk_add < <(compgen -d -- "$2")
      else
        _drydisk_add < <(compgen -f -- "$2")
      fi
      ;;
    file)
      compopt -o filenames 2>/dev/null
      _drydisk_add < <(compgen -f -- "$2")
      ;;
    folder)
      compopt -o filenames 2>/dev/null
      _drydisk_add < <(compgen -d -- "$2")
      ;;
    files\\ *)
      compopt -o filenames 2>/dev/null
      _drydisk_add < <(compgen -W "\${1#files }" -- "$2"; compgen -f -- "$2")
      ;;
    *) _drydisk_add < <(compgen -W "$1" -- "$2") ;;
  esac
}

_drydisk() {
  local current=\${COMP_WORDS[COMP_CWORD]} command='' option='' place=0 i word options offer ended=''
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=\${COMP_WORDS[i]}
    if [ -n "$option" ]; then
      # bash takes = and : for words of their own.
      [ "$word" = = ] && continue
      option=''
    elif [ -z "$ended" ] && [ "$word" = -- ] && [ -n "$command" ]; then
      ended=1
    elif [ -z "$ended" ] && [ "\${word:0:1}" = - ]; then
      if _drydisk_value "$command" "$word"; then
        option=$word
      elif [ "\${COMP_WORDS[i + 1]}" = = ]; then
        option=$word
      fi
    elif [ -z "$command" ]; then
      command=$word
    elif [ "$word" = : ] || [ "\${COMP_WORDS[i - 1]}" = : ]; then
      :
    else
      place=$((place + 1))
    fi
  done
  [ "$current" = = ] && [ -n "$option" ] && current=''
  if [ -n "$option" ]; then
    _drydisk_value "$command" "$option" && _drydisk_offer "$offer" "$current"
  elif [ -z "$ended" ] && [ "\${current:0:1}" = - ]; then
    _drydisk_options "$command"
    _drydisk_add < <(compgen -W "$options" -- "$current")
  elif [ -z "$command" ]; then
    _drydisk_add < <(compgen -W '${commands.map(({ name }) => name).join(' ')} help' -- "$current")
  elif [ "$current" != : ] && [ "\${COMP_WORDS[COMP_CWORD - 1]}" != : ]; then
    _drydisk_argument "$command" "$place"
    _drydisk_offer "$offer" "$current"
  fi
}

complete -F _drydisk drydisk
`
}

const optionWords = ({ short, long }: { readonly short?: string; readonly long?: string }): string[] =>
  [short, long].filter(word => word !== undefined)

/** Patterns with what they offer, those of one offer in one case. */
function cases(entries: readonly (readonly [string, Offer])[]): string {
  const byOffer = new Map<string, string[]>()
  for (const [pattern, offer] of entries) {
    const text = offerText(offer)
    byOffer.set(text, [...(byOffer.get(text) ?? []), pattern])
  }
  return [...byOffer]
    .map(([offer, patterns]) => `    ${patterns.join(' | \\\n      ')}) offer='${offer}' ;;`)
    .join('\n')
}

function valueCases(commands: readonly DescribedCommand[]): string {
  return cases(
    commands.flatMap(command =>
      command.options.flatMap(option => {
        const { value } = option
        if (value === undefined || value.optional) return []
        return optionWords(option).map(word => [`'${command.name} ${word}'`, value.offer] as const)
      }),
    ),
  )
}

function argumentCases(commands: readonly DescribedCommand[]): string {
  const exact: [string, Offer][] = []
  const others: [string, Offer][] = []
  for (const { name, arguments: list } of commands)
    for (const [place, { offer }] of list.entries()) {
      if (place < list.length - 1) exact.push([`'${name} ${place}'`, offer])
      else if (offer.kind !== 'nothing') others.push([`'${name} '*`, offer])
    }
  return `${cases(exact)}\n${cases(others)}`
}

function offerText(offer: Offer): string {
  if (offer.kind !== 'words') return offer.kind
  return `${offer.orFiles ? 'files ' : ''}${offer.words.join(' ')}`
}
