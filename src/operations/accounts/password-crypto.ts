import { CRYPT_METHODS, type CryptMethod } from '../../config/crypt.ts'
import { DrydiskError } from '../../errors.ts'
import type { Operation } from '../operation.ts'
import { ReportBuilder } from '../report.ts'
import { checkCryptMethod } from './crypt-methods.ts'

/** A method of virt-customize's --password-crypto, or yescrypt. `ERR_INVALID_ARGUMENT` names them. */
export function parseCryptMethod(text: string): CryptMethod {
  const method = CRYPT_METHODS.find(one => one === text)
  if (method) return method
  throw new DrydiskError(
    'ERR_INVALID_ARGUMENT',
    `"${text}" is no way to hash passwords; there are ${CRYPT_METHODS.join(', ')}`,
  )
}

/** Changes nothing: `ERR_UNSUPPORTED` where the guest cannot read passwords that are hashed so. */
export const passwordCrypto: Operation<{ readonly method: CryptMethod }> = {
  name: 'password-crypto',
  summary: 'Check that the guest can read passwords that are hashed in a certain way',
  async run(guest, { method }) {
    await checkCryptMethod(guest, method)
    return new ReportBuilder('password-crypto').build()
  },
}
