/** CRC-64 of ECMA-182 with its bits reversed, as xz uses it; the register is two halves of 32 bits. */
const POLYNOMIAL_HIGH = 0xc96c_5795
const POLYNOMIAL_LOW = 0xd787_0f42

const high = new Int32Array(256)
const low = new Int32Array(256)
for (let byte = 0; byte < 256; byte++) {
  let [upper, lower] = [0, byte]
  for (let bit = 0; bit < 8; bit++) {
    const carry = lower & 1
    lower = (lower >>> 1) | (upper << 31)
    upper >>>= 1
    if (carry) {
      upper ^= POLYNOMIAL_HIGH
      lower ^= POLYNOMIAL_LOW
    }
  }
  high[byte] = upper
  low[byte] = lower
}

/** The checksum of bytes that come in pieces; `123456789` gives 0x995DC9BBDF1939FA. */
export class Crc64 {
  #high = -1
  #low = -1

  update(bytes: Uint8Array): void {
    let upper = this.#high
    let lower = this.#low
    // Indexes are below the lengths by construction.
    for (let at = 0; at < bytes.length; at++) {
      const index = (lower ^ (bytes[at] as number)) & 0xff
      lower = ((lower >>> 8) | (upper << 24)) ^ (low[index] as number)
      upper = (upper >>> 8) ^ (high[index] as number)
    }
    this.#high = upper
    this.#low = lower
  }

  get value(): bigint {
    return (BigInt(~this.#high >>> 0) << 32n) | BigInt(~this.#low >>> 0)
  }
}
