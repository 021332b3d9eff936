/** systemd-random-seed(8), systemd-boot-random-seed(8), initscripts of EL6, of Debian, of SUSE; OpenRC's seedrng. */
export const RANDOM_SEEDS: readonly string[] = [
  '/var/lib/systemd/random-seed',
  '/var/lib/random-seed',
  '/var/lib/urandom/random-seed',
  '/var/lib/misc/random-seed',
  '/var/lib/seedrng/seed.*',
  '/boot/loader/random-seed',
  '/boot/efi/loader/random-seed',
  '/efi/loader/random-seed',
]
