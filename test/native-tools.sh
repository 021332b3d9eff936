#!/usr/bin/env bash
# Brings in the native tools that the tests hold drydisk against: they are oracles, never used by drydisk itself.
# With apt-get and root they are installed; else what is missing is named, and the checks that need it skip.
# DRYDISK_REQUIRE_TOOLS=1 (CI) makes a missing tool a failure. Argument `boot` adds what test:real needs.
set -u
export PATH="$PATH:/usr/sbin:/sbin" DEBIAN_FRONTEND=noninteractive
tools='qemu-img:qemu-utils e2fsck:e2fsprogs mkfs.ext4:e2fsprogs debugfs:e2fsprogs sgdisk:gdisk sfdisk:fdisk setfattr:attr setfacl:acl xfs_repair:xfsprogs sshd:openssh-server python3:python3 ssh-keygen:openssh-client openssl:openssl perl:perl grub-editenv:grub-common lvm:lvm2 patch:patch xz:xz-utils qemu-storage-daemon:qemu-system-common mkfs.xfs:xfsprogs mkfs.btrfs:btrfs-progs mkfs.vfat:dosfstools mcopy:mtools visudo:sudo useradd:passwd systemctl:systemd update-rc.d:init-system-helpers netplan:netplan.io cloud-init:cloud-init matchpathcon:selinux-utils journalctl:systemd /lib/systemd/systemd-journal-remote:systemd-journal-remote busybox:busybox rpm:rpm rpmbuild:rpm sqlite3:sqlite3 db5.3_load:db5.3-util lz4:lz4 zstd:zstd cpio:cpio lsinitramfs:initramfs-tools-core grub-script-check:grub-common objcopy:binutils nbdkit:nbdkit nbdcopy:libnbd-bin nbdinfo:libnbd-bin zsh:zsh fish:fish'
[ "${1:-}" = boot ] && tools="$tools qemu-system-x86_64:qemu-system-x86 debootstrap:debootstrap chromium:chromium"
missing_packages() { for t in $tools; do command -v "${t%%:*}" >/dev/null || echo "${t#*:}"; done | sort -u; }
packages=$(missing_packages)
if [ -n "$packages" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "installing for the tests:" $packages
  log=$(mktemp)
  # cloud-init is wanted for its schema and for ds-identify alone: it must never run on this machine.
  case " $packages " in *cloud-init*) mkdir -p /etc/cloud && touch /etc/cloud/cloud-init.disabled ;; esac
  # A policy that denies starting services: openssh-server is wanted for `sshd -T` alone.
  if [ ! -e /usr/sbin/policy-rc.d ]; then
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d && chmod +x /usr/sbin/policy-rc.d && made_policy=1
  fi
  { apt-get update -q && apt-get install -y -q --no-install-recommends $packages; } >"$log" 2>&1 || tail -n 20 "$log"
  [ -n "${made_policy:-}" ] && rm -f /usr/sbin/policy-rc.d
  rm -f "$log"
fi
packages=$(missing_packages)
if [ -n "$packages" ]; then
  echo "=================================================================="
  echo "NOT INSTALLED, so the checks that need them are SKIPPED:" $packages
  echo "=================================================================="
  [ "${DRYDISK_REQUIRE_TOOLS:-}" = 1 ] && exit 1
fi
exit 0
