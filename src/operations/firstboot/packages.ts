import { DrydiskError } from '../../errors.ts'
import { PACKAGES } from './texts.ts'

/** Names as apt, dnf, zypper and apk take them: versions, architectures, groups and provided files included. */
const NAME = /^[A-Za-z0-9@/][A-Za-z0-9@/+._:~^*=()-]*$/

export function checkPackageNames(names: readonly string[]): void {
  for (const name of names)
    if (!NAME.test(name))
      throw new DrydiskError('ERR_INVALID_ARGUMENT', `"${name}" is not the name of a package`)
}

const quote = (word: string): string => `'${word.replaceAll("'", "'\\''")}'`

/** apt-get must not ask, keeps the configuration files of the image, and waits for another one to finish. */
const APT =
  'apt-get -q -y -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold -o DPkg::Lock::Timeout=600'

type Task = 'install' | 'uninstall' | 'update'

const COMMANDS: Readonly<Record<Task, readonly (readonly [tool: string, command: string])[]>> = {
  install: [
    ['apt-get', `${APT} update; ${APT} install "$@"`],
    ['dnf', 'dnf -y install "$@"'],
    ['yum', 'yum -y install "$@"'],
    ['zypper', 'zypper --non-interactive install --auto-agree-with-licenses "$@"'],
    ['apk', 'apk add --update-cache "$@"'],
    ['pacman', 'pacman -Sy --noconfirm --needed "$@"'],
  ],
  uninstall: [
    ['apt-get', `${APT} remove "$@"`],
    ['dnf', 'dnf -y remove "$@"'],
    ['yum', 'yum -y remove "$@"'],
    ['zypper', 'zypper --non-interactive remove "$@"'],
    ['apk', 'apk del "$@"'],
    ['pacman', 'pacman -R --noconfirm "$@"'],
  ],
  update: [
    ['apt-get', `${APT} update; ${APT} upgrade`],
    ['dnf', 'dnf -y upgrade'],
    ['yum', 'yum -y update'],
    ['zypper', 'zypper --non-interactive update --auto-agree-with-licenses'],
    ['apk', 'apk upgrade --update-cache'],
    ['pacman', 'pacman -Syu --noconfirm'],
  ],
}

/** A script for sh that does it with the package manager that the guest turns out to have. */
export function packageScript(task: Task, names: readonly string[]): string {
  const branches = COMMANDS[task]
    .map(
      ([tool, command], i) =>
        `${i === 0 ? 'if' : 'elif'} command -v ${tool} >/dev/null; then\n  ${command}\n`,
    )
    .join('')
  return `#!/bin/sh
DEBIAN_FRONTEND=noninteractive
export DEBIAN_FRONTEND
${names.length > 0 ? `set -- ${names.map(quote).join(' ')}\n` : ''}${branches}else
  echo 'no package manager was found' >&2
  exit 1
fi
`
}

/** A script that installs files that were carried along, all in one go and without a network, and then removes them. */
export function carriedScript(files: readonly string[], names: readonly string[]): string {
  const paths = files.map(name => quote(`${PACKAGES}/${name}`)).join(' ')
  const one = files[0] ?? ''
  const command = one.endsWith('.deb')
    ? `DEBIAN_FRONTEND=noninteractive dpkg --force-confdef --force-confold -i ${paths}`
    : one.endsWith('.apk')
      ? `apk add --allow-untrusted --no-network ${paths}`
      : `rpm -U --replacepkgs ${paths}`
  return `#!/bin/sh
${command}
status=$?
rm -f ${paths}
${names.length > 0 ? `(\n${packageScript('install', names)}) || status=$?\n` : ''}exit $status
`
}
