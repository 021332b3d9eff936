import { bytesOfKey } from '../../bytes/names.ts'
import { join } from './guest-tree.ts'
import { lstatAt } from './lenient.ts'
import { emptyFile, removeFilesBelow, removeGlobs, removePath } from './removal.ts'
import type { SysprepContext, SysprepTask } from './task.ts'

/** virt-sysprep(1), logfiles. */
const LOGS = `
  /etc/Pegasus/*.cnf /etc/Pegasus/*.crt /etc/Pegasus/*.csr /etc/Pegasus/*.pem /etc/Pegasus/*.srl
  /root/anaconda-ks.cfg /root/anaconda-post.log /root/initial-setup-ks.cfg /root/install.log /root/install.log.syslog
  /root/original-ks.cfg
  /var/cache/fontconfig/* /var/cache/gdm/* /var/cache/man/*
  /var/lib/AccountService/users/* /var/lib/fprint/* /var/lib/logrotate.status
  /var/log/*.log* /var/log/BackupPC/LOG /var/log/ConsoleKit/* /var/log/anaconda.syslog /var/log/anaconda/*
  /var/log/apache2/*_log /var/log/apache2/*_log-* /var/log/apt/* /var/log/aptitude* /var/log/audit/* /var/log/btmp*
  /var/log/ceph/*.log /var/log/chrony/*.log /var/log/cron* /var/log/cups/*_log* /var/log/debug* /var/log/dmesg*
  /var/log/exim4/* /var/log/faillog* /var/log/firewalld* /var/log/gdm/* /var/log/glusterfs/*glusterd.vol.log
  /var/log/glusterfs/glusterfs.log /var/log/grubby* /var/log/httpd/*log /var/log/installer/*
  /var/log/jetty/jetty-console.log /var/log/journal/* /var/log/lastlog* /var/log/libvirt/libvirtd.log
  /var/log/libvirt/libxl/*.log /var/log/libvirt/lxc/*.log /var/log/libvirt/qemu/*.log /var/log/libvirt/uml/*.log
  /var/log/lightdm/* /var/log/mail/* /var/log/maillog* /var/log/messages* /var/log/ntp /var/log/ntpstats/*
  /var/log/ppp/connect-errors /var/log/rhsm/* /var/log/sa/* /var/log/secure* /var/log/setroubleshoot/*.log
  /var/log/spooler* /var/log/squid/*.log /var/log/syslog* /var/log/tallylog* /var/log/tuned/tuned.log /var/log/wtmp*
  /var/log/xferlog* /var/named/data/named.run
`
  .split(/\s+/)
  .filter(glob => glob !== '')

/** What logrotate(8) and savelog(8) make of a log: compressed, numbered, dated or old. */
const ROTATED = /(?:\.(?:gz|xz|bz2|zst|lz4|old|\d+)|[-.]\d{8}(?:-?\d+)?)$/

/** Databases of logins outside /var/log (lastlog2, wtmpdb), the state of logrotate under its newer names, and desktop accounts. */
const MORE = [
  '/var/lib/lastlog/lastlog2.db',
  '/var/lib/wtmpdb/wtmp.db',
  '/var/lib/logrotate/status',
  '/var/lib/logrotate/logrotate.status',
  '/var/lib/AccountsService/users/*',
]

export const logTasks: readonly SysprepTask[] = [
  {
    name: 'logfiles',
    byDefault: true,
    summary: 'remove many log files, and the journal of systemd',
    run: context => removeGlobs(context, LOGS, { folders: true }),
  },
  {
    name: 'logfiles-rest',
    byDefault: true,
    ours: true,
    summary: 'empty every other file below /var/log, and remove rotated ones and databases of logins',
    async run(context) {
      await removeGlobs(context, MORE)
      for await (const { folder, entries } of context.tree.walk('/var/log'))
        for (const [name, type] of entries.sort(([a], [b]) => (a < b ? -1 : 1))) {
          if (type !== 'file' || /^README/.test(name)) continue
          const path = join(folder, name)
          if (ROTATED.test(name)) await removePath(context, path)
          else await emptyFile(context, path)
        }
    },
  },
  {
    name: 'pacct-log',
    byDefault: true,
    summary: 'remove the logs of process accounting',
    async run(context) {
      for (const log of ['/var/account/pacct', '/var/log/account/pacct']) {
        await emptyFile(context, log)
        const others = await context.tree.glob(`${log}*`)
        for (const path of others) if (path !== log) await removePath(context, path)
      }
    },
  },
  {
    name: 'cron-spool',
    byDefault: true,
    summary: "remove users' at-jobs and cron-jobs",
    async run(context) {
      // A link is the distribution's (Alpine: crontabs → /etc/crontabs), not a user's.
      const keep = (path: string, type: string) => path.endsWith('/.SEQ') || type === 'symlink'
      await removeFilesBelow(context, '/var/spool/cron', keep)
      await resetJobNumber(context, '/var/spool/cron/atjobs/.SEQ')
      await removeGlobs(context, ['/var/spool/atjobs/*', '/var/spool/atspool/*'])
      await resetJobNumber(context, '/var/spool/atjobs/.SEQ')
      await removeFilesBelow(context, '/var/spool/at', keep)
      await resetJobNumber(context, '/var/spool/at/.SEQ')
    },
  },
]

/** at(1)'s next job number: five hexadecimal digits. */
async function resetJobNumber({ guest, report, tree }: SysprepContext, path: string): Promise<void> {
  if ((await tree.typeOf(path)) !== 'file') return
  const stats = await lstatAt(guest, bytesOfKey(path))
  if (!stats?.isFile() || stats.size > 4096) return
  const before = (await guest.readText(path)).trim()
  if (before === '00000') return
  await guest.writeFile(path, '00000\n')
  report.change('next job number', before, '00000', path)
}
