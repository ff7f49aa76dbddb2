"""A dulwich client: VERB URL DIR [REFSPEC...]. It runs ssh as GIT_SSH says."""
import sys

from dulwich import porcelain

verb, url, path, *specs = sys.argv[1:]
err = sys.stderr.buffer
if verb in ("clone", "shallow"):
    try:
        repo = porcelain.clone(url, path, checkout=False, errstream=err, depth=1 if verb == "shallow" else None)
    except ValueError:  # how it ends for an empty repository
        repo = porcelain.init(path)
        porcelain.remote_add(repo, "origin", url)
    config = repo.get_config()
    config.set((b"remote", b"origin"), b"url", url.encode())  # it left the password out
    config.write_to_path()
elif verb in ("fetch", "deepen"):
    porcelain.fetch(path, "origin", errstream=err, depth=3 if verb == "deepen" else None)
elif verb == "push":
    porcelain.push(path, "origin", specs, errstream=err)
else:
    sys.exit("unknown verb " + verb)
