// An isomorphic-git client: VERB URL DIR [REFSPEC...]. ISOMORPHIC_GIT is the directory that npm installed it into.
import fs from 'node:fs'
import { createRequire } from 'node:module'

const require = createRequire(process.env.ISOMORPHIC_GIT + '/')
const git = require('isomorphic-git')
const http = require('isomorphic-git/http/node')

const [verb, url, dir, ...specs] = process.argv.slice(2)
const cache = {}
const to = { fs, http, dir, url, cache, remote: 'origin' }

switch (verb) {
  case 'clone':
  case 'shallow':
    await git.clone({ ...to, noCheckout: true, depth: verb === 'shallow' ? 1 : undefined })
    break
  case 'fetch':
  case 'deepen':
    await git.fetch({ ...to, tags: true, depth: verb === 'deepen' ? 3 : undefined })
    break
  case 'push':
    for (const spec of specs) {
      const [local, remoteRef] = spec.replace(/^\+/, '').split(':')
      const result = await git.push({
        ...to, ref: local || remoteRef, remoteRef, force: spec.startsWith('+'), delete: local === '',
      })
      if (!result.ok) throw new Error(JSON.stringify(result))
    }
    break
  default:
    throw new Error('unknown verb ' + verb)
}
