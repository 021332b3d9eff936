import { nameAndRest, nameList, parseSettings } from './settings.ts'
import { invalid, library, planned, type Step, split } from './step.ts'

type Plain = 'user-lock' | 'user-unlock' | 'password-expire'

/** A step whose value is a user and nothing more. */
function plain(name: Plain, help: string): Step {
  return {
    name,
    value: 'USER',
    help,
    async plan(user) {
      const { operations } = await library()
      return guest => operations[name].run(guest, { user })
    },
  }
}

/** Users and groups, and what they may do. */
export const userSteps: readonly Step[] = [
  {
    name: 'user-add',
    value: 'USER:SETTINGS',
    help: 'add a user with a home; SETTINGS, all optional: uid=N,group=NAME,groups=NAME,NAME,comment=TEXT,home=PATH,shell=PATH,system,no-home; e.g. deploy:groups=wheel,adm,shell=/bin/bash',
    async plan(value) {
      const [user, rest] = nameAndRest(value, 'USER:SETTINGS')
      const {
        'no-home': noHome,
        system,
        ...settings
      } = parseSettings(rest, {
        uid: 'number',
        group: 'text',
        groups: 'names',
        comment: 'text',
        home: 'text',
        shell: 'text',
        system: 'flag',
        'no-home': 'flag',
      })
      const args = {
        user,
        ...settings,
        ...(system ? { system } : {}),
        ...(noHome ? { makeHome: false } : {}),
      }
      const { operations } = await library()
      return planned(operations['user-add'], args)
    },
  },
  {
    name: 'user-mod',
    value: 'USER:SETTINGS',
    help: 'change a user; SETTINGS: name=NEW,uid=N,group=NAME,groups=ONLY,THESE,add=NAME,remove=NAME,comment=TEXT,home=PATH,move-home,shell=PATH',
    async plan(value) {
      const [user, rest] = split(value, 'USER:SETTINGS')
      const {
        add,
        remove,
        'move-home': moveHome,
        ...settings
      } = parseSettings(rest, {
        name: 'text',
        uid: 'number',
        group: 'text',
        groups: 'names',
        add: 'names',
        remove: 'names',
        comment: 'text',
        home: 'text',
        'move-home': 'flag',
        shell: 'text',
      })
      const args = {
        user,
        ...settings,
        ...(add ? { addGroups: add } : {}),
        ...(remove ? { removeGroups: remove } : {}),
        ...(moveHome ? { moveHome } : {}),
      }
      const { operations } = await library()
      return planned(operations['user-mod'], args)
    },
  },
  {
    name: 'user-del',
    value: 'USER:WHAT',
    help: 'remove a user and its own group; USER:home also removes the home, the mail and the crontab',
    async plan(value) {
      const [user, what] = nameAndRest(value, 'USER or USER:home')
      if (what !== '' && what !== 'home') throw invalid(`"${value}" is not of the form USER or USER:home`)
      const { operations } = await library()
      return planned(operations['user-del'], { user, removeHome: what === 'home' })
    },
  },
  plain('user-lock', 'lock an account: no login, neither by password nor by key'),
  plain('user-unlock', 'unlock an account that was locked or has expired'),
  plain('password-expire', 'have a user choose a new password at the next login'),
  {
    name: 'password-age',
    value: 'USER:SETTINGS',
    help: 'limits of the age of a password in days (-1: none); SETTINGS: min=N,max=N,warn=N,inactive=N',
    async plan(value) {
      const [user, rest] = split(value, 'USER:SETTINGS')
      const limits = parseSettings(rest, { min: 'number', max: 'number', warn: 'number', inactive: 'number' })
      const { operations } = await library()
      return planned(operations['password-age'], { user, ...limits })
    },
  },
  {
    name: 'account-expire',
    value: 'USER:DATE',
    help: 'the first day on which an account no longer lets anyone in: YYYY-MM-DD or never',
    async plan(value) {
      const [user, date] = split(value, 'USER:DATE')
      const { operations } = await library()
      return planned(operations['account-expire'], { user, date })
    },
  },
  {
    name: 'group-add',
    value: 'GROUP:SETTINGS',
    help: 'add a group; SETTINGS, all optional: gid=N,members=USER,USER,system',
    async plan(value) {
      const [group, rest] = nameAndRest(value, 'GROUP:SETTINGS')
      const settings = parseSettings(rest, { gid: 'number', members: 'names', system: 'flag' })
      const { operations } = await library()
      return planned(operations['group-add'], { group, ...settings })
    },
  },
  {
    name: 'group-del',
    value: 'GROUP',
    help: 'remove a group that is nobody’s primary group',
    async plan(group) {
      const { operations } = await library()
      return planned(operations['group-del'], { group })
    },
  },
  {
    name: 'group-member',
    value: 'GROUP:USERS',
    help: 'add users to a group, or take out those with a dash before them: wheel:deploy,-guest',
    async plan(value) {
      const [group, users] = split(value, 'GROUP:USERS')
      const names = nameList(users)
      if (names.length === 0) throw invalid(`"${value}" names no user`)
      const add = names.filter(name => !name.startsWith('-'))
      const remove = names.filter(name => name.startsWith('-')).map(name => name.slice(1))
      const { operations } = await library()
      return planned(operations['group-member'], { group, add, remove })
    },
  },
  {
    name: 'sudo',
    value: 'USER:HOW',
    help: 'let a user or a %GROUP run every command as root with sudo, without a password; USER:password asks for one',
    async plan(value) {
      const [user, how] = nameAndRest(value, 'USER or USER:password')
      if (how !== '' && how !== 'password')
        throw invalid(`"${value}" is not of the form USER or USER:password`)
      const { operations } = await library()
      return planned(operations.sudo, { user, password: how === 'password' })
    },
  },
]
