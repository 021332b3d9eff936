/** The upper halves of the OEM code pages that short names are in: what mount(8) calls codepage. */
const UPPER: Readonly<Record<number, string>> = {
  437:
    'ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐' +
    '└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u00a0',
  850:
    'ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜø£Ø×ƒáíóúñÑªº¿®¬½¼¡«»░▒▓│┤ÁÂÀ©╣║╗╝¢¥┐' +
    '└┴┬├─┼ãÃ╚╔╩╦╠═╬¤ðÐÊËÈıÍÎÏ┘┌█▄¦Ì▀ÓßÔÒõÕµþÞÚÛÙýÝ¯´\u00ad±‗¾¶§÷¸°¨·¹³²■\u00a0',
}

/** As Linux has it where nothing else is said (CONFIG_FAT_DEFAULT_CODEPAGE). */
export const DEFAULT_CODE_PAGE = 437

export function isCodePage(codePage: number): boolean {
  return UPPER[codePage] !== undefined
}

/** Bytes of short names and labels as text, and back. ASCII is the same in all of them. */
export class CodePage {
  readonly #upper: string
  readonly #bytes = new Map<string, number>()

  /** @param number 437 or 850. */
  constructor(number = DEFAULT_CODE_PAGE) {
    this.#upper = UPPER[number] ?? UPPER[DEFAULT_CODE_PAGE] ?? ''
    for (let index = 0; index < this.#upper.length; index++)
      this.#bytes.set(this.#upper.charAt(index), 0x80 + index)
  }

  decode(bytes: Uint8Array): string {
    let text = ''
    for (const byte of bytes)
      text += byte < 0x80 ? String.fromCharCode(byte) : this.#upper.charAt(byte - 0x80)
    return text
  }

  /** The byte of one UTF-16 unit; `undefined` where the code page has none. */
  encode(unit: string): number | undefined {
    const code = unit.charCodeAt(0)
    return code < 0x80 ? code : this.#bytes.get(unit)
  }
}
