/** Where everything waits. Below /usr/libexec, which policies label as programs and nobody mounts noexec. */
export const FOLDER = '/usr/libexec/drydisk-firstboot'
export const SCRIPTS = `${FOLDER}/scripts`
export const PACKAGES = `${FOLDER}/packages`
export const RUNNER = `${FOLDER}/run`
export const LOG = '/var/log/drydisk-firstboot.log'
export const SERVICE = 'drydisk-firstboot'
export const UNIT = `/etc/systemd/system/${SERVICE}.service`
export const NETWORK_DROP_IN = `${UNIT}.d/network.conf`
export const INIT_SCRIPT = `/etc/init.d/${SERVICE}`

/**
 * Runs each waiting script once, in the order of their names, and then takes itself away. A script leaves the queue before it runs:
 * one that reboots the machine is not run again. Plain sh, for dash, bash and busybox alike.
 */
export const RUNNER_TEXT = `#!/bin/sh
# Runs scripts at the first boot, each of them once. Made by drydisk; it removes itself when nothing is left to run.
folder=${FOLDER}
log=${LOG}
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
HOME=/root
export PATH HOME

first() {
  for one in "$folder"/scripts/*; do
    [ -f "$one" ] && { echo "$one"; return 0; }
  done
  return 1
}

main() {
  umask 077
  mkdir -p "$folder/running"
  exec </dev/null >>"$log" 2>&1
  umask 022
  cd /
  # Of a run that was cut short: it has begun once.
  for one in "$folder"/running/*; do
    [ -f "$one" ] && echo "=== \${one##*/}: was interrupted and is not run again" && rm -f "$one"
  done
  while script=$(first); do
    name=\${script##*/}
    mv "$script" "$folder/running/$name" || { echo "=== $name: cannot be moved, so nothing more is run"; return 1; }
    sync
    echo "=== $name: begun $(date)"
    "$folder/running/$name"
    echo "=== $name: ended with status $? $(date)"
    rm -f "$folder/running/$name"
  done
  echo "=== done $(date)"
  for link in /etc/systemd/system/*.wants/${SERVICE}.service /etc/rc?.d/[SK][0-9][0-9]${SERVICE} \\
    /etc/rc.d/rc?.d/[SK][0-9][0-9]${SERVICE} /etc/runlevels/*/${SERVICE}; do
    [ -h "$link" ] && rm -f "$link"
  done
  rm -rf ${UNIT}.d
  rm -f ${UNIT} ${INIT_SCRIPT}
  rm -rf "$folder"
  if [ -d /run/systemd/system ]; then systemctl --no-block daemon-reload; fi
  return 0
}

main
exit $?
`

/** Late, as virt-customize's, and with the network where there is one; a oneshot service has no time limit to start. */
export const UNIT_TEXT = `[Unit]
Description=Scripts for the first boot, made by drydisk
After=local-fs.target network.target network-online.target cloud-init.service
ConditionPathExists=${RUNNER}

[Service]
Type=oneshot
ExecStart=/bin/sh ${RUNNER}

[Install]
WantedBy=multi-user.target
`

/** Something fetches packages: the boot waits for the network. */
export const NETWORK_TEXT = `[Unit]
Wants=network-online.target
`

export const SYSV_TEXT = `#!/bin/sh
# chkconfig: 2345 99 01
# description: Runs scripts at the first boot, each of them once.
### BEGIN INIT INFO
# Provides:          ${SERVICE}
# Required-Start:    $local_fs $remote_fs
# Should-Start:      $all
# Required-Stop:
# Default-Start:     2 3 4 5
# Default-Stop:
# Short-Description: Scripts for the first boot, made by drydisk
### END INIT INFO
case "$1" in
  start | '') [ ! -f ${RUNNER} ] || /bin/sh ${RUNNER} ;;
esac
exit 0
`

export const OPENRC_TEXT = `#!/sbin/openrc-run
description="Scripts for the first boot, made by drydisk"

depend() {
	need localmount
	use net
	after *
}

start() {
	ebegin "Running scripts for the first boot"
	[ ! -f ${RUNNER} ] || /bin/sh ${RUNNER}
	eend 0
}
`
