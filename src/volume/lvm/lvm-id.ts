const ID_LEN = 32
/** Of the 64 characters that an id may have (lib/id/id.c of LVM2), those that a new one is made of: LVM1 did not know the last two. */
const CHARACTERS = '0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ'

/** An id as it is on disk: 32 of LVM's characters. */
export const BARE_ID = /^[0-9a-zA-Z!#]{32}$/
/** An id as metadata and tools show it. */
export const LVM_ID = /^[0-9a-zA-Z!#]{6}(-[0-9a-zA-Z!#]{4}){5}-[0-9a-zA-Z!#]{6}$/

/** 32 characters of an id in the form that metadata and tools show. */
export function formatLvmId(id: string): string {
  return [0, 6, 10, 14, 18, 22, 26]
    .map((start, index, starts) => id.slice(start, starts[index + 1] ?? ID_LEN))
    .join('-')
}

/** The form on disk, and in names of the device mapper. */
export function bareLvmId(id: string): string {
  return id.replaceAll('-', '')
}

/** A new id, as tools show it. */
export function randomLvmId(): string {
  const { length } = CHARACTERS
  let id = ''
  while (id.length < ID_LEN)
    // No character more often than another.
    for (const byte of globalThis.crypto.getRandomValues(new Uint8Array(ID_LEN)))
      if (byte < 256 - (256 % length)) id += CHARACTERS[byte % length]
  return formatLvmId(id.slice(0, ID_LEN))
}
