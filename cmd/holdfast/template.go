package main

// configTemplate is the commented configuration that `init` writes where none is given. Its values are examples: a test
// holds that it parses.
const configTemplate = `# The configuration of a Holdfast host. Unknown keys are errors. Secrets never stand here:
# name an environment variable (access_key_env) or a file (access_key_file) that holds them.

# The host's name as clients know it; it stands in clone URLs.
name: code.example.org

# Where to listen: HOST:PORT, "" for not at all. Port 0 takes any free port; "serve" prints which.
ssh:  {listen: "0.0.0.0:2222"}
http: {listen: "127.0.0.1:8080"}     # plain http: put a TLS proxy in front of it

# svn: {listen: "127.0.0.1:3690"}    # plain svn://, off unless set: users come with a generated secret, see
                                     # "holdfast user svn-secret --help"; svn+ssh:// needs nothing of it

# A push is acknowledged once this many mirrors hold it. With k acks, any 3-k+1 of three mirrors
# together hold every acknowledged push; with k=3 any single one does.
replication:
  acks: 2
  ack_timeout: 30s      # how long a push waits for them
  on_timeout: fail      # or warn: tell the client, but report the push as done
  # spool: 20GiB      # what may wait here for lagging mirrors; a fifth of the disk if left out

# Three mirrors at three providers that share no login, no bill and no building. The credential
# named here may only put (s3:PutObject, s3:AbortMultipartUpload): the host needs no more.
# Versioning and Object Lock (COMPLIANCE, by the bucket's default) belong on every bucket;
# "holdfast mirror probe" checks what each really enforces.
mirrors:
  - name: aws
    endpoint: https://s3.eu-central-1.amazonaws.com
    region: eu-central-1
    bucket: example-code-1
    access_key_env: HF_AWS_KEY
    secret_key_env: HF_AWS_SECRET
  - name: b2
    endpoint: https://s3.us-west-004.backblazeb2.com
    region: us-west-004
    bucket: example-code-2
    access_key_env: HF_B2_KEY
    secret_key_env: HF_B2_SECRET
  # A machine of one's own, running "holdfast mirror serve".
  - name: office
    endpoint: https://nas.example.org:9000
    bucket: example-code-3
    access_key_file: office.key        # relative to this file; one line, mode 0600
    secret_key_file: office.secret
  # lock_days: 90       # how long the buckets lock objects by default. Once its last ack is older than the
                        # shortest lock, the host ships nothing before a takeover. Unknown if left out.

# What clients may ask for; the built-in limits hold where nothing is said.
# limits:
#   pack_bytes: 16GiB            # one push
#   objects: 50000000            # in one push
#   object_bytes: 2GiB           # one object
#   inflated_bytes: 1TiB         # all objects of a push, unpacked
#   refs_per_push: 100000
#   ref_name_bytes: 1024
#   push_options: 128            # of one push ("git push -o")
#   option_bytes: 4096           # of one push option
#   cert_bytes: 4MiB             # a push certificate ("git push --signed"): about 30,000 refs
#   cert_age: 15m                # how long a client may take to sign over HTTP
#   fetches: 16                  # packs computed at once; more wait
#   pushes: 16                   # packs received at once; more wait
#   idle_timeout: 10m            # silence after which a session is closed
#   drain_time: 30s              # how long sessions may go on after a shutdown began
`
