import type { Timestamp } from '../filesystem.ts'

/**
 * FAT keeps local time without saying of which zone. It is taken as UTC, as mount(8) does with tz=UTC and as kernels do whose
 * clock runs in UTC: a guest in another zone may see its own times shifted.
 */
export interface FatTime {
  /** Years since 1980, month, day: 7, 4 and 5 bits. */
  readonly date: number
  /** Hours, minutes, seconds / 2: 5, 6 and 5 bits. */
  readonly time: number
  /** Units of 10 ms in the two seconds, 0 to 199: of the creation time only. */
  readonly tenths: number
}

const TWO_SECONDS = 2_000_000_000n
const TENTH = 10_000_000n
export const DAY = 86_400_000_000_000n
const EARLIEST = BigInt(Date.UTC(1980, 0, 1)) * 1_000_000n
const LATEST = BigInt(Date.UTC(2107, 11, 31, 23, 59, 58)) * 1_000_000n

/** Rounded down to what the fields hold; before 1980 and after 2107 the nearest time that there is. */
export function toFatTime(timestamp: Timestamp): FatTime {
  const held = timestamp < EARLIEST ? EARLIEST : timestamp > LATEST ? LATEST : timestamp
  const at = new Date(Number(held / 1_000_000n))
  return {
    date: ((at.getUTCFullYear() - 1980) << 9) | ((at.getUTCMonth() + 1) << 5) | at.getUTCDate(),
    time: (at.getUTCHours() << 11) | (at.getUTCMinutes() << 5) | (at.getUTCSeconds() >> 1),
    tenths: Number((held % TWO_SECONDS) / TENTH),
  }
}

/** Fields out of range are what they overflow to; a month or day of 0 counts as the first, as in Linux. */
export function fromFatTime({ date, time, tenths }: FatTime): Timestamp {
  const month = Math.max(1, (date >> 5) & 15)
  const day = Math.max(1, date & 31)
  const milliseconds = Date.UTC(
    1980 + (date >> 9),
    month - 1,
    day,
    time >> 11,
    (time >> 5) & 63,
    (time & 31) * 2,
  )
  return BigInt(milliseconds) * 1_000_000n + BigInt(tenths) * TENTH
}
