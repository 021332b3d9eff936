import { DrydiskError } from '../errors.ts'

/** Keywords of sshd_config(5) in OpenSSH 9, and those that older releases know; sshd does not start on any other. */
const KEYWORDS =
  `AcceptEnv AddressFamily AllowAgentForwarding AllowGroups AllowStreamLocalForwarding AllowTcpForwarding AllowUsers
AuthenticationMethods AuthorizedKeysCommand AuthorizedKeysCommandUser AuthorizedKeysFile AuthorizedPrincipalsCommand
AuthorizedPrincipalsCommandUser AuthorizedPrincipalsFile Banner CASignatureAlgorithms ChallengeResponseAuthentication ChannelTimeout
ChrootDirectory Ciphers ClientAliveCountMax ClientAliveInterval Compression DebianBanner DenyGroups DenyUsers DisableForwarding
ExposeAuthInfo FingerprintHash ForceCommand GatewayPorts GSSAPIAuthentication GSSAPICleanupCredentials GSSAPIEnablek5users
GSSAPIKexAlgorithms GSSAPIKeyExchange GSSAPIStoreCredentialsOnRekey GSSAPIStrictAcceptorCheck HostbasedAcceptedAlgorithms
HostbasedAcceptedKeyTypes HostbasedAuthentication HostbasedUsesNameFromPacketOnly HostCertificate HostKey HostKeyAgent
HostKeyAlgorithms IgnoreRhosts IgnoreUserKnownHosts IPQoS KbdInteractiveAuthentication KerberosAuthentication KerberosGetAFSToken
KerberosOrLocalPasswd KerberosTicketCleanup KerberosUniqueCCache KerberosUseKuserok KexAlgorithms KeyRegenerationInterval
ListenAddress LoginGraceTime LogLevel LogVerbose MACs MaxAuthTries MaxSessions MaxStartups ModuliFile PAMServiceName
PasswordAuthentication PermitEmptyPasswords PermitListen PermitOpen PermitRootLogin PermitTTY PermitTunnel PermitUserEnvironment
PermitUserRC PerSourceMaxStartups PerSourceNetBlockSize PerSourcePenalties PerSourcePenaltyExemptList PidFile Port PrintLastLog
PrintMotd Protocol PubkeyAcceptedAlgorithms PubkeyAcceptedKeyTypes PubkeyAuthOptions PubkeyAuthentication RDomain RefuseConnection
RekeyLimit RequiredRSASize RevokedKeys RhostsRSAAuthentication RSAAuthentication RSAMinSize SecurityKeyProvider ServerKeyBits SetEnv
ShowPatchLevel SshdSessionPath StreamLocalBindMask StreamLocalBindUnlink StrictModes Subsystem SyslogFacility TCPKeepAlive
TrustedUserCAKeys UnusedConnectionTimeout UseDNS UseLogin UsePAM UsePrivilegeSeparation VersionAddendum X11DisplayOffset
X11Forwarding X11UseLocalhost XAuthLocation`.split(/\s+/)

const CANONICAL = new Map(KEYWORDS.map(keyword => [keyword.toLowerCase(), keyword]))

/** Two names of one option (OpenSSH's servconf.c has them as such). */
const ALIASES = new Map([
  ['challengeresponseauthentication', 'kbdinteractiveauthentication'],
  ['skeyauthentication', 'kbdinteractiveauthentication'],
  ['dsaauthentication', 'pubkeyauthentication'],
  ['hostbasedacceptedkeytypes', 'hostbasedacceptedalgorithms'],
  ['pubkeyacceptedkeytypes', 'pubkeyacceptedalgorithms'],
])

/** Options of which every line adds to the value. */
const ACCUMULATING = new Set([
  'acceptenv',
  'allowgroups',
  'allowusers',
  'denygroups',
  'denyusers',
  'hostcertificate',
  'hostkey',
  'listenaddress',
  'logverbose',
  'port',
  'subsystem',
])

const YES_NO = new Set([
  'allowagentforwarding',
  'disableforwarding',
  'exposeauthinfo',
  'gssapiauthentication',
  'hostbasedauthentication',
  'hostbasedusesnamefrompacketonly',
  'ignoreuserknownhosts',
  'kbdinteractiveauthentication',
  'kerberosauthentication',
  'passwordauthentication',
  'permitemptypasswords',
  'permittty',
  'permituserrc',
  'printlastlog',
  'printmotd',
  'pubkeyauthentication',
  'streamlocalbindunlink',
  'strictmodes',
  'tcpkeepalive',
  'usedns',
  'usepam',
  'x11forwarding',
  'x11uselocalhost',
])

const FORWARDING = ['yes', 'no', 'all', 'local', 'remote']

/** What servconf.c takes for a keyword, in any case; keywords that are not here are left to sshd. */
const VALUES = new Map([
  ['addressfamily', ['any', 'inet', 'inet6']],
  ['allowstreamlocalforwarding', FORWARDING],
  ['allowtcpforwarding', FORWARDING],
  ['compression', ['yes', 'no', 'delayed']],
  ['fingerprinthash', ['md5', 'sha256']],
  ['gatewayports', ['yes', 'no', 'clientspecified']],
  ['ignorerhosts', ['yes', 'no', 'shosts-only']],
  ['loglevel', ['quiet', 'fatal', 'error', 'info', 'verbose', 'debug', 'debug1', 'debug2', 'debug3']],
  ['permitrootlogin', ['yes', 'no', 'prohibit-password', 'without-password', 'forced-commands-only']],
])

const NUMBER = /^\d{1,9}$/
/** sshd_config(5), TIME FORMATS: numbers with units, the last of which may be left out. */
const TIME = /^(\d{1,9}[smhdw])*(\d{1,9}[smhdw]?)$/i

const FORMS = new Map([
  ['clientalivecountmax', NUMBER],
  ['clientaliveinterval', TIME],
  ['logingracetime', TIME],
  ['maxauthtries', NUMBER],
  ['maxsessions', NUMBER],
  ['maxstartups', /^[1-9]\d{0,8}(:\d{1,3}:\d{1,9})?$/],
  // The one list that sshd compares with case.
  ['permittunnel', /^(yes|no|ethernet|point-to-point)$/],
  ['port', /^0*([1-9]\d{0,3}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d\d|655[0-2]\d|6553[0-5])$/],
  ['requiredrsasize', NUMBER],
  ['x11displayoffset', NUMBER],
])

/** The one lower-case name of a keyword: keywords are compared without case, and some have two names. */
export function sshdKeyword(keyword: string): string {
  const lower = keyword.toLowerCase()
  return ALIASES.get(lower) ?? lower
}

/** Whether every line of a keyword counts, and not the first alone. */
export function accumulates(keyword: string): boolean {
  return ACCUMULATING.has(sshdKeyword(keyword))
}

/**
 * The keyword as sshd_config(5) spells it. `ERR_INVALID_ARGUMENT` for a keyword or value with which sshd would not start,
 * which would lock everyone out.
 */
export function checkSshdSetting(keyword: string, value: string): string {
  const lower = keyword.toLowerCase()
  if (lower === 'match' || lower === 'include')
    throw new DrydiskError(
      'ERR_INVALID_ARGUMENT',
      `${keyword} is no setting but structure of sshd_config; edit the file instead`,
    )
  const known = CANONICAL.get(lower)
  if (known === undefined)
    throw new DrydiskError(
      'ERR_INVALID_ARGUMENT',
      `sshd has no keyword ${JSON.stringify(keyword)}, and would not start with it`,
    )
  if (value.trim() === '' || /[\n\r\0]/.test(value))
    throw new DrydiskError('ERR_INVALID_ARGUMENT', `${known} needs a value on one line`)
  const allowed =
    VALUES.get(sshdKeyword(keyword)) ?? (YES_NO.has(sshdKeyword(keyword)) ? ['yes', 'no'] : undefined)
  if (allowed && !allowed.includes(value.trim().toLowerCase()))
    throw new DrydiskError(
      'ERR_INVALID_ARGUMENT',
      `${known} takes ${allowed.join(', ')}, not ${JSON.stringify(value)}; sshd would not start`,
    )
  const form = FORMS.get(sshdKeyword(keyword))
  if (form && !form.test(value.trim().replace(/^"(.*)"$/, '$1')))
    throw new DrydiskError(
      'ERR_INVALID_ARGUMENT',
      `${known} does not take ${JSON.stringify(value)}; sshd would not start`,
    )
  return known
}

/** Whether two values mean the same to sshd. Words are compared without case where they are no paths or patterns. */
export function sameSshdValue(a: readonly string[], b: readonly string[]): boolean {
  const normal = (words: readonly string[]) =>
    words
      .map(word => (/^[a-z-]+$/i.test(word) ? word.toLowerCase() : word))
      .map(word => (word === 'without-password' ? 'prohibit-password' : word))
      .join('\0')
  return normal(a) === normal(b)
}

/** The words of a value as a user gives it. */
export function parseSshdValue(value: string): string[] {
  return (value.match(/"[^"]*"|\S+/g) ?? []).map(word => word.replace(/^"(.*)"$/, '$1'))
}
