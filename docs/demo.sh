#!/usr/bin/env bash
# The main job with no image at hand: make a disk, look at it, preview an edit, make it, see it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
image=$folder/demo.qcow2
drydisk() { node dist/bin/main.js "$@"; }
step() { printf '\n\033[1m$ drydisk %s\033[0m\n' "$*" | sed "s#$folder/##g"; drydisk "$@" | sed "s#$folder/##g"; }

edits=(--serial-console --sshd PermitRootLogin=prohibit-password --qemu-ga
  --cloud-init 'datasource_list=[ConfigDrive, OpenStack]' --hostname demo.example
  --ssh-inject 'root:string:ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEPecB1V+gvC6dzhdChYg+uyfbtvSPlcwHRriVGwh4oS you@laptop')

step make-fs --demo "$image"
step info "$image"
step customize "$image" --dry-run "${edits[@]}"
step customize "$image" "${edits[@]}"
step cat "$image" /etc/hostname /etc/ssh/sshd_config.d/00-drydisk.conf
