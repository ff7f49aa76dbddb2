"""A libgit2 client, through pygit2: VERB URL DIR [REFSPEC...]. CLIENT_KEY names the private SSH key."""
import os
import sys

import pygit2


class Callbacks(pygit2.RemoteCallbacks):
    def credentials(self, url, username, allowed):
        key = os.environ["CLIENT_KEY"]
        return pygit2.Keypair("git", key + ".pub", key, "")

    def certificate_check(self, certificate, valid, host):
        return True

    def push_update_reference(self, ref, message):
        if message is not None:
            sys.exit(ref + ": " + message)


verb, url, path, *specs = sys.argv[1:]
calls = Callbacks() if url.startswith("ssh:") else None
if verb == "clone":
    repo = pygit2.init_repository(path)
    repo.remotes.create("origin", url)
else:
    repo = pygit2.Repository(path)
remote = repo.remotes["origin"]
if verb in ("clone", "fetch"):
    remote.fetch(["+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"], callbacks=calls)
elif verb == "push":
    remote.push(specs, callbacks=calls)
else:
    sys.exit("unknown verb " + verb)
